# run: bash
# needs: redis-server redis-tools
# redis-server with clients: counters, lists, a subscriber, a blocked client, transactions, an append-only file.
redis-server --port 0 --unixsocket ./s --tcp-backlog 16 --bind 127.0.0.1 --appendonly yes --save '' --daemonize no > server.log 2>&1 &
server=$!
for i in $(seq 100); do redis-cli -s ./s ping > /dev/null 2>&1 && break; sleep 0.1; done
r() { redis-cli -s ./s "$@"; }
r subscribe news > heard 2> /dev/null &
subscriber=$!
r blpop last 1000 > popped &
blocked=$!
client() { for i in $(seq 200); do echo "incr counter"; echo "rpush list:$1 $i"; echo "multi"; echo "incr a"; echo "incr b"; echo "exec"; done | redis-cli -s ./s > /dev/null; }
for c in 1 2 3; do
  { n=0; while test $n -lt 3 || ! test -e stop; do client $c; n=$((n + 1)); done; echo $n > rounds$c; } &
  clients="$clients $!"
done
sleep 0.2
echo working
wait $clients
rounds=$(($(cat rounds1) + $(cat rounds2) + $(cat rounds3)))
test $(r get counter) = $((rounds * 200)) && echo counter is right
test $(r get a) = $(r get b) && test $(r get a) = $((rounds * 200)) && echo transactions are right
for c in 1 2 3; do test "$(r lrange list:$c -200 -1 | md5sum)" = "$(seq 200 | md5sum)" && test $(r llen list:$c) = $((200 * $(cat rounds$c))) && echo list $c is right; done
r publish news hello > /dev/null; r rpush last pushed > /dev/null
wait $blocked; cat popped
sleep 0.3; kill $subscriber; grep -c hello heard
r shutdown > /dev/null 2>&1; wait $server; echo server ended with $?
redis-server --port 0 --unixsocket ./s --appendonly yes --save '' > server2.log 2>&1 & server=$!
for i in $(seq 100); do redis-cli -s ./s ping 2> /dev/null | grep -q PONG && break; sleep 0.1; done
test "$(r get counter)" = $((rounds * 200)) && echo the append-only file is right
r shutdown > /dev/null 2>&1; wait $server
