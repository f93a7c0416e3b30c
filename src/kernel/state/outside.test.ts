/** What a restored kernel has anew of its host: memory files, and terminals. */
import { describe, expect, test } from "bun:test";
import { closeFd, ioctl, openat2, poll1, pread, pwrite, readFd, writeFd } from "../../native/host.ts";
import { encodeCString } from "../abi/bytes.ts";
import { AT_FDCWD, O_NOCTTY, O_NONBLOCK, O_RDWR } from "../abi/fcntl.ts";
import { Tmpfs } from "../fs/tmpfs/tmpfs.ts";
import type { Kernel } from "../kernel.ts";
import { Mm } from "../mm/mm.ts";
import { SharedMemoryFile } from "../mm/shared-memory.ts";
import { PROT_READ, PROT_WRITE } from "../mm/vma.ts";
import type { Task } from "../task/task.ts";
import { FakeSpace } from "../testing/fake-platform.ts";
import { MemoryHost, resaved } from "../testing/saving.ts";
import { MEMORY, TaskKit } from "../testing/task-kit.ts";
import { HostTty } from "../tty/host-tty.ts";
import { TIOCGPTN, TIOCSPTLCK } from "../tty/ioctl-numbers.ts";
import { VMIN, VTIME } from "../tty/termios.ts";
import { POLLIN } from "../vfs/file.ts";
import { KernelIo } from "../vfs/io.ts";

const firstOf = (kernel: Kernel): Task => [...kernel.tasks][0]!;

describe("shared memory", () => {
  test("has its bytes and its holes, is one for all who map it, and counts as its user's", () => {
    const kit = new TaskKit();
    const file = SharedMemoryFile.create(1 << 20, 1234) as SharedMemoryFile;
    const bytes = Buffer.from("far from the start");
    pwrite(file.memory.fd, bytes, bytes.length, 700_000);
    const at = 0x40000000;
    for (const start of [at, at + (1 << 20)])
      kit.task.mm.mapFixed(
        start,
        1 << 20,
        PROT_READ | PROT_WRITE,
        true,
        file.retain() as SharedMemoryFile,
        file.memory,
        0,
      );
    file.release();

    const { mm } = firstOf(resaved(kit.kernel));
    const areas = [mm.vmas.find(at)!, mm.vmas.find(at + (1 << 20))!];
    const [one] = areas;
    expect(areas[1]!.memory).toBe(one!.memory);
    expect(one!.file).toBeInstanceOf(SharedMemoryFile);
    expect((one!.file as SharedMemoryFile).memory).toBe(one!.memory as SharedMemoryFile["memory"]);
    const { fd } = one!.memory!;
    expect(fd).not.toBe(file.memory.fd);
    const read = Buffer.alloc(bytes.length);
    pread(fd, read, read.length, 700_000);
    expect(read.toString()).toBe("far from the start");
    expect(pread(fd, read, 1, (1 << 20) - 1)).toBe(1);
    expect(pread(fd, read, 1, 1 << 20)).toBe(0);

    // What the kernel before it had is a different file.
    pwrite(file.memory.fd, Buffer.from("x"), 1, 700_000);
    pread(fd, read, 1, 700_000);
    expect(read.toString()).toBe("far from the start");
    expect(mm.unmap(at, 2 << 20)).toBe(0);
    // Its share has been given back; that of the saved kernel can be still.
    expect(() => file.onRelease()).not.toThrow();
  });
});

test("areas that parent and child share after a fork are shared afterwards, until one changes them", () => {
  interface Chunks {
    chunks: { users: number }[];
  }
  const kit = new TaskKit();
  const child = kit.thread();
  child.mm = new Mm(new FakeSpace());
  child.mm.vmas = kit.task.mm.vmas.fork();
  const kernel = resaved(kit.kernel);
  const [one, two] = [...kernel.tasks].map(({ mm }) => mm) as [Mm, Mm];
  const [ours, theirs] = [one, two].map(({ vmas }) => (vmas as unknown as Chunks).chunks[0]!);
  expect(one).not.toBe(two);
  expect(ours).toBe(theirs!);
  expect(ours!.users).toBe(2);
  two.vmas.splitAt(MEMORY + 0x1000);
  two.vmas.change(MEMORY, MEMORY + 0x1000, (area) => {
    area.prot = 0;
  });
  expect(one.vmas.find(MEMORY)!.prot).toBe(PROT_READ | PROT_WRITE);
  expect(two.vmas.find(MEMORY)!.prot).toBe(0);
  expect(ours!.users).toBe(1);
});

