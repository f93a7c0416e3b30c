# run: bash
# Subshells and what they inherit: variables, traps, descriptors, directories, options, exit statuses.
x=1; (x=2; echo "inner $x"); echo "outer $x"
y=$(x=5; echo $x; exit 6); echo "$y $?"
(cd /; pwd); [[ $PWD == /tmp/* ]] && echo unchanged
f() { echo "f $BASH_SUBSHELL"; }; f; (f; (f))
set -e; (set +e; false; echo survived); (false; echo never) || echo "caught $?"; set +e
for i in 1 2 3; do (exit $i); echo -n "$? "; done; echo
a=(1 2 3); (a+=(4); echo "${#a[@]}"); echo "${#a[@]}"
declare -A m=([one]=1 [two]=2); for k in $(printf '%s\n' "${!m[@]}" | sort); do echo "$k=${m[$k]}"; done
( ( ( ( ( echo deep $BASH_SUBSHELL ) ) ) ) )
echo $(echo $(echo $(echo nested)))
n=0; for i in $(seq 50); do n=$((n + $(echo 1))); done; echo $n
[ "$(echo $BASHPID)" != "$BASHPID" ] && echo "own pid"
(exec echo replaced; echo never)
export E=1; env | grep ^E=; (unset E; env | grep -c ^E=); E=2 bash -c 'echo $E'
(ulimit -n 50; ulimit -n); (umask 077; umask); umask
wait; jobs; echo "end $?"
