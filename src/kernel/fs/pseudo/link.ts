/** Symbolic links of pseudo file systems: ordinary ones, whose target is text, made by a function where it varies. */
import { ELOOP } from "../../abi/errno.ts";
import { S_IFLNK } from "../../abi/stat.ts";
import { persistent, remade } from "../../state/registry.ts";
import type { Task } from "../../task/task.ts";
import { byPlace, type PseudoFs, PseudoInode } from "./node.ts";

export abstract class PseudoLinkBase extends PseudoInode {
  constructor(fs: PseudoFs, mode = 0o777, ino?: number) {
    super(fs, S_IFLNK, mode, ino);
  }
  abstract override readlink(task: Task): string | number;
  override open(): number {
    return -ELOOP;
  }
}

export class PseudoLink extends PseudoLinkBase {
  constructor(
    fs: PseudoFs,
    private readonly target: string | ((task: Task) => string | number),
    mode?: number,
    ino?: number,
  ) {
    super(fs, mode, ino);
  }
  override readlink(task: Task): string | number {
    return typeof this.target === "string" ? this.target : this.target(task);
  }
}

persistent("pseudo-link-base", PseudoLinkBase);
remade("pseudo-link", PseudoLink, byPlace());
