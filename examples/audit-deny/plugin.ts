/**
 * Denies opening files below given directories, notes who tried, and shows it: `runts audit ID`.
 *
 * Both halves: the sandbox's half intercepts and answers a request; the host's half adds the command that makes it.
 * It looks at names: a file that has another name elsewhere (a hard link, a bind mount) can be opened by that.
 */
import { definePlugin, errno, type InterceptedCall, v } from "runts";

const AT_FDCWD = -100;
/** Notes that are kept, the latest. */
const NOTES_MAX = 1000;

interface Note {
  time: string;
  pid: number;
  uid: number;
  program: string;
  call: string;
  path: string;
}

export default definePlugin({
  name: "audit-deny",
  description: "denies opening files by prefix, and keeps a list of who tried",
  options: v.object({
    /** Absolute paths: each stands for itself and all that is below. */
    deny: v.array(v.pipe(v.string(), v.startsWith("/"))),
  }),

  host(host) {
    host.command("audit <container-id>", "show what a container was denied", async (context, [id]) => {
      const containers = await context.containers();
      const { notes } = (await containers.request(id!, "audit-deny.notes", {})) as { notes: Note[] };
      for (const { time, pid, uid, program, call, path } of notes)
        context.out(`${time} pid ${pid} uid ${uid} ${program}: ${call} ${path}\n`);
    });
  },

  sandbox(kernel, { deny }) {
    const notes: Note[] = [];
    const denied = (path: string) => deny.some((each) => path === each || path.startsWith(`${each}/`));

    const check = (call: InterceptedCall<"openat">, next: () => number): number => {
      // What the program wrote may be relative or go through links: ask the kernel what it means.
      const path = call.task.resolve(call.dirfd ?? AT_FDCWD, call.path);
      if (typeof path === "number" || !denied(path)) return next();
      const { pid, uid, comm } = call.task;
      // A call that had to wait is asked about again: one note is enough.
      if (!call.again)
        notes.push({ time: new Date().toISOString(), pid, uid, program: comm, call: call.syscall, path });
      if (notes.length > NOTES_MAX) notes.shift();
      kernel.log.warn(`denied: ${comm} (pid ${pid}) ${call.syscall} ${path}`);
      return -errno.EACCES;
    };
    for (const name of ["openat", "open", "creat"])
      kernel.intercept(name, (call, next) => check(call as InterceptedCall<"openat">, next));
    // Its RESOLVE_ flags give paths another meaning: programs do without it where it does not exist.
    kernel.intercept("openat2", () => -errno.ENOSYS);
    kernel.control("audit-deny.notes", () => ({ notes }));
  },
});
