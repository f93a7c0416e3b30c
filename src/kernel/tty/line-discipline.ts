/**
 * The line discipline N_TTY: editing of lines, echo, signals from characters, flow control, output processing.
 *
 * Source: termios(3), and the observable behaviour of Linux drivers/tty/n_tty.c.
 * Invariant: tail <= canonHead <= head, head - tail <= BUFFER; indices only grow and are masked on use. In
 * canonical mode readers see what is before canonHead; `lineEnds` marks the bytes that end a line.
 */

import { persistent } from "../state/registry.ts";
import type { Io } from "../vfs/io.ts";
import {
  ECHO,
  ECHOCTL,
  ECHOE,
  ECHOK,
  ECHOKE,
  ECHONL,
  ECHOPRT,
  EXTPROC,
  ICANON,
  ICRNL,
  IEXTEN,
  IGNCR,
  INLCR,
  ISIG,
  ISTRIP,
  IUCLC,
  IUTF8,
  IXANY,
  IXON,
  NOFLSH,
  OCRNL,
  OLCUC,
  ONLCR,
  ONLRET,
  ONOCR,
  OPOST,
  PARMRK,
  TABDLY,
  type Termios,
  VEOF,
  VEOL,
  VEOL2,
  VERASE,
  VINTR,
  VKILL,
  VLNEXT,
  VQUIT,
  VREPRINT,
  VSTART,
  VSTOP,
  VSUSP,
  VWERASE,
  XTABS,
} from "./termios.ts";

const BUFFER = 4096;
const MASK = BUFFER - 1;
/** Echo that waits while output is stopped. */
const ECHO_MAX = 4096;

const NL = 10;
const CR = 13;
const TAB = 9;
const BS = 8;
const SPACE = 32;

const SIGINT = 2;
const SIGQUIT = 3;
const SIGTSTP = 20;

/** The terminal around the discipline. */
export interface Line {
  readonly termios: Termios;
  /** Sends one byte to the other side. */
  send(byte: number): void;
  signal(signo: number): void;
  /** Drops what was sent and is not read yet. */
  dropOutput(): void;
  /** Unread input was dropped. */
  inputDropped(): void;
  /** There is something to read. */
  inputReady(): void;
  /** Flow control: output was stopped or may go on. */
  stopped(on: boolean): void;
}

export class LineDiscipline {
  private readonly buffer = new Uint8Array(BUFFER);
  private readonly lineEnds = new Uint8Array(BUFFER);
  private head = 0;
  private tail = 0;
  private canonHead = 0;
  /** The next character is taken as it is. */
  private literal = false;
  /** In the middle of erasing in the ECHOPRT way. */
  private erasing = false;
  /** Column of output, and where the line being typed began. */
  private column = 0;
  private canonColumn = 0;
  /** Output is stopped (^S). */
  flowStopped = false;
  private heldEcho: number[] = [];

  constructor(private readonly line: Line) {}

  // Input.

  /** How many more characters it can take now. In canonical mode a full line still takes (and drops) more. */
  get room(): number {
    const { iflag, lflag } = this.line.termios;
    let room = BUFFER - (this.head - this.tail);
    if (iflag & PARMRK) room = Math.floor((room + 3) / 3);
    room--;
    if (room > 0) return room;
    return lflag & ICANON && this.canonHead === this.tail ? 1 : 0;
  }

  /** A character comes in. The caller has looked at `room`. */
  receive(byte: number): void {
    const { termios } = this.line;
    if (termios.lflag & ICANON && this.canonHead === this.tail && this.head - this.tail >= BUFFER)
      // The line is full: the last character gives way.
      this.head--;
    let c = byte;
    if (termios.iflag & ISTRIP) c &= 0x7f;
    if (termios.iflag & IUCLC && termios.lflag & IEXTEN && c >= 65 && c <= 90) c += 32;
    if (this.literal) {
      this.literal = false;
      this.takeOrdinary(c, true);
    } else if (termios.lflag & EXTPROC) this.put(c);
    else if (this.isSpecial(c)) this.receiveSpecial(c);
    else this.takeOrdinary(c, true);
  }