describe("a terminal of the host", () => {
  /** Both sides of a terminal that the host makes. */
  function hostPty(): [master: number, slave: number] {
    const master = openat2(AT_FDCWD, encodeCString("/dev/ptmx"), O_RDWR | O_NOCTTY | O_NONBLOCK, 0, 0);
    if (master < 0) throw new Error(`no terminals on this host: ${master}`);
    ioctl(master, TIOCSPTLCK, new Int32Array(1));
    const number = new Int32Array(1);
    ioctl(master, TIOCGPTN, number);
    const slave = openat2(AT_FDCWD, encodeCString(`/dev/pts/${number[0]}`), O_RDWR | O_NOCTTY | O_NONBLOCK, 0, 0);
    if (slave < 0) throw new Error(`cannot open the terminal: ${slave}`);
    return [master, slave];
  }
  class Host extends MemoryHost {
    readonly asked: [string, number][] = [];
    constructor(private readonly given: (fd: number) => number) {
      super();
    }
    override inherited(container?: string, fd?: number): number {
      this.asked.push([container!, fd!]);
      return this.given(fd!);
    }
  }
  /** A kit with an open terminal as descriptor 0. */
  function withTerminal(fd: number, inherited: number): TaskKit {
    const kit = new TaskKit();
    const tty = HostTty.attach(kit.container, fd, inherited) as HostTty;
    const place = { mount: null as never, dentry: new Tmpfs(kit.kernel).rootDentry };
    const file = tty.open(place, O_RDWR | O_NOCTTY, kit.task);
    if (typeof file === "number") throw new Error(`cannot open: ${file}`);
    kit.task.files.install(file, false, 10);
    return kit;
  }
  const terminalOf = (kernel: Kernel): HostTty => kernel.containers.get("kit")!.ptys.get(0) as HostTty;

  test("another one takes its place, with the settings of the guest", () => {
    const [oldMaster, oldSlave] = hostPty();
    const [master, slave] = hostPty();
    const kit = withTerminal(oldSlave, 0);
    const raw = terminalOf(kit.kernel).getTermios();
    raw.lflag = 0;
    raw.cc[VMIN] = 0;
    raw.cc[VTIME] = 0;
    terminalOf(kit.kernel).setTermios(raw, "now");

    const host = new Host(() => slave);
    const kernel = resaved(kit.kernel, undefined, host);
    expect(host.asked).toEqual([["kit", 0]]);
    const tty = terminalOf(kernel);
    expect(tty.fd).toBe(slave);
    expect(tty.getTermios().lflag).toBe(0);
    const task = firstOf(kernel);
    const file = task.files.get(0)!;
    writeFd(master, Buffer.from("typed"), 5);
    const bytes = new Uint8Array(10);
    // The host carries it to the other side when it comes to that.
    expect(poll1(slave, POLLIN, 10_000) & POLLIN).toBe(POLLIN);
    expect(file.read(task, new KernelIo(bytes), 0)).toBe(5);
    expect(Buffer.from(bytes.subarray(0, 5)).toString()).toBe("typed");
    kit.put(MEMORY, "shown");
    expect(file.write(task, new KernelIo(Buffer.from("shown")), 0)).toBe(5);
    expect(poll1(master, POLLIN, 10_000) & POLLIN).toBe(POLLIN);
    expect(readFd(master, bytes, 10)).toBe(5);
    // News of it is told.
    let told = 0;
    tty.waiters.wake = () => void told++;
    writeFd(master, Buffer.from("x"), 1);
    for (let i = 0; i < 100 && told === 0; i++) kernel.poller.wait(100);
    expect(told).toBeGreaterThan(0);
    for (const fd of [oldMaster, oldSlave, master, slave]) closeFd(fd);
  });

  test.each([
    ["none is there", 0, () => -9],
    ["it came with an exec", -1, () => -9],
    ["something else is there", 0, () => openat2(AT_FDCWD, encodeCString("/dev/null"), O_RDWR, 0, 0)],
  ])("where %s, it reads as ended and takes nothing", (_case, inherited, given) => {
    const [master, slave] = hostPty();
    const kit = withTerminal(slave, inherited);
    const kernel = resaved(kit.kernel, undefined, new Host(given), [], false);
    const task = firstOf(kernel);
    const file = task.files.get(0)!;
    expect(file.read(task, new KernelIo(new Uint8Array(10)), 0)).toBe(0);
    expect(file.write(task, new KernelIo(new Uint8Array(10)), 0)).toBe(-5);
    expect(file.poll(task) & 0x10).toBe(0x10);
    file.release();
    closeFd(master);
    closeFd(slave);
  });
});
