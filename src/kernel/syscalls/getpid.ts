/** getpid, gettid, getppid. Manual pages: getpid(2), gettid(2). */
import { syscall } from "../syscall.ts";

export const getpid = syscall("getpid", {}, (task) => task.process.pid);

export const gettid = syscall("gettid", {}, (task) => task.tid);

/** 0 where the parent is outside of the sandbox. */
export const getppid = syscall("getppid", {}, (task) => task.process.parent?.pid ?? 0);
