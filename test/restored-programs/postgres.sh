# run: bash
# needs: postgresql gcc libc6-dev
# PostgreSQL with clients: transfers between accounts, a transaction that is open, one that waits for a lock, a listener.
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
# The sandbox has no System V shared memory, without which it does not start: it wants one small segment, in its own processes.
cat > shm.c <<'END'
#include <errno.h>
#include <sys/mman.h>
#include <sys/shm.h>
static void *segment;
static size_t length;
int shmget(key_t key, size_t size, int flags) { if (segment) { errno = flags & IPC_CREAT ? EEXIST : ENOENT; return -1; } length = size; return 1; }
void *shmat(int id, const void *at, int flags) { if (!segment) segment = mmap(0, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0); return segment; }
int shmdt(const void *at) { return 0; }
int shmctl(int id, int what, struct shmid_ds *buf) { if (what == IPC_RMID) segment = 0; else if (!segment) { errno = EINVAL; return -1; } else if (what == IPC_STAT) buf->shm_nattch = 1; return 0; }
END
gcc -shared -fPIC -o shm.so shm.c; export LD_PRELOAD=$PWD/shm.so
mkdir data run; chown postgres: data run .; as() { exec setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
export PGHOST=$PWD/run PGDATABASE=postgres PGUSER=postgres
(as $bin/initdb -D data -U postgres --auth=trust --no-sync) > init.log 2>&1 || { cat init.log; exit 1; }
as $bin/postgres -D data -k $PGHOST -c listen_addresses= -c fsync=off -c shared_buffers=8MB -c max_connections=20 -c autovacuum_naptime=1s > server.log 2>&1 &
server=$!
for i in $(seq 200); do psql -c 'select 1' > /dev/null 2>&1 && break; sleep 0.1; done
q() { psql -qAtX -v ON_ERROR_STOP=1 "$@"; }
q -c 'create table account(id int primary key, amount int)' -c 'insert into account select n, 100 from generate_series(1, 100) n' -c 'create table note(t text)'
client() {
  n=0
  while test $n -lt 3 || ! test -e stop; do
    for i in $(seq 20); do
      a=$((RANDOM % 100 + 1)); b=$((RANDOM % 100 + 1)); low=$((a < b ? a : b)); high=$((a < b ? b : a))
      echo "begin; update account set amount = amount - 1 where id = $low; update account set amount = amount + 1 where id = $high; commit;"
    done
    echo 'select sum(amount), count(*) from account;'
    n=$((n + 1))
  done | q | sort | uniq -c | awk '{ print $2 }'
}
client > seen1 & clients=$!
client > seen2 & clients="$clients $!"
# One that holds a lock, and one that waits for it.
{ echo "begin; insert into note values('held'); lock table note;"; while ! test -e stop; do sleep 0.1; done; echo 'commit;'; } | q &
clients="$clients $!"
sleep 0.3
q -c "insert into note values('waited')" & clients="$clients $!"
q -c 'select pg_sleep(2)' > /dev/null & clients="$clients $!"
echo working
wait $clients
cat seen1 seen2
q -c 'select sum(amount), count(*) from account' -c 'select t from note order by ctid' 
q -c 'create index on account(amount)' -c 'select count(*) from account where amount > -1000000'
kill -INT $server; wait $server; echo server ended with $?
grep -cE "PANIC|corrupt" server.log
exit 0
