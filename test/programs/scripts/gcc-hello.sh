# run: bash
# needs: gcc libc6-dev
# timeout: 240
# Compile and run: the preprocessor, compiler, assembler and linker as the guest's processes.
cat > hello.c <<'END'
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) { printf("hello %d %s\n", argc, argc > 1 ? argv[1] : ""); return argc; }
END
gcc -Wall -O2 -o hello hello.c && ./hello world; echo "status $?"
gcc -static -o hello-static hello.c && ./hello-static; echo "status $?"
gcc -S -o - hello.c | grep -c 'main:'; gcc -E hello.c | wc -l | awk '{ print $1 > 100 }'
echo 'int main(){ return x; }' > bad.c; gcc bad.c 2>&1 | grep -c error; gcc -c hello.c; ar rcs lib.a hello.o; nm lib.a | grep -c main
cat > lib.c <<'END'
int twice(int n) { return 2 * n; }
END
cat > use.c <<'END'
#include <stdio.h>
int twice(int);
int main(void) { printf("%d\n", twice(21)); }
END
gcc -shared -fPIC -o libtwice.so lib.c && gcc -o use use.c -L. -ltwice -Wl,-rpath,'$ORIGIN' && ./use; ldd use | grep -c libtwice; strip use; ./use; file use 2>/dev/null | grep -c ELF; size hello | wc -l; objdump -d hello | grep -c '<main>:'
