#!/bin/sh
# Runs a command in process, mount and temporary-file surroundings of its own and reports what it leaves behind.
#
#   unshare --pid --fork --mount-proc --kill-child sh leftovers.sh REPORT COMMAND…
#
# In its own pid namespace everything that the command started is visible and nothing else; /tmp, /var/tmp and /run are
# empty memory, so that whatever lies there afterwards is the command's. The report is one line per thing left.
report=$1
shift
mount -t tmpfs -o size=1g tmpfs /var/tmp 2>/dev/null
mount -t tmpfs -o size=64m tmpfs /run 2>/dev/null
mount -t tmpfs -o size=1g tmpfs /tmp || exit 125
mounts() { awk '{ print $5 }' /proc/self/mountinfo | sort; }
before=$(mounts)
"$@"
status=$?
# A moment for what is being torn down; most of the time none is needed.
for wait in 0.05 0.1 0.3 0.6 1; do
  left=$(for p in /proc/[0-9]*; do
    pid=${p#/proc/}
    [ "$pid" = 1 ] || [ "$pid" = $$ ] && continue
    # Processes of this loop itself are our children's children; they have our own command line.
    [ "$(tr '\0' ' ' < $p/cmdline 2>/dev/null | cut -d' ' -f2)" = "$0" ] && continue
    state=$(sed -n 's/^State:[[:space:]]*//p' $p/status 2>/dev/null)
    [ -n "$state" ] && echo "process $pid $(cat $p/comm 2>/dev/null) ($state) $(tr '\0' ' ' < $p/cmdline 2>/dev/null | cut -c1-100)"
  done)
  [ -z "$left" ] && break
  sleep $wait
done
[ -n "$left" ] && echo "$left" >> "$report"
[ "$(mounts)" = "$before" ] || echo "mounts changed" >> "$report"
find /tmp /var/tmp /run -mindepth 1 2>/dev/null | sed 's/^/file /' | head -20 >> "$report"
exit $status