  /** The sender has paused: readers of raw input may look. */
  settle(): void {
    if (this.inputAvailable(true)) this.line.inputReady();
  }

  private isSpecial(c: number): boolean {
    const { iflag, lflag, cc } = this.line.termios;
    if (c === CR && iflag & (IGNCR | ICRNL)) return true;
    if (c === NL && (iflag & INLCR || lflag & ICANON)) return true;
    // A special character that is 0 is switched off.
    if (c === 0) return false;
    if (lflag & ICANON) {
      if (c === cc[VERASE] || c === cc[VKILL] || c === cc[VEOF] || c === cc[VEOL]) return true;
      if (lflag & IEXTEN) {
        if (c === cc[VWERASE] || c === cc[VLNEXT] || c === cc[VEOL2]) return true;
        if (lflag & ECHO && c === cc[VREPRINT]) return true;
      }
    }
    if (iflag & IXON && (c === cc[VSTART] || c === cc[VSTOP])) return true;
    return (lflag & ISIG) !== 0 && (c === cc[VINTR] || c === cc[VQUIT] || c === cc[VSUSP]);
  }

  private restartAny(): void {
    const { iflag } = this.line.termios;
    if (this.flowStopped && iflag & IXON && iflag & IXANY) this.start();
  }

  private takeOrdinary(c: number, mayRestart: boolean): void {
    if (mayRestart) this.restartAny();
    if (this.line.termios.lflag & ECHO) {
      this.finishErasing();
      if (this.canonHead === this.head) this.canonColumn = this.column;
      this.echo(c);
    }
    if (c === 0xff && this.line.termios.iflag & PARMRK) this.put(c);
    this.put(c);
  }

  private receiveSpecial(byte: number): void {
    const { iflag, lflag, cc } = this.line.termios;
    let c = byte;
    if (iflag & IXON) {
      if (c === cc[VSTART]) {
        this.start();
        return;
      }
      if (c === cc[VSTOP]) {
        this.stop();
        return;
      }
    }
    if (lflag & ISIG) {
      const signo = c === cc[VINTR] ? SIGINT : c === cc[VQUIT] ? SIGQUIT : c === cc[VSUSP] ? SIGTSTP : 0;
      if (signo !== 0) {
        this.signal(signo, c);
        return;
      }
    }
    this.restartAny();
    if (c === CR) {
      if (iflag & IGNCR) return;
      if (iflag & ICRNL) c = NL;
    } else if (c === NL && iflag & INLCR) c = CR;
    if (lflag & ICANON && this.receiveCanonical(c)) return;
    if (lflag & ECHO) {
      this.finishErasing();
      if (c === NL) this.echoRaw(NL);
      else {
        if (this.canonHead === this.head) this.canonColumn = this.column;
        this.echo(c);
      }
    }
    if (c === 0xff && iflag & PARMRK) this.put(c);
    this.put(c);
  }

  private signal(signo: number, c: number): void {
    const { iflag, lflag } = this.line.termios;
    this.line.signal(signo);
    if ((lflag & NOFLSH) === 0) {
      this.heldEcho = [];
      this.line.dropOutput();
      this.flushInput();
    }
    if (iflag & IXON) this.start();
    if (lflag & ECHO) this.echo(c);
  }

