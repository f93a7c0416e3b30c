# run: bash
# needs: gcc make libc6-dev
# make -j with gcc below it, saved while compilers are at work; the program that comes of it must be right.
n=8
for i in $(seq $n); do
  { echo '#include <stdio.h>'; echo '#include <stdlib.h>'; echo '#include <string.h>'
    for j in $(seq 40); do echo "static long f${i}_$j(long x) { long t = 0; for (long k = 0; k < x % 97; k++) t += k * $j + (x ^ k); return t % 1000003; }"; done
    echo "long part$i(long x) { long s = x;"; for j in $(seq 40); do echo "s += f${i}_$j(s);"; done; echo "return s; }"; } > part$i.c
done
{ echo '#include <stdio.h>'; for i in $(seq $n); do echo "long part$i(long);"; done
  echo 'int main(void) { long s = 1;'; for i in $(seq $n); do echo "s = part$i(s);"; done; echo 'printf("%ld\n", s); return 0; }'; } > main.c
{ echo "parts = $(seq -f part%g.o -s ' ' $n)"; echo 'program: main.o $(parts)'; printf '\tgcc -o $@ $^\n'
  echo '%.o: %.c'; printf '\t@gcc -O2 -c -o $@ $<\n'; } > Makefile
echo working
make -s -j3 && ./program && ls *.o | wc -l
