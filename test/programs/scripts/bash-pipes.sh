# run: bash
# Pipes, process substitution, here-strings, coprocesses, PIPESTATUS, big data through many processes.
set -o pipefail
seq 1 100000 | tail -n +50000 | head -n 10 | awk '{ s += $1 } END { print s }'
true | false | true; echo "${PIPESTATUS[*]} $?"
diff <(seq 1 5) <(seq 2 6); echo "diff $?"
cat <<< "here string"
paste <(seq 3) <(seq 4 6) | tr '\t' -
seq 1 300000 | tee >(md5sum > sum) | wc -l; sleep 0.2; cat sum
coproc up { while read -r line; do echo "${line^^}"; done; }
echo hello >&"${up[1]}"; read -r answer <&"${up[0]}"; echo "$answer"
eval "exec ${up[1]}>&-"; wait; echo "coproc $?"
yes abcdefghijklmnop | head -c 10000000 | tr a-p A-P | md5sum
for i in {1..20}; do echo $i; done | xargs -P4 -I{} sh -c 'echo $(({} * {}))' | sort -n | tail -3
exec 4<> fifo-file; echo through >&4; exec 4>&-; cat fifo-file
mkfifo p; (seq 5 > p) & sum=0; while read -r n; do sum=$((sum + n)); done < p; echo $sum; wait
head -c 100000 /dev/zero | od -An -c | head -2
echo "a:b:c" | IFS=: read -r x y z; echo "[${x:-}]"
shopt -s lastpipe; echo "a:b:c" | { IFS=: read -r x y z; echo "$y"; }
{ echo 1; echo 2 >&2; } 2>&1 >/dev/null | cat
seq 1 1000000 | head -1; echo "status ${PIPESTATUS[0]}"
