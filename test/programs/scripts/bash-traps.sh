# run: bash
# ends: 4
# Signals in the shell: traps, EXIT, ERR, DEBUG, wait interrupted, kill -0, group kills, ignored signals in children.
trap 'echo usr1' USR1; kill -USR1 $$; kill -USR1 $BASHPID
trap 'echo term' TERM; kill $$; trap - TERM
trap '' HUP; kill -HUP $$; echo "ignored"
bash -c 'kill -HUP $$; echo "child ignores too"'
trap - HUP; bash -c 'kill -HUP $$; echo never'; echo "child $?"
(trap 'echo sub exit' EXIT; exit 3); echo $?
trap 'echo "err $?"' ERR; false; (exit 5); trap - ERR
sleep 10 & p=$!; kill -0 $p && echo alive; kill $p; wait $p; echo "killed $?"
sleep 10 & p=$!; (sleep 0.1; kill -USR1 $$) & wait $p; s=$?; [ $s -gt 128 ] && echo "wait interrupted $s"; kill -9 $p; wait $p 2>/dev/null; echo "killed $?"
wait
bash -c 'trap "echo got INT; exit 7" INT; kill -INT $$; echo never'; echo $?
bash -c 'kill -SEGV $$'; echo "segv $?"
bash -c 'kill -9 $$'; echo "kill $?"
bash -c 'kill -PIPE $$'; echo "pipe $?"
set -m; (sleep 5; echo no) & kill -- -$!; wait $! ; echo "group $?"; set +m
timeout 0.2 sleep 5; echo "timeout $?"
timeout -s KILL 0.2 sleep 5; echo "timeout $?"
f() { trap 'echo return' RETURN; echo in f; }; f
trap -p USR1
trap 'echo "exit $?"' EXIT
exit 4
