/* Memory that was filled long before it is grown, moved, emptied, wiped by fork and given back: it is the process' own,
 * page by page, whatever has become of the process meanwhile (it may have been saved and restored). */
#include "guest.h"

enum { PAGE = 4096, PAGES = 64 };
static const int rw = PROT_READ | PROT_WRITE, anon = MAP_PRIVATE | MAP_ANONYMOUS;

/* Every other group of three pages is written, so that there are holes of all kinds. */
static bool written(int page) { return page / 3 % 2 == 0 || page > PAGES - 4; }

static char *filled(char seed) {
  char *memory = NEED(mmap(NULL, PAGES * PAGE, rw, anon, -1, 0));
  for (int i = 0; i < PAGES; i++)
    if (written(i)) memset(memory + i * PAGE, seed + i, PAGE);
  return memory;
}

/* How many pages are not as they were filled. */
static int wrong(const char *memory, char seed, int pages) {
  int count = 0;
  for (int i = 0; i < pages; i++) {
    char want = i < PAGES && written(i) ? seed + i : 0;
    for (int at = 0; at < PAGE; at++)
      if (memory[i * PAGE + at] != want) {
        count++;
        break;
      }
  }
  return count;
}

static void in_child(const char *what, const char *memory, char seed) {
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    say("%s in a child: %d pages differ", what, wrong(memory, seed, PAGES));
    fflush(stdout);
    _exit(0);
  }
  waitpid(child, NULL, 0);
}

int main(void) {
  begin();
  char *grown = filled(1), *moved = filled(2), *emptied = filled(3), *wiped = filled(4), *freed = filled(5),
       *closed = filled(6), *shared_later = filled(7);
  NEED(mprotect(closed, PAGES * PAGE, PROT_NONE) == 0 ? closed : MAP_FAILED);
  int file = memfd_create("file", 0);
  NEED(ftruncate(file, 2 * PAGES * PAGE) == 0 ? grown : MAP_FAILED);
  for (int i = 0; i < 2 * PAGES; i++) {
    char page[PAGE];
    memset(page, 100 - i % 50, PAGE);
    pwrite(file, page, PAGE, (off_t)i * PAGE);
  }
  char *private = NEED(mmap(NULL, PAGES * PAGE, rw, MAP_PRIVATE, file, 0));
  for (int i = 0; i < PAGES; i += 2) private[i * PAGE] = i;

  for (int i = 0; i < 60; i++) getppid();

  grown = mremap(grown, PAGES * PAGE, 4 * PAGES * PAGE, MREMAP_MAYMOVE);
  say("grown: %d pages differ", wrong(grown, 1, 4 * PAGES));
  memset(grown + PAGES * PAGE, 'x', PAGE);
  char *again = mremap(grown, 4 * PAGES * PAGE, 8 * PAGES * PAGE, MREMAP_MAYMOVE);
  say("grown again: %d pages differ", wrong(again, 1, PAGES));
  say("%d %d", again[PAGES * PAGE], again[7 * PAGES * PAGE]);

  char *place = NEED(mmap(NULL, PAGES * PAGE, PROT_NONE, anon, -1, 0));
  YES(mremap(moved, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place);
  say("moved: %d pages differ", wrong(place, 2, PAGES));
  in_child("moved", place, 2);

  TRY(madvise(emptied + 10 * PAGE, 20 * PAGE, MADV_DONTNEED));
  int sum = 0;
  for (int i = 10 * PAGE; i < 30 * PAGE; i++) sum += emptied[i];
  say("emptied: %d, and %d pages differ before, %d behind", sum, wrong(emptied, 3, 10),
      wrong(emptied, 3, PAGES) > 20);
  emptied[12 * PAGE] = 'e';
  TRY(madvise(emptied, PAGES * PAGE, MADV_DONTNEED));
  say("%d %d %d", emptied[0], emptied[12 * PAGE], emptied[(PAGES - 1) * PAGE]);

  TRY(madvise(wiped, PAGES * PAGE, MADV_WIPEONFORK));
  say("wiped: %d pages differ", wrong(wiped, 4, PAGES));
  in_child("wiped", wiped, 4);
  TRY(madvise(wiped, PAGES * PAGE, MADV_KEEPONFORK));
  in_child("kept", wiped, 4);

  TRY(madvise(freed, PAGES * PAGE, MADV_FREE));
  freed[0] = 'f';
  say("freed: %c", freed[0]);

  NEED(mprotect(closed, PAGES * PAGE, PROT_READ) == 0 ? closed : MAP_FAILED);
  say("closed: %d pages differ", wrong(closed, 6, PAGES));

  private = mremap(private, PAGES * PAGE, 2 * PAGES * PAGE, MREMAP_MAYMOVE);
  for (int i = 0; i < 2 * PAGES; i += 13) say("private %d: %d %d", i, private[i * PAGE], private[i * PAGE + 1]);
  TRY(madvise(private, 2 * PAGES * PAGE, MADV_DONTNEED));
  for (int i = 0; i < 2 * PAGES; i += 13) say("private %d: %d %d", i, private[i * PAGE], private[i * PAGE + 1]);

  TRY(munmap(shared_later + 5 * PAGE, PAGE));
  YES(mmap(shared_later + 5 * PAGE, PAGE, rw, anon | MAP_FIXED, -1, 0) == shared_later + 5 * PAGE);
  say("mapped over: %d", shared_later[5 * PAGE]);
  return 0;
}
