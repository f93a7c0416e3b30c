# run: /usr/bin/python3
# needs: python3
# Threads, locks, conditions, queues, pools, thread-local data, timers, and fork from a threaded program.
import concurrent.futures, os, queue, threading, time

total = 0
lock = threading.Lock()
def add(n):
    global total
    for _ in range(n):
        with lock:
            total += 1
threads = [threading.Thread(target=add, args=(2000,)) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print("total", total)

q = queue.Queue(maxsize=10); out = []
def consume():
    while (item := q.get()) is not None:
        out.append(item * item)
workers = [threading.Thread(target=consume) for _ in range(4)]
[w.start() for w in workers]
for i in range(500): q.put(i)
for _ in workers: q.put(None)
[w.join() for w in workers]
print("queue", sum(out), len(out))

with concurrent.futures.ThreadPoolExecutor(16) as pool:
    print("pool", sum(pool.map(lambda n: n * 2, range(1000))))
with concurrent.futures.ProcessPoolExecutor(2) as pool:
    print("processes", list(pool.map(abs, range(-5, 0))))

event = threading.Event(); seen = []
def waiter(): event.wait(); seen.append(1)
ws = [threading.Thread(target=waiter) for _ in range(10)]
[w.start() for w in ws]; event.set(); [w.join() for w in ws]
print("event", len(seen))
local = threading.local(); results = []
def own(n): local.n = n; time.sleep(0.01); results.append(local.n == n)
ts = [threading.Thread(target=own, args=(i,)) for i in range(20)]
[t.start() for t in ts]; [t.join() for t in ts]
print("local", all(results))
barrier = threading.Barrier(5); order = []
def meet(): barrier.wait(); order.append(1)
ts = [threading.Thread(target=meet) for _ in range(5)]
[t.start() for t in ts]; [t.join() for t in ts]
print("barrier", len(order))
begun = time.monotonic(); timer = threading.Timer(0.05, lambda: seen.append(2)); timer.start(); timer.join()
print("timer", time.monotonic() - begun >= 0.05)
print("timeout", threading.Event().wait(0.02))
stop = threading.Event(); t = threading.Thread(target=stop.wait); t.start()
pid = os.fork()
if pid == 0: os._exit(threading.active_count())
print("forked", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
stop.set(); t.join()
