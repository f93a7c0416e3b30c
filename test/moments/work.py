# Checks its own arithmetic, files and messages, in rounds, until its input says "stop": for tests that save and restore it
# at whatever moment. It prints what is wrong, and in the end that all is well.
import fcntl, hashlib, math, mmap, os, queue, select, signal, socket, struct, sys, tempfile, threading, time, zlib

problems = []
def check(what, got, want):
    if got == want: return
    problems.append(what)
    print(f"{what}: {got!r}, not {want!r}", flush=True)

# Arithmetic: whatever the moment, floating-point and integer results are those of the first time.
def sums():
    x, f, h = 12345, 0.0, 0
    for k in range(1, 400):
        x = (x * 6364136223846793005 + 1442695040888963407) % 2**64
        f += math.sin(k) / (k * k) + math.sqrt(k)
        h = zlib.crc32(struct.pack("<Qd", x, f), h)
    return x, f, h

# Messages: a child that answers each by its number and checksum, over whatever it was sent.
def serve(end):
    last = -1
    while head := end.recv(12, socket.MSG_WAITALL):
        number, length, crc = struct.unpack("<III", head)
        data = end.recv(length, socket.MSG_WAITALL)
        good = zlib.crc32(data) == crc and number == last + 1
        last = number
        end.sendall(struct.pack("<II", number, zlib.crc32(data[::-1])) if good else b"\xff" * 8)
    end.close()
class Child:
    def __init__(self, family, before):
        if family == socket.AF_INET:
            listener = socket.create_server(("127.0.0.1", 0))
            self.end = socket.create_connection(listener.getsockname())
            other, _ = listener.accept()
            listener.close()
        else: self.end, other = socket.socketpair()
        self.sent = 0
        self.pid = os.fork()
        if self.pid == 0:
            for child in [self, *before]: child.end.close()
            serve(other); os._exit(7)
        other.close()
    def ask(self, data):
        self.end.sendall(struct.pack("<III", self.sent, len(data), zlib.crc32(data)) + data)
        answer = self.end.recv(8, socket.MSG_WAITALL)
        check("answer", answer, struct.pack("<II", self.sent, zlib.crc32(data[::-1])))
        self.sent += 1
    def end_it(self):
        self.end.close()
        check("child", os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), 7)

# Files: a record file that two processes append to under a lock, and a page that they share.
def append(fd, page, who):
    fcntl.flock(fd, fcntl.LOCK_EX)
    n, = struct.unpack_from("<Q", page)
    os.lseek(fd, 0, os.SEEK_END)
    os.write(fd, struct.pack("<QQ", n, who))
    struct.pack_into("<Q", page, 0, n + 1)
    fcntl.flock(fd, fcntl.LOCK_UN)
def appender(path, page, go):
    fd = os.open(path, os.O_RDWR)
    while os.read(go, 1): append(fd, page, 2)
    os._exit(8)

def main():
    os.chdir(tempfile.mkdtemp())
    right = sums()
    ticks = []
    signal.signal(signal.SIGALRM, lambda *_: ticks.append(1))
    children = []
    for family in (socket.AF_UNIX, socket.AF_INET): children.append(Child(family, children))
    page = mmap.mmap(-1, 4096)
    records = os.open("records", os.O_RDWR | os.O_CREAT)
    pipe_out, pipe_in = os.pipe()
    other = os.fork()
    if other == 0:
        os.close(pipe_in)
        for child in children: child.end.close()
        appender("records", page, pipe_out)
    os.close(pipe_out)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    jobs, done = queue.Queue(), queue.Queue()
    def work():
        while (job := jobs.get()) is not None: done.put((job, sums()))
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads: thread.start()
    poller = select.epoll()
    poller.register(pipe_in, select.EPOLLOUT)
    round, stop, last = 0, False, 0
    while not stop:
        round += 1
        for n in range(2): jobs.put((round, n))
        os.write(pipe_in, b"x")
        data = os.urandom(round * 977 % 70000 + 1)
        for child in children: child.ask(data)
        append(records, page, 1)
        name = f"file{round % 7}"
        with open(name + ".new", "w+b") as f:
            f.write(data); f.flush(); os.rename(name + ".new", name)
            os.unlink(name) if round % 3 == 0 else None
            f.seek(len(data) // 2); check("file", f.read(), data[len(data) // 2:])
        check("sums", sums(), right)
        for _ in range(2): check("sums of a thread", done.get()[1], right)
        check("epoll", [event for _, event in poller.poll(10)], [select.EPOLLOUT])
        begun = time.monotonic(); time.sleep(0.002); slept = time.monotonic() - begun
        if slept < 0.002: check("sleep", slept, "at least 0.002")
        check("clock", begun >= last, True); last = begun
        if select.select([0], [], [], 0)[0]: stop = os.read(0, 100).startswith(b"stop")
    signal.setitimer(signal.ITIMER_REAL, 0)
    os.close(pipe_in)
    for _ in threads: jobs.put(None)
    for thread in threads: thread.join()
    for child in children: child.end_it()
    check("appender", os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]), 8)
    total, = struct.unpack_from("<Q", page)
    text = os.pread(records, 16 * total + 16, 0)
    entries = list(struct.iter_unpack("<QQ", text))
    check("records", [n for n, _ in entries], list(range(total)))
    check("whose", sorted(who for _, who in entries), [1] * round + [2] * round)
    check("ticks", len(ticks) > 0, True)
    print("all is well" if not problems else "not all is well")
main()
