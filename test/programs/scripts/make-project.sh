# run: bash
# needs: gcc make libc6-dev
# timeout: 240
# A project of 20 files built with make -j4: the job server's pipe, many short processes at once, then a second build.
mkdir src; for i in $(seq 1 20); do
  printf '#include <stdio.h>\n#include <string.h>\n#include <stdlib.h>\nint f%d(int n) { char b[64]; snprintf(b, sizeof b, "%%d", n + %d); return atoi(b) + (int)strlen(b); }\n' $i $i > src/f$i.c
done
{ for i in $(seq 1 20); do echo "int f$i(int);"; done; echo '#include <stdio.h>'; echo 'int main(void) { int s = 0;'; for i in $(seq 1 20); do echo "s += f$i($i);"; done; echo 'printf("%d\n", s); return 0; }'; } > src/main.c
cat > Makefile <<'END'
OBJS := $(patsubst src/%.c,obj/%.o,$(wildcard src/*.c))
prog: $(OBJS)
	@gcc -o $@ $^
	@echo linked $(words $^) objects
obj/%.o: src/%.c | obj
	@gcc -O1 -MMD -c -o $@ $<
obj:
	@mkdir -p obj
clean:
	rm -rf obj prog
.PHONY: clean
-include $(OBJS:.o=.d)
END
make -j4; ./prog; make; touch src/f7.c; make -j4; ls obj/*.o | wc -l; make -n clean; make no-such-target; echo "status $?"; make clean; ls
