/**
 * The caller's terminal, joined to a pty whose slave is the container's: `do`, attached `run` and `exec` with a tty.
 *
 * The pty's own line discipline serves the guest; the caller's terminal is raw while this lasts, so that each key
 * (Ctrl-C too) goes through. The copying is done by native threads: blocking reads in the runtime's small thread pool would
 * starve each other. Invariant: `finish` puts the caller's terminal back, whatever happened before.
 */
import { closeSync } from "node:fs";
import { RuntimeError } from "./errors.ts";
import type { HostCalls } from "./host-calls.ts";

/** How long output that is still in the pty is waited for after the program has ended. */
const DRAIN_MS = 2000;

/** Written by native threads at any time: must outlive whoever started them. */
const flags: Int32Array[] = [];

export class TerminalBridge {
  private readonly saved = new Uint8Array(128);
  private raw = false;
  /** Where keys go: a copy of the master, but while a person is asked. */
  private input = -1;
  private readonly outputDone = new Int32Array(1);
  private readonly inputDone = new Int32Array(1);
  private readonly onResize = () => this.copySize();

  private constructor(
    private readonly host: HostCalls,
    readonly master: number,
    readonly slave: number,
  ) {}

  /** A pty of the size of the caller's terminal (descriptor 0), or of `size`. */
  static open(host: HostCalls, size?: { height: number; width: number }): TerminalBridge {
    const pair = new Int32Array(2);
    const result = host.openpty(pair);
    if (result < 0) throw new RuntimeError("host", `cannot open a pseudo-terminal (errno ${-result})`);
    const bridge = new TerminalBridge(host, pair[0]!, pair[1]!);
    if (size !== undefined && size.height > 0 && size.width > 0)
      host.setWindowSize(bridge.master, size.height, size.width);
    else bridge.copySize();
    return bridge;
  }

  /** The caller's window, as a spec's `consoleSize`. */
  static size(host: HostCalls): { height: number; width: number } | undefined {
    const size = new Int32Array(2);
    return host.getWindowSize(0, size) < 0 ? undefined : { height: size[0]!, width: size[1]! };
  }

  private copySize(): void {
    const size = new Int32Array(2);
    if (this.host.getWindowSize(0, size) >= 0) this.host.setWindowSize(this.master, size[0]!, size[1]!);
  }

  /** Starts copying both ways. The slave may be closed here once the sandbox has it. */
  connect(): void {
    this.raw = this.host.makeRaw(0, this.saved) >= 0;
    process.on("SIGWINCH", this.onResize);
    flags.push(this.outputDone, this.inputDone);
    this.copy(this.master, 1, this.outputDone);
    this.input = this.host.dup(this.master);
    this.copy(0, this.input, this.inputDone);
  }

  /** What is typed goes to `fd`, which stays the caller's, until the returned function is called. */
  divert(fd: number): () => void {
    this.host.dupTo(fd, this.input);
    return () => this.host.dupTo(this.master, this.input);
  }

  closeSlave(): void {
    closeSync(this.slave);
  }

  private copy(from: number, to: number, done: Int32Array): void {
    const result = this.host.copy(from, to, done);
    if (result < 0) throw new RuntimeError("host", `cannot copy between terminals (errno ${-result})`);
  }

  /** Waits for the last output, then puts the caller's terminal back. */
  async finish(): Promise<void> {
    const deadline = Date.now() + DRAIN_MS;
    while (this.outputDone[0] === 0 && Date.now() < deadline) await Bun.sleep(1);
    this.restore();
  }

  /** Puts the caller's terminal back at once. */
  restore(): void {
    process.off("SIGWINCH", this.onResize);
    if (this.raw) this.host.restoreTerminal(0, this.saved);
    this.raw = false;
  }
}