  /** Characters that edit or end lines. False: it is an ordinary one. */
  private receiveCanonical(c: number): boolean {
    const { iflag, lflag, cc } = this.line.termios;
    const extended = (lflag & IEXTEN) !== 0;
    if (c !== 0 && (c === cc[VERASE] || c === cc[VKILL] || (c === cc[VWERASE] && extended))) {
      this.erase(c);
      return true;
    }
    if (c !== 0 && c === cc[VLNEXT] && extended) {
      this.literal = true;
      if (lflag & ECHO) {
        this.finishErasing();
        if (lflag & ECHOCTL) {
          this.echoRaw(94);
          this.echoRaw(BS);
        }
      }
      return true;
    }
    if (c !== 0 && c === cc[VREPRINT] && lflag & ECHO && extended) {
      this.finishErasing();
      this.echo(c);
      this.echoRaw(NL);
      for (let at = this.canonHead; at !== this.head; at++) this.echo(this.buffer[at & MASK]!);
      return true;
    }
    if (c === NL) {
      if (lflag & (ECHO | ECHONL)) this.echoRaw(NL);
      this.endLine(c);
      return true;
    }
    if (c !== 0 && c === cc[VEOF]) {
      this.endLine(0);
      return true;
    }
    if (c !== 0 && (c === cc[VEOL] || (c === cc[VEOL2] && extended))) {
      if (lflag & ECHO) {
        if (this.canonHead === this.head) this.canonColumn = this.column;
        this.echo(c);
      }
      if (c === 0xff && iflag & PARMRK) this.put(c);
      this.endLine(c);
      return true;
    }
    return false;
  }

  private put(c: number): void {
    this.lineEnds[this.head & MASK] = 0;
    this.buffer[this.head & MASK] = c;
    this.head++;
  }

  /** Ends a line with `c`; 0 is the end-of-file character, which itself is not read. */
  private endLine(c: number): void {
    this.put(c);
    this.lineEnds[(this.head - 1) & MASK] = 1;
    this.canonHead = this.head;
    this.line.inputReady();
  }

  private isContinuation(c: number): boolean {
    return (this.line.termios.iflag & IUTF8) !== 0 && (c & 0xc0) === 0x80;
  }

  private erase(c: number): void {
    const { lflag, cc } = this.line.termios;
    if (this.head === this.canonHead) return;
    const kill = c === cc[VKILL];
    const word = !kill && c === cc[VWERASE] && c !== cc[VERASE];
    if (kill) {
      if ((lflag & ECHO) === 0) {
        this.head = this.canonHead;
        return;
      }
      if ((lflag & (ECHOK | ECHOKE | ECHOE)) !== (ECHOK | ECHOKE | ECHOE)) {
        this.head = this.canonHead;
        this.finishErasing();
        this.echo(cc[VKILL]!);
        if (lflag & ECHOK) this.echoRaw(NL);
        return;
      }
    }
    let inWord = false;
    while (this.head !== this.canonHead) {
      // One character, of several bytes perhaps.
      let at = this.head;
      let byte: number;
      do {
        at--;
        byte = this.buffer[at & MASK]!;
      } while (this.isContinuation(byte) && at !== this.canonHead);
      if (this.isContinuation(byte)) break;
      if (word) {
        if (isWordCharacter(byte)) inWord = true;
        else if (inWord) break;
      }
      const end = this.head;
      this.head = at;
      if (lflag & ECHO) this.echoErasure(byte, at, end, !kill && !word);
      if (!kill && !word) break;
    }
    if (this.head === this.canonHead && lflag & ECHO) this.finishErasing();
  }

  /** Shows that the character at [at, end) is gone. */
  private echoErasure(byte: number, at: number, end: number, single: boolean): void {
    const { lflag, cc } = this.line.termios;
    if (lflag & ECHOPRT) {
      if (!this.erasing) {
        this.echoRaw(92);
        this.erasing = true;
      }
      this.echo(byte);
      for (let i = at + 1; i < end; i++) {
        this.echoRaw(this.buffer[i & MASK]!);
        if (this.column > 0) this.column--;
      }
    } else if (single && (lflag & ECHOE) === 0) this.echo(cc[VERASE]!);
    else if (byte === TAB) this.eraseTab();
    else {
      const control = isControl(byte);
      if (control && lflag & ECHOCTL) this.eraseColumn();
      if (!control || lflag & ECHOCTL) this.eraseColumn();
    }
  }

