import { describe, expect, test } from "bun:test";
import { KernelIo } from "../vfs/io.ts";
import { type Line, LineDiscipline } from "./line-discipline.ts";
import { ECHO, ECHOCTL, ECHOE, ECHOK, ECHOKE, ECHOPRT, ICANON, IUTF8, ONLCR, Termios, XTABS } from "./termios.ts";

/** A terminal that only remembers. */
class TestLine implements Line {
  termios = new Termios();
  sent = "";
  signals: number[] = [];
  stops: boolean[] = [];
  readonly discipline = new LineDiscipline(this);
  send(byte: number): void {
    this.sent += String.fromCharCode(byte);
  }
  signal(signo: number): void {
    this.signals.push(signo);
  }
  dropOutput(): void {}
  inputDropped(): void {}
  inputReady(): void {}
  stopped(on: boolean): void {
    this.stops.push(on);
  }

  type(text: string): string {
    this.sent = "";
    for (const byte of Buffer.from(text, "latin1")) this.discipline.receive(byte);
    return this.sent;
  }
  write(text: string): string {
    this.sent = "";
    for (const byte of Buffer.from(text, "latin1")) this.discipline.output(byte);
    return this.sent;
  }
  read(length = 4096): string | null {
    if (!this.discipline.inputAvailable(false)) return null;
    const buffer = new Uint8Array(length);
    const io = new KernelIo(buffer);
    const n = this.termios.canonical ? this.discipline.readLine(io) : this.discipline.readRaw(io);
    return Buffer.from(buffer.buffer, 0, n).toString("latin1");
  }
  set(change: (termios: Termios) => void): void {
    const old = this.termios;
    this.termios = old.clone();
    change(this.termios);
    this.discipline.settingsChanged(old);
  }
}

describe("N_TTY in canonical mode", () => {
  // What the host kernel echoes and gives to a reader: test/guest/pty-modes.c compares more of it.
  const cases: { when: string; off?: number; on?: number; keys: string; echo: string; line: string }[] = [
    { when: "a line is typed", keys: "hi\r", echo: "hi\r\n", line: "hi\n" },
    { when: "a character is erased", keys: "ab\x7fc\n", echo: "ab\b \bc\r\n", line: "ac\n" },
    { when: "a control character is erased", keys: "a\x01\x7f\n", echo: "a^A\b \b\b \b\r\n", line: "a\n" },
    { when: "a tab is erased", keys: "ab\t\x7fc\n", echo: `ab\t${"\b".repeat(6)}c\r\n`, line: "abc\n" },
    { when: "a word is erased", keys: "a bc \x17d\n", echo: `a bc ${"\b \b".repeat(3)}d\r\n`, line: "a d\n" },
    { when: "the line is killed", keys: "abc\x15d\n", echo: `abc${"\b \b".repeat(3)}d\r\n`, line: "d\n" },
    { when: "killed without ECHOKE", off: ECHOKE, keys: "ab\x15c\n", echo: "ab^U\r\nc\r\n", line: "c\n" },
    { when: "killed without ECHOK", off: ECHOK, keys: "ab\x15c\n", echo: "ab^Uc\r\n", line: "c\n" },
    { when: "erased without ECHOE", off: ECHOE, keys: "ab\x7f\n", echo: "ab^?\r\n", line: "a\n" },
    { when: "erased with ECHOPRT", on: ECHOPRT, keys: "abc\x7f\x7fd\n", echo: "abc\\cb/d\r\n", line: "ad\n" },
    { when: "a character is quoted", keys: "\x16\x03\n", echo: "^\b^C\r\n", line: "\x03\n" },
    { when: "echo is off", off: ECHO, keys: "secret\x7f\n", echo: "", line: "secre\n" },
    { when: "control characters are shown raw", off: ECHOCTL, keys: "\x01\n", echo: "\x01\r\n", line: "\x01\n" },
    { when: "the line is reprinted", keys: "ab\x12c\n", echo: "ab^R\r\nabc\r\n", line: "abc\n" },
  ];
  for (const { when, off = 0, on = 0, keys, echo, line } of cases)
    test(`when ${when}`, () => {
      const tty = new TestLine();
      tty.set((termios) => {
        termios.lflag = (termios.lflag | on) & ~off;
      });
      expect(tty.type(keys)).toBe(echo);
      expect(tty.read()).toBe(line);
      expect(tty.read()).toBeNull();
    });

  test("a UTF-8 character is erased as a whole", () => {
    const tty = new TestLine();
    tty.set((termios) => {
      termios.iflag |= IUTF8;
    });
    expect(tty.type("a\xe2\x82\xac\x7f\n")).toBe("a\xe2\x82\xac\b \b\r\n");
    expect(tty.read()).toBe("a\n");
  });

  test("an end of file ends a read, and is met once", () => {
    const tty = new TestLine();
    tty.type("ab\x04\x04c\n");
    expect(tty.read(2)).toBe("ab");
    expect(tty.read()).toBe("");
    expect(tty.read()).toBe("c\n");
  });

  test("a full line loses characters, but not its end", () => {
    const tty = new TestLine();
    tty.type("x".repeat(5000));
    expect(tty.discipline.room).toBe(1);
    tty.type("\n");
    const line = tty.read(8192)!;
    expect(line.length).toBe(4096);
    expect(line.endsWith("x\n")).toBe(true);
  });

  test("the keys for signals send them, drop the line and are echoed", () => {
    const tty = new TestLine();
    expect(tty.type("abc\x03")).toBe("abc^C");
    tty.type("\x1c\x1a");
    expect(tty.signals).toEqual([2, 3, 20]);
    expect(tty.read()).toBeNull();
  });

  test("echo waits while output is stopped", () => {
    const tty = new TestLine();
    expect(tty.type("\x13ab")).toBe("");
    expect(tty.type("\x11")).toBe("ab");
    expect(tty.stops).toEqual([true, false]);
  });
});

describe("N_TTY in raw mode", () => {
  test("takes everything as it is, and as much as there is room for", () => {
    const tty = new TestLine();
    tty.set((termios) => {
      termios.iflag = 0;
      termios.lflag = 0;
    });
    tty.type("a\r\x03\x7f");
    expect(tty.read(2)).toBe("a\r");
    expect(tty.read()).toBe("\x03\x7f");
    tty.type("x".repeat(tty.discipline.room));
    expect(tty.discipline.room).toBe(0);
    expect(tty.discipline.count).toBe(4095);
  });

  test("poll waits for VMIN characters", () => {
    const tty = new TestLine();
    tty.set((termios) => {
      termios.lflag &= ~ICANON;
      termios.cc[6] = 3;
    });
    tty.type("ab");
    expect(tty.discipline.inputAvailable(true)).toBe(false);
    tty.type("c");
    expect(tty.discipline.inputAvailable(true)).toBe(true);
  });
});

describe("output processing", () => {
  test("maps newlines and keeps the column for tabs", () => {
    const tty = new TestLine();
    expect(tty.write("a\n\tb")).toBe("a\r\n\tb");
    tty.set((termios) => {
      termios.oflag = (termios.oflag | XTABS) & ~ONLCR;
    });
    expect(tty.write("\r\tb\tc")).toBe(`\r${" ".repeat(8)}b${" ".repeat(7)}c`);
  });
});
