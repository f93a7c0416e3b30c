# run: busybox sh
# needs: busybox-static
# ends: 9
# A tour through the shell itself: expansion, loops, functions, pipes, here-documents, traps, job waits, redirections.
set -u
echo "args $# home ${HOME:-none}"
i=0; while [ $i -lt 5 ]; do i=$((i + 1)); printf '%d ' $i; done; echo
for w in a "b c" d; do echo "[$w]"; done
f() { local x=$1; echo "f $x"; return 3; }
f one; echo "status $?"
case hello.txt in *.txt) echo text ;; *) echo other ;; esac
x=path/to/file.tar.gz; echo "${x##*/} ${x%.gz} ${x#*/} ${#x}"
echo one two three | while read a b c; do echo "$c $b $a"; done
cat <<END
here ${x}
$(echo nested $(echo deep))
END
cat <<'END' | tr a-z A-Z
quoted $x
END
(echo sub; exit 4); echo "sub $?"
echo to-stderr >&2 2>/dev/null
{ echo out; echo err >&2; } 2>&1 | sort
echo data > file; echo more >> file; wc -l < file
exec 3> third; echo three >&3; exec 3>&-; cat third
sleep 0.1 & wait $!; echo "waited $?"
(sleep 0.05; exit 7) & wait $!; echo "waited $?"
trap 'echo trapped' EXIT
trap 'echo usr1' USR1
kill -USR1 $$
seq 1 10 | grep -v 5 | sed 's/^/n/' | head -3
yes | head -2
ls | sort | tr '\n' ' '; echo
test -f file && echo yes; test -d file || echo no
busybox --list | grep -c .
false || true; echo $?
exit 9
