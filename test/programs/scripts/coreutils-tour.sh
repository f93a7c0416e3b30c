# run: bash
# ends: 1
# One after the other, what scripts use from coreutils.
printf 'b 2\na 10\nc 1\n' > t
sort t; sort -k2n t; sort -R t | wc -l; tac t; nl t; cut -d' ' -f2 t; tr ' ' _ < t; rev t 2>/dev/null; uniq -c <(printf 'a\na\nb\n')
join <(sort t) <(echo 'a x'); comm <(seq 3) <(seq 2 4); split -l1 t part-; ls part-*; cat part-*; csplit -s t 2; wc -l xx00 xx01
shuf -i 1-5 | sort; fold -w3 <<< abcdefg; expand <<< $'a\tb'; fmt -w 10 <<< "some words to be wrapped"; pr -t -2 <<< $'1\n2'
head -c3 t; tail -n1 t; tail -c +5 t | head -1; od -c t | head -2; base64 <<< hello; cksum < t; md5sum t; sha1sum t; sum t
ln t hard; ln -s t soft; stat -c '%h %s %F' t soft; readlink soft; realpath soft | sed 's/.*\///'; touch -d @1000000 t; stat -c %Y t; stat -c %A t
mkdir -m 750 dir; stat -c %a dir; install -m 640 t dir/t2; stat -c %a dir/t2; mktemp -u | wc -c; truncate -s 1M big; stat -c '%s' big; du --apparent-size -k big
cp --sparse=always big sparse; cmp big sparse && echo same; dd if=big of=dd bs=64k count=3 2>&1 | head -2; rm dd
chmod u+x,g-w t; stat -c %a t; chown 12:34 t; stat -c %u:%g t; id -u; id -un; groups | wc -w; whoami; logname 2>/dev/null | wc -l
expr 3 + 4; test 3 -lt 4 && echo yes; [ -s t ] && echo nonempty; factor 360; seq -s, 5; numfmt --to=iec 1048576; printf '%05.1f|%x|%s\n' 3.14159 255 str
env -i X=1 env; env X=1 sh -c 'echo $X'; nice -n 5 nice; nohup true 2>/dev/null; timeout 5 true; echo $?; sleep 0.05; date -u -d @86400 +%F; uname -s; nproc | grep -c .; arch
tee a b < t | wc -l; cat a b | wc -l; paste a b; yes x | head -3 | tr -d '\n'; echo; basename /a/b; dirname /a/b; pathchk ok && echo pathok; tty; stty size 2>&1 | head -1
df . | wc -l; sync; unlink hard; shred -u soft 2>/dev/null; rmdir dir 2>/dev/null || echo "not empty"; rm -r dir; link t l2; ls -i t l2 | awk '{ print $1 }' | uniq | wc -l
ls -la --time-style=+ | awk 'NR > 3 { print $1, $2, $3, $4, $6 }' | head -5; ls nonexistent 2>&1; cat nonexistent; echo "status $?"; mkdir t 2>&1; cp t t 2>&1; mv nothing x 2>&1; rm nothing 2>&1
