# run: /usr/bin/python3
# needs: python3
# sqlite3 through Python: files, journals, WAL, locks between processes, many transactions.
import os, sqlite3

db = sqlite3.connect("t.db")
print(db.execute("pragma journal_mode").fetchone())
db.execute("create table t(id integer primary key, name text, v real)")
with db: db.executemany("insert into t(name, v) values(?, ?)", ((f"n{i}", i / 3) for i in range(20000)))
print(db.execute("select count(*), sum(v) from t").fetchone())
db.execute("create index ix on t(name)")
print(db.execute("select id from t where name = 'n777'").fetchone())
for i in range(30):
    with db: db.execute("update t set v = v + 1 where id = ?", (i,))
print(db.execute("select round(sum(v), 3) from t").fetchone())
try:
    with db: db.execute("insert into t(id) values(1)")
except sqlite3.IntegrityError as e: print(e)
print(db.execute("pragma journal_mode=wal").fetchone())
pids = []
for n in range(3):
    pid = os.fork()
    if pid == 0:
        c = sqlite3.connect("t.db", timeout=20)
        for i in range(20):
            with c: c.execute("insert into t(name, v) values(?, ?)", (f"child{n}", i))
        c.close(); os._exit(0)
    pids.append(pid)
print([os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) for p in pids])
print(db.execute("select name, count(*) from t where name like 'child%' group by name").fetchall())
a = sqlite3.connect("t.db", timeout=0.1, isolation_level=None); b = sqlite3.connect("t.db", timeout=0.1, isolation_level=None)
a.execute("begin immediate")
try: b.execute("begin immediate")
except sqlite3.OperationalError as e: print(e)
a.execute("commit"); a.close(); b.close()
db.execute("vacuum"); print(db.execute("pragma integrity_check").fetchone()); db.close()
print(sorted(os.listdir(".")))
