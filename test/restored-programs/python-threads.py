# run: /usr/bin/python3
# needs: python3
# Threads with locks, a queue, a condition and a barrier; sockets and pipes between them; each round checks itself.
import hashlib, os, queue, socket, threading, time

problems = []
def check(what, got, want):
    if got != want: problems.append(f"{what}: {got!r}, not {want!r}")

stopped = threading.Event()
lock, total, added = threading.Lock(), [0], [0] * 4
def add(n):
    while not stopped.is_set():
        for _ in range(500):
            with lock: total[0] += 1
            added[n] += 1

jobs, done = queue.Queue(8), queue.Queue()
def hasher():
    while (job := jobs.get()) is not None:
        done.put((job[0], hashlib.sha256(job[1]).hexdigest()))

left, right = socket.socketpair()
def echo():
    while data := right.recv(65536): right.sendall(data)
    right.close()

meeting, met = threading.Barrier(3), [0, 0, 0]
def meet(n):
    try:
        while True:
            meeting.wait(); met[n] += 1
            meeting.wait()
    except threading.BrokenBarrierError: pass

ticks = []
def tick():
    while not stopped.wait(0.01): ticks.append(time.monotonic())

others = [threading.Thread(target=t, args=a) for t, a in
          [(add, (n,)) for n in range(4)] + [(hasher, ()), (hasher, ()), (echo, ()), (tick, ())] + [(meet, (n,)) for n in range(2)]]
for t in others: t.start()
round = 0
while round < 10 or not os.path.exists("stop"):
    round += 1
    blocks = {n: bytes([round & 255, n]) * 5000 * n for n in range(1, 12)}
    for item in blocks.items(): jobs.put(item)
    for _ in blocks:
        n, digest = done.get()
        check("hash", digest, hashlib.sha256(blocks[n]).hexdigest())
    message = os.urandom(50000); left.sendall(message); got = b""
    while len(got) < len(message): got += left.recv(65536)
    check("echo", got, message)
    meeting.wait(); met[2] += 1; meeting.wait()
    with open(f"file{round % 5}", "w+b") as f:
        f.write(message); f.seek(100); check("file", f.read(), message[100:])
    if round == 3: print("working", flush=True)
stopped.set(); meeting.abort(); left.close()
for _ in range(2): jobs.put(None)
for t in others: t.join()
check("total", total[0], sum(added))
check("met", [m == round for m in met[2:]], [True])
check("clock", ticks == sorted(ticks), True)
print("\n".join(problems) or "all is well")
