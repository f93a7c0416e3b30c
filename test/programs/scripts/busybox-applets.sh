# run: busybox sh
# needs: busybox-static
# Many applets in a row, each a fresh process of the same static binary.
mkdir -p tree/a/b; echo hello > tree/a/one; echo world > tree/a/b/two; ln -s one tree/a/link
busybox find tree | busybox sort
busybox tar cf t.tar tree && busybox tar tf t.tar | busybox sort
busybox gzip -c t.tar | busybox gunzip -c | busybox cmp - t.tar && echo same
busybox md5sum tree/a/one tree/a/b/two
busybox sha256sum tree/a/one
busybox awk 'BEGIN { for (i = 1; i <= 5; i++) s += i; print s }'
busybox seq 20 | busybox awk '{ s += $1 } END { print s, NR }'
busybox printf '%s\n' b a c | busybox sort -r | busybox paste -s -d,
busybox dd if=/dev/zero of=z bs=1024 count=64 2>/dev/null; busybox stat -c '%s' z
busybox cp -a tree copy; busybox diff -r tree copy && echo identical
busybox xargs -n2 echo <<END
1 2 3 4 5
END
busybox cut -d: -f1 /etc/passwd | busybox head -1
busybox env -i A=1 busybox env
busybox readlink -f tree/a/link | busybox sed 's/.*programs-[^/]*//'
busybox mv copy moved; busybox rm -r moved; busybox ls
busybox timeout 1 busybox sleep 5; echo "timeout $?"
busybox nohup busybox true; echo $?
busybox od -An -tx1 tree/a/one
busybox wc tree/a/one; busybox expr 6 \* 7; busybox basename /x/y.c .c; busybox dirname /x/y.c
busybox date -u -d @0 '+%Y-%m-%d %H:%M:%S'; busybox id -u; busybox uname -s
