/**
 * Terminal settings: flags, special characters, and the structures that ioctls carry them in.
 *
 * Source: termios(3), ioctl_tty(2), Linux include/uapi/asm-generic/termbits.h.
 */
import { persistent } from "../state/registry.ts";

// c_iflag
export const BRKINT = 0o2;
export const IGNPAR = 0o4;
export const PARMRK = 0o10;
export const INPCK = 0o20;
export const ISTRIP = 0o40;
export const INLCR = 0o100;
export const IGNCR = 0o200;
export const ICRNL = 0o400;
export const IUCLC = 0o1000;
export const IXON = 0o2000;
export const IXANY = 0o4000;
export const IXOFF = 0o10000;
export const IMAXBEL = 0o20000;
export const IUTF8 = 0o40000;

// c_oflag
export const OPOST = 0o1;
export const OLCUC = 0o2;
export const ONLCR = 0o4;
export const OCRNL = 0o10;
export const ONOCR = 0o20;
export const ONLRET = 0o40;
export const TABDLY = 0o14000;
export const XTABS = 0o14000;

// c_cflag
export const CBAUD = 0o10017;
export const B38400 = 0o17;
export const CSIZE = 0o60;
export const CS8 = 0o60;
export const CREAD = 0o200;
export const PARENB = 0o400;
export const CLOCAL = 0o4000;

// c_lflag
export const ISIG = 0o1;
export const ICANON = 0o2;
export const ECHO = 0o10;
export const ECHOE = 0o20;
export const ECHOK = 0o40;
export const ECHONL = 0o100;
export const NOFLSH = 0o200;
export const TOSTOP = 0o400;
export const ECHOCTL = 0o1000;
export const ECHOPRT = 0o2000;
export const ECHOKE = 0o4000;
export const IEXTEN = 0o100000;
export const EXTPROC = 0o200000;

// c_cc
export const VINTR = 0;
export const VQUIT = 1;
export const VERASE = 2;
export const VKILL = 3;
export const VEOF = 4;
export const VTIME = 5;
export const VMIN = 6;
export const VSTART = 8;
export const VSTOP = 9;
export const VSUSP = 10;
export const VEOL = 11;
export const VREPRINT = 12;
export const VWERASE = 14;
export const VLNEXT = 15;
export const VEOL2 = 16;
const NCCS = 19;

/** sizeof(struct termios) and (struct termios2) of the kernel, (struct termio) of System V. */
export const TERMIOS_SIZE = 36;
export const TERMIOS2_SIZE = 44;
export const TERMIO_SIZE = 18;

/** ^C ^\ DEL ^U ^D, time 0, min 1, no swtch, ^Q ^S ^Z, no eol, ^R ^O ^W ^V, no eol2. */
const CONTROL_CHARACTERS = [3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0];

export class Termios {
  iflag = ICRNL | IXON;
  oflag = OPOST | ONLCR;
  cflag = B38400 | CS8 | CREAD;
  lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN;
  line = 0;
  cc = Uint8Array.from(CONTROL_CHARACTERS);
  ispeed = 38400;
  ospeed = 38400;

  clone(): Termios {
    const copy = Object.assign(new Termios(), this);
    copy.cc = this.cc.slice();
    return copy;
  }

  /** As struct termios, or termios2 when there is room for the speeds. */
  encode(view: DataView, size: number): void {
    view.setUint32(0, this.iflag, true);
    view.setUint32(4, this.oflag, true);
    view.setUint32(8, this.cflag, true);
    view.setUint32(12, this.lflag, true);
    view.setUint8(16, this.line);
    for (let i = 0; i < NCCS; i++) view.setUint8(17 + i, this.cc[i]!);
    if (size < TERMIOS2_SIZE) return;
    view.setUint32(36, this.ispeed, true);
    view.setUint32(40, this.ospeed, true);
  }
  decode(view: DataView, size: number): void {
    this.iflag = view.getUint32(0, true);
    this.oflag = view.getUint32(4, true);
    this.cflag = view.getUint32(8, true);
    this.lflag = view.getUint32(12, true);
    this.line = view.getUint8(16);
    for (let i = 0; i < NCCS; i++) this.cc[i] = view.getUint8(17 + i);
    if (size < TERMIOS2_SIZE) return;
    this.ispeed = view.getUint32(36, true);
    this.ospeed = view.getUint32(40, true);
  }

  /** As struct termio: the low halves of the flags and eight characters. */
  encodeOld(view: DataView): void {
    view.setUint16(0, this.iflag, true);
    view.setUint16(2, this.oflag, true);
    view.setUint16(4, this.cflag, true);
    view.setUint16(6, this.lflag, true);
    view.setUint8(8, this.line);
    for (let i = 0; i < 8; i++) view.setUint8(9 + i, this.cc[i]!);
    view.setUint8(17, 0);
  }
  decodeOld(view: DataView): void {
    const low = (old: number, value: number) => ((old & ~0xffff) | value) >>> 0;
    this.iflag = low(this.iflag, view.getUint16(0, true));
    this.oflag = low(this.oflag, view.getUint16(2, true));
    this.cflag = low(this.cflag, view.getUint16(4, true));
    this.lflag = low(this.lflag, view.getUint16(6, true));
    this.line = view.getUint8(8);
    for (let i = 0; i < 8; i++) this.cc[i] = view.getUint8(9 + i);
  }

  has(flag: number): boolean {
    return (this.lflag & flag) !== 0;
  }
  get canonical(): boolean {
    return (this.lflag & ICANON) !== 0;
  }
  /** Does the line discipline nothing to what comes in? */
  get raw(): boolean {
    return (
      (this.iflag & (ISTRIP | IUCLC | IGNCR | ICRNL | INLCR | IXON | PARMRK)) === 0 &&
      (this.lflag & (ICANON | ISIG | ECHO)) === 0
    );
  }
}

/** Rates by their Bnnn number: 0..15, then those with CBAUDEX. */
const BAUD = [0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400];
const BAUD_EX = [
  57600, 115200, 230400, 460800, 500000, 576000, 921600, 1000000, 1152000, 1500000, 2000000, 2500000, 3000000, 3500000,
  4000000,
];
const BOTHER = 0o10000;
const CIBAUD_SHIFT = 16;

function rate(code: number, own: number): number {
  if (code === BOTHER) return own;
  return code & BOTHER ? (BAUD_EX[(code & 0o17) - 1] ?? 0) : BAUD[code & 0o17]!;
}
/** The speeds that the Bnnn bits of c_cflag stand for. */
export function takeSpeeds(termios: Termios): void {
  const output = termios.cflag & CBAUD;
  const input = (termios.cflag >>> CIBAUD_SHIFT) & CBAUD;
  termios.ospeed = rate(output, termios.ospeed);
  termios.ispeed = input === 0 ? termios.ospeed : rate(input, termios.ispeed);
}

persistent("termios", Termios);
