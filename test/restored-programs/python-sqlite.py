# run: /usr/bin/python3
# needs: python3
# A long transaction in sqlite with a write-ahead log, readers that must not see it, writers that wait for its lock.
import os, sqlite3, threading, time

problems = []
def check(what, got, want):
    if got != want: problems.append(f"{what}: {got!r}, not {want!r}")
def connect():
    one = sqlite3.connect("bank.db", timeout=60, isolation_level=None)
    one.execute("pragma synchronous=off")
    return one

db = connect()
db.execute("pragma journal_mode=wal")
db.execute("create table account(id integer primary key, amount integer)")
db.executemany("insert into account values(?, 100)", [(n,) for n in range(200)])
db.execute("create table log(writer text, round integer)")
stopped = threading.Event()
def read():
    own = connect()
    while not stopped.is_set():
        check("sum seen", own.execute("select sum(amount), count(*) from account").fetchone(), (20000, 200))
    own.close()
def write(name, rounds):
    own = connect()
    while not stopped.is_set():
        own.execute("begin immediate"); own.execute("insert into log values(?, ?)", (name, rounds[0])); own.execute("commit")
        rounds[0] += 1
        time.sleep(0.005)
    own.close()
counts = [[0], [0]]
threads = [threading.Thread(target=read), threading.Thread(target=write, args=("a", counts[0])), threading.Thread(target=write, args=("b", counts[1]))]
pid = os.fork()
if pid == 0:
    child = connect(); n = 0
    while not os.path.exists("stop") or n < 5:
        child.execute("begin immediate"); child.execute("insert into log values('child', ?)", (n,)); child.execute("commit"); n += 1; time.sleep(0.005)
    child.close(); os._exit(0)
for t in threads: t.start()
round = 0
while round < 6 or not os.path.exists("stop"):
    db.execute("begin immediate")
    for n in range(200):
        db.execute("update account set amount = amount - ? where id = ?", (n % 7, n))
        db.execute("update account set amount = amount + ? where id = ?", (n % 7, 199 - n))
    if round == 2: print("working", flush=True)
    check("sum", db.execute("select sum(amount) from account").fetchone(), (20000,))
    db.execute("rollback" if round % 3 == 2 else "commit")
    round += 1
stopped.set()
for t in threads: t.join()
check("child", os.waitpid(pid, 0)[1], 0)
for name, count in (("a", counts[0]), ("b", counts[1])):
    check("log of " + name, [r for r, in db.execute("select round from log where writer = ? order by rowid", (name,))], list(range(count[0])))
check("integrity", db.execute("pragma integrity_check").fetchone(), ("ok",))
db.close()
print("\n".join(problems) or "all is well")
