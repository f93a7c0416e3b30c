/**
 * Files of pseudo file systems whose contents are made when they are read.
 *
 * A read at offset 0 makes the contents; reads further on see that same text, so a reader with a small buffer gets a
 * consistent whole, and one that seeks back to the start gets news (as top does). A write is handed over as one text.
 */

import { encodeName } from "../../abi/bytes.ts";
import { EACCES, EINVAL, EIO } from "../../abi/errno.ts";
import { S_IFREG } from "../../abi/stat.ts";
import { Slice } from "../../slice.ts";
import { persistent, remade } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import type { Path } from "../../vfs/dentry.ts";
import { File } from "../../vfs/file.ts";
import type { Io } from "../../vfs/io.ts";
import { byPlace, type PseudoFs, PseudoInode } from "./node.ts";

/** What a generator gives: text, bytes, or -errno. */
export type Content = string | Uint8Array | number;

/** At most this much is taken of one write. */
const WRITE_MAX = 65536;

/** A stretch of a long text that is made while it is read, as seq_file of Linux has it. */
class TextWindow {
  /** Offset of its first byte in the whole. */
  start = 0;
  bytes: Uint8Array = new Uint8Array(0);
  /** Where the maker goes on. */
  cursor = 0;
  ended = false;
  get end(): number {
    return this.start + this.bytes.length;
  }
}

/** A text is made in stretches of about this many characters. */
const STRETCH = 32768;

export abstract class PseudoFile extends PseudoInode {
  constructor(fs: PseudoFs, mode: number, ino?: number) {
    super(fs, S_IFREG, mode, ino);
  }
  /** The whole contents now, as `task` may see them. */
  abstract content(task: Task): Content;
  /** Contents that may be long are given part by part instead, where this says so. */
  inParts(_task: Task): boolean {
    return false;
  }
  /** The part at a cursor (0: the first) and the cursor of the next one; null at the end. */
  part(_task: Task, _cursor: number): { text: string; next: number } | null {
    return null;
  }
  /** 0 or the number of bytes taken, or -errno. */
  write(_task: Task, _text: string): number {
    return -EIO;
  }
  /** A check at open, beyond permission bits. */
  checkOpen(_task: Task, _flags: number): number {
    return 0;
  }
  override open(path: Path, flags: number, task: Task): File | number {
    const denied = this.checkOpen(task, flags);
    return denied < 0 ? denied : new PseudoTextFile(flags, path, this);
  }
}

/** A file made of functions. */
export class GeneratedFile extends PseudoFile {
  constructor(
    fs: PseudoFs,
    private readonly generate: (task: Task) => Content,
    private readonly accept: ((task: Task, text: string) => number) | null = null,
    mode = accept === null ? 0o444 : 0o644,
  ) {
    super(fs, mode);
  }
  override content(task: Task): Content {
    return this.generate(task);
  }
  override write(task: Task, text: string): number {
    return this.accept === null ? -EIO : this.accept(task, text);
  }
}

export class PseudoTextFile extends File {
  override readonly seekable = true;
  /** The text of the last read at 0. */
  private bytes: Uint8Array | null = null;
  /** Of one that is made in parts. */
  private window: TextWindow | null = null;

  constructor(
    flags: number,
    path: Path,
    readonly node: PseudoFile,
  ) {
    super(flags, path, node);
  }

  override read(task: Task, io: Io, offset: number): number {
    if (this.window !== null && offset > 0) return this.readParts(task, io, offset);
    if (this.bytes === null || offset === 0) {
      if (this.node.inParts(task)) return this.readParts(task, io, offset);
      const content = this.node.content(task);
      if (typeof content === "number") return content;
      this.bytes = typeof content === "string" ? encodeName(content) : content;
    }
    const n = Math.min(io.remaining, this.bytes.length - offset);
    return n <= 0 ? 0 : io.put(this.bytes, offset, n);
  }

  private readParts(task: Task, io: Io, offset: number): number {
    const slice = new Slice(task.kernel);
    const going = task.restart?.file === this;
    if (this.window === null || (!going && offset < this.window.start) || (offset === 0 && !going))
      this.window = new TextWindow();
    const { window } = this;
    while (window.end <= offset && !window.ended) {
      let text = "";
      while (text.length < STRETCH && !window.ended && !slice.over) {
        const part = this.node.part(task, window.cursor);
        if (part === null) window.ended = true;
        else {
          text += part.text;
          window.cursor = part.next;
        }
      }
      if (text === "" && !window.ended) {
        task.progress().file ??= this.retain();
        return task.giveWay();
      }
      window.start = window.end;
      window.bytes = encodeName(text);
    }
    const n = Math.min(io.remaining, window.end - offset);
    return n <= 0 || offset < window.start ? 0 : io.put(window.bytes, offset - window.start, n);
  }

  override write(task: Task, io: Io, _offset: number): number {
    const length = Math.min(io.remaining, WRITE_MAX);
    const buffer = new Uint8Array(length);
    const n = io.take(buffer, 0, length);
    if (n < 0) return n;
    const result = this.node.write(task, Buffer.from(buffer.buffer, 0, n).toString("latin1"));
    if (result < 0) return result;
    this.bytes = null;
    return result === 0 ? n : Math.min(n, result);
  }

  /** Each write is a whole, and a read further on is of the same text anyway. */
  override get divisible(): boolean {
    return false;
  }
  override size(): number {
    return 0;
  }
  override fsync(): number {
    return -EINVAL;
  }
  override truncate(): number {
    return this.writable ? 0 : -EACCES;
  }
}

/** Parses the number that a guest wrote to a settings file; null when it is none. */
export function parseNumber(text: string): number | null {
  const trimmed = text.replace(/[\s\0]+$/, "").replace(/^\s+/, "");
  if (!/^[-+]?(0[xX][0-9a-fA-F]+|\d+)$/.test(trimmed)) return null;
  const negative = trimmed.startsWith("-");
  const digits = trimmed.replace(/^[-+]/, "");
  const base = /^0[xX]/.test(digits) ? 16 : digits.length > 1 && digits.startsWith("0") ? 8 : 10;
  const value = Number.parseInt(base === 16 ? digits.slice(2) : digits, base);
  return negative ? -value : value;
}

persistent("text-window", TextWindow);
persistent("pseudo-file", PseudoFile);
remade("generated-file", GeneratedFile, byPlace());
persistent("pseudo-text-file", PseudoTextFile);