  private eraseColumn(): void {
    this.echoRaw(BS);
    this.echoRaw(SPACE);
    this.echoRaw(BS);
  }

  /** Goes back over a tab: as many columns as the characters since the line's start, or the tab before, left to it. */
  private eraseTab(): void {
    const { lflag } = this.line.termios;
    let columns = 0;
    let afterTab = false;
    for (let at = this.head; at !== this.canonHead; ) {
      at--;
      const c = this.buffer[at & MASK]!;
      if (c === TAB) {
        afterTab = true;
        break;
      }
      if (isControl(c)) {
        if (lflag & ECHOCTL) columns += 2;
      } else if (!this.isContinuation(c)) columns++;
    }
    if (!afterTab) columns += this.canonColumn;
    for (let n = 8 - (columns & 7); n > 0; n--) {
      this.emit(BS);
      if (this.column > 0) this.column--;
    }
  }

  private finishErasing(): void {
    if (!this.erasing) return;
    this.echoRaw(47);
    this.erasing = false;
  }

  // Echo and output.

  /** Echoes a character, control characters as ^X. */
  private echo(c: number): void {
    if (this.line.termios.lflag & ECHOCTL && isControl(c) && c !== TAB) {
      this.emit(94);
      this.emit(c ^ 0o100);
      this.column += 2;
    } else this.echoRaw(c);
  }
  private echoRaw(c: number): void {
    if (this.line.termios.oflag & OPOST) this.process(c, true);
    else this.emit(c);
  }
  private emit(byte: number): void {
    if (!this.flowStopped) this.line.send(byte);
    else if (this.heldEcho.length < ECHO_MAX) this.heldEcho.push(byte);
  }

  /** Bytes that one output character may become. */
  static readonly EXPANSION = 8;

  /** A program's character goes out. */
  output(c: number): void {
    if (this.line.termios.oflag & OPOST) this.process(c, false);
    else this.line.send(c);
  }

  private process(byte: number, echo: boolean): void {
    const { oflag } = this.line.termios;
    let c = byte;
    switch (c) {
      case NL:
        if (oflag & ONLRET) this.column = 0;
        if (oflag & ONLCR) {
          this.canonColumn = this.column = 0;
          this.give(CR, echo);
        } else this.canonColumn = this.column;
        break;
      case CR:
        if (oflag & ONOCR && this.column === 0) return;
        if (oflag & OCRNL) {
          c = NL;
          if (oflag & ONLRET) this.canonColumn = this.column = 0;
        } else this.canonColumn = this.column = 0;
        break;
      case TAB: {
        const spaces = 8 - (this.column & 7);
        this.column += spaces;
        if ((oflag & TABDLY) === XTABS) {
          for (let i = 0; i < spaces; i++) this.give(SPACE, echo);
          return;
        }
        break;
      }
      case BS:
        if (this.column > 0) this.column--;
        break;
      default:
        if (!isControl(c)) {
          if (oflag & OLCUC && c >= 97 && c <= 122) c -= 32;
          if (!this.isContinuation(c)) this.column++;
        }
    }
    this.give(c, echo);
  }
  private give(byte: number, echo: boolean): void {
    if (echo) this.emit(byte);
    else this.line.send(byte);
  }

  stop(): void {
    if (this.flowStopped) return;
    this.flowStopped = true;
    this.line.stopped(true);
  }
  start(): void {
    if (!this.flowStopped) return;
    this.flowStopped = false;
    const held = this.heldEcho;
    this.heldEcho = [];
    for (const byte of held) this.line.send(byte);
    this.line.stopped(false);
  }

  // Reading.

