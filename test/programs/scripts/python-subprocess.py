# run: /usr/bin/python3
# needs: python3
# subprocess in all its forms, multiprocessing with pipes and shared memory, os.fork, pty, selectors.
import multiprocessing, os, selectors, signal, socket, subprocess, sys
from multiprocessing import shared_memory

print(subprocess.run(["echo", "hello"], capture_output=True, text=True).stdout.strip())
print(subprocess.run("exit 3", shell=True).returncode)
print(subprocess.check_output(["sort"], input=b"b\na\n"))
try: subprocess.run(["sleep", "5"], timeout=0.2)
except subprocess.TimeoutExpired: print("timeout")
try: subprocess.run(["no-such-command-anywhere"])
except FileNotFoundError as e: print(e.errno)
try: subprocess.run(["/etc/passwd"])
except PermissionError as e: print(e.errno)
p = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(len(p.communicate(b"x" * 1000000)[0]), p.returncode)
p1 = subprocess.Popen(["seq", "1000"], stdout=subprocess.PIPE); p2 = subprocess.Popen(["wc", "-l"], stdin=p1.stdout, stdout=subprocess.PIPE)
p1.stdout.close(); print(p2.communicate()[0]); p1.wait()
p = subprocess.Popen(["sleep", "10"]); p.terminate(); print(p.wait()); p = subprocess.Popen(["sleep", "10"]); p.kill(); print(p.wait())
print(subprocess.run(["sh", "-c", "echo $A; pwd"], env={"A": "1", "PATH": os.environ["PATH"]}, cwd="/", capture_output=True).stdout)
print(subprocess.run(["sh", "-c", "kill -SEGV $$"]).returncode)
children = [subprocess.Popen([sys.executable, "-c", f"print({i} ** 2)"], stdout=subprocess.PIPE) for i in range(5)]
print([int(c.communicate()[0]) for c in children])

def work(conn, n): conn.send([n, n * n]); conn.close()
def add(value, n):
    for _ in range(n):
        with value.get_lock(): value.value += 1
if __name__ == "__main__":
    for method in ("fork", "spawn"):
        ctx = multiprocessing.get_context(method)
        a, b = ctx.Pipe(); c = ctx.Process(target=work, args=(b, 7)); c.start(); print(method, a.recv()); c.join()
    v = multiprocessing.Value("i", 0); ps = [multiprocessing.Process(target=add, args=(v, 200)) for _ in range(4)]
    [x.start() for x in ps]; [x.join() for x in ps]; print("shared", v.value)
    with multiprocessing.Pool(3) as pool: print(pool.map(abs, [-3, -2, -1]))
    m = shared_memory.SharedMemory(create=True, size=4096); m.buf[:5] = b"hello"; n = shared_memory.SharedMemory(name=m.name); print(bytes(n.buf[:5])); n.close(); m.close(); m.unlink()
    r, w = os.pipe()
    if os.fork() == 0: os.write(w, b"from child"); os._exit(0)
    print(os.read(r, 100)); os.wait()
    s = selectors.DefaultSelector(); x, y = socket.socketpair(); s.register(x, selectors.EVENT_READ); print(len(s.select(0))); y.send(b"z"); print(len(s.select(1)))
    import pty
    pid, fd = pty.fork()
    if pid == 0: os.execlp("sh", "sh", "-c", "test -t 0 && echo terminal; stty size >/dev/null && echo sized")
    data = b""
    while True:
        try: d = os.read(fd, 100)
        except OSError: break
        if not d: break
        data += d
    print(data, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os.setpgid(0, 0) if os.getpgrp() != os.getpid() and os.getsid(0) != os.getpid() else None
    print(signal.Signals(subprocess.run(["sh", "-c", "kill -TERM $$"]).returncode * -1).name)
