/** Root file systems made from what is installed: busybox alone, and one laid out like Debian with bash and python3. */
import { chmodSync, copyFileSync, existsSync, mkdirSync, realpathSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { busyboxPath } from "../harness/packages.ts";
import { run } from "../harness/process.ts";

/** Debian packages that arenas and root file systems are made with. */
export const rootfsPackages = [
  "util-linux",
  "busybox-static",
  "bash",
  "coreutils",
  "tar",
  "python3",
  "libc-bin",
  "binutils",
];

const directories = ["dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "usr/bin", "var", "var/tmp"];

async function must(command: string[]): Promise<string> {
  const result = await run(command, { timeoutMs: 60_000 });
  if (result.status !== 0) throw new Error(`${command[0]}: status ${result.status}: ${result.stderr}`);
  return result.stdout;
}

function skeleton(dir: string): void {
  for (const each of directories) mkdirSync(join(dir, each), { recursive: true });
  chmodSync(join(dir, "tmp"), 0o1777);
  chmodSync(join(dir, "var/tmp"), 0o1777);
  chmodSync(join(dir, "root"), 0o700);
  const put = (name: string, text: string): void => writeFileSync(join(dir, "etc", name), text);
  put("passwd", "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000:a guest:/home:/bin/sh\n");
  put("group", "root:x:0:\nguest:x:1000:\nextra:x:2000:guest\n");
  put("hostname", "rootfs\n");
  put("hosts", "127.0.0.1 localhost\n");
  put("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n");
}

/** Two files that cannot be run, for the errors: one without the bit, one that is no program. */
function misfits(dir: string): void {
  writeFileSync(join(dir, "etc/plain"), "#!/bin/sh\necho no\n", { mode: 0o644 });
  writeFileSync(join(dir, "etc/garbage"), "\x01\x02this is no program\n", { mode: 0o755 });
}

export async function busyboxRootfs(dir: string): Promise<string> {
  skeleton(dir);
  misfits(dir);
  mkdirSync(join(dir, "bin"), { recursive: true });
  const busybox = busyboxPath();
  if (!busybox) throw new Error("no busybox");
  copyFileSync(realpathSync(busybox), join(dir, "bin/busybox"));
  chmodSync(join(dir, "bin/busybox"), 0o755);
  for (const name of (await must([busybox, "--list"])).split("\n").filter(Boolean))
    if (name !== "busybox") symlinkSync("busybox", join(dir, "bin", name));
  return dir;
}

const commands =
  "bash sh ls cat cp mv rm mkdir rmdir ln chmod chown touch echo printf true false sleep sort uniq wc head tail cut tr " +
  "tee env id whoami pwd date stat df du dd seq test expr kill timeout stty tty uname nproc grep sed find xargs tar gzip python3";

const unneeded = "test idlelib tkinter lib2to3 ensurepip turtledemo pydoc_data __pycache__ config-3*".split(" ");

/** The shared libraries that these files want, and those that they want, by the paths that the linker's cache has. */
async function libraries(files: string[]): Promise<string[]> {
  const cache = await must(["ldconfig", "-p"]);
  const known = new Map(
    [...cache.matchAll(/^\s(\S+) \(libc6,x86-64.*\) => (\S+)$/gm)].map(([, name, path]) => [name!, path!]),
  );
  const found = new Set<string>();
  for (let next = files; next.length > 0; ) {
    const wanted = (await must(["readelf", "-d", ...next])).matchAll(/\(NEEDED\).*\[(.+)\]/g);
    const paths = [...wanted].flatMap(([, name]) => known.get(name!) ?? []);
    next = [...new Set(paths)].filter((path) => !found.has(path));
    for (const path of next) found.add(path);
  }
  return [...found];
}

/** Debian's layout: /bin, /lib and /lib64 are links into /usr. */
export async function debianRootfs(dir: string): Promise<string> {
  skeleton(dir);
  misfits(dir);
  for (const each of ["usr/sbin", "usr/lib", "usr/lib64"]) mkdirSync(join(dir, each), { recursive: true });
  for (const each of ["bin", "sbin", "lib", "lib64"]) symlinkSync(`usr/${each}`, join(dir, each));
  const found = commands
    .split(" ")
    .map((name) => join("/usr/bin", name))
    .filter((path) => existsSync(path));
  const python = realpathSync("/usr/bin/python3");
  const stdlib = `/usr/lib/${basename(python)}`;
  for (const path of found) {
    copyFileSync(realpathSync(path), join(dir, path));
    chmodSync(join(dir, path), 0o755);
  }
  const dynload = join(stdlib, "lib-dynload");
  const extensions = existsSync(dynload) ? (await must(["find", dynload, "-name", "*.so"])).split("\n") : [];
  for (const path of await libraries([...found, ...extensions.filter(Boolean)])) {
    const target = join(dir, realpathSync(dirname(path)), basename(path));
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(realpathSync(path), target);
    chmodSync(target, 0o755);
  }
  const loader = "lib64/ld-linux-x86-64.so.2";
  copyFileSync(realpathSync(`/${loader}`), join(dir, loader));
  chmodSync(join(dir, loader), 0o755);
  const exclude = unneeded.map((name) => `--exclude=${name}`);
  await must(["sh", "-c", '"$@" | tar -C "$0" -x', dir, "tar", "-C", "/", ...exclude, "-c", stdlib.slice(1)]);
  return dir;
}

/** A tar archive of a directory's content. */
export async function archive(dir: string, file: string): Promise<string> {
  await must(["tar", "-C", dir, "--numeric-owner", "--owner=0", "--group=0", "-cf", file, "."]);
  return file;
}