  /** Is there something for a reader? `forPoll`: as much as VMIN asks for. */
  inputAvailable(forPoll: boolean): boolean {
    const { termios } = this.line;
    if (termios.canonical && (termios.lflag & EXTPROC) === 0) return this.canonHead !== this.tail;
    const wanted = forPoll && termios.cc[5] === 0 && termios.cc[6] ? termios.cc[6] : 1;
    return this.head - this.tail >= wanted;
  }

  /** Bytes that could be read: all of them in raw mode, whole lines in canonical mode. */
  get count(): number {
    if (!this.line.termios.canonical) return this.head - this.tail;
    let n = this.canonHead - this.tail;
    // End-of-file characters are not read.
    for (let at = this.tail; at < this.canonHead; at++)
      if (this.lineEnds[at & MASK] && this.buffer[at & MASK] === 0) n--;
    return n;
  }

  /** Moves one line, or what fits of it. The count (0: end of file), or -EFAULT. */
  readLine(io: Io): number {
    let moved = 0;
    while (io.remaining > 0 && this.tail !== this.canonHead) {
      let end = this.tail;
      const limit = Math.min(this.canonHead, this.tail + io.remaining);
      while (end < limit && !this.lineEnds[end & MASK]) end++;
      const found = end < limit;
      const swallow = found && this.buffer[end & MASK] === 0;
      const stop = found && !swallow ? end + 1 : end;
      const n = this.moveOut(io, stop);
      if (n < 0) return moved > 0 ? moved : n;
      moved += n;
      if (this.tail < stop) break;
      if (found) {
        this.lineEnds[end & MASK] = 0;
        if (swallow) this.tail++;
        return moved;
      }
    }
    // A reader that took all there was before an end-of-file character has met it, too.
    if (
      moved > 0 &&
      this.tail !== this.canonHead &&
      this.lineEnds[this.tail & MASK] &&
      this.buffer[this.tail & MASK] === 0
    ) {
      this.lineEnds[this.tail & MASK] = 0;
      this.tail++;
    }
    return moved;
  }

  /** Moves raw bytes. */
  readRaw(io: Io): number {
    return this.moveOut(io, this.head);
  }

  private moveOut(io: Io, end: number): number {
    let moved = 0;
    while (this.tail < end && io.remaining > 0) {
      const at = this.tail & MASK;
      const run = Math.min(end - this.tail, BUFFER - at, io.remaining);
      const n = io.put(this.buffer, at, run);
      if (n < 0) return moved > 0 ? moved : n;
      this.tail += n;
      moved += n;
      if (n < run) break;
    }
    if (!this.line.termios.canonical && this.canonHead < this.tail) this.canonHead = this.tail;
    return moved;
  }

  get length(): number {
    return this.head - this.tail;
  }

  flushInput(): void {
    this.head = this.tail = this.canonHead = 0;
    this.lineEnds.fill(0);
    this.erasing = false;
    this.literal = false;
    this.line.inputDropped();
  }

  /** The settings changed from `old`. */
  settingsChanged(old: Termios): void {
    const { termios } = this.line;
    if ((old.lflag ^ termios.lflag) & (ICANON | EXTPROC)) {
      this.lineEnds.fill(0);
      if (!termios.canonical || this.head === this.tail) this.canonHead = this.tail;
      else {
        // What was typed raw is one line now, without an end of its own.
        this.lineEnds[(this.head - 1) & MASK] = 1;
        this.canonHead = this.head;
      }
      this.erasing = false;
      this.literal = false;
    }
    if ((termios.iflag & IXON) === 0 && old.iflag & IXON) this.start();
  }
}

function isControl(c: number): boolean {
  return c < 32 || c === 127;
}
/** As the kernel's isalnum (Latin-1) and "_". */
function isWordCharacter(c: number): boolean {
  return (
    (c >= 48 && c <= 57) ||
    (c >= 65 && c <= 90) ||
    (c >= 97 && c <= 122) ||
    c === 95 ||
    (c >= 0xc0 && c !== 0xd7 && c !== 0xf7)
  );
}

persistent("line-discipline", LineDiscipline);
