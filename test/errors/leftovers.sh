#!/bin/sh
# Runs a command in process, mount and temporary-file surroundings of its own and reports what it leaves behind.
#
#   unshare --pid --fork --mount-proc --kill-child sh leftovers.sh REPORT COMMAND…
#
# In its own pid namespace everything that the command started is visible and nothing else. /run and /var/tmp are empty
# memory and /tmp is the host's under a layer of memory, so that what lies in them afterwards is the command's. The
# report is one line per thing left.
report=$1
shift
mount -t tmpfs -o size=64m tmpfs /run || exit 125
mount -t tmpfs -o size=1g tmpfs /var/tmp || exit 125
mkdir -p /run/layer && mount -t tmpfs -o size=1g tmpfs /run/layer && mkdir /run/layer/upper /run/layer/work && chmod 1777 /run/layer/upper &&
  mount -t overlay -o lowerdir=/tmp,upperdir=/run/layer/upper,workdir=/run/layer/work overlay /tmp || exit 125
mounts() { awk '{ print $5 }' /proc/self/mountinfo | sort; }
files() { { find /run/layer/upper /var/tmp -mindepth 1; find /run -mindepth 1 -xdev; } | sort; }
before_mounts=$(mounts)
files > /run/layer/before
"$@"
status=$?
# A moment for what is being torn down; most of the time none is needed.
for wait in 0.05 0.1 0.3 0.6 1; do
  left=$(for p in /proc/[0-9]*; do
    pid=${p#/proc/}
    [ "$pid" = 1 ] || [ "$pid" = $$ ] && continue
    # Processes of this loop itself are our children's children; they have our own command line.
    [ "$(cat $p/cmdline 2>/dev/null | tr '\0' ' ' | cut -d' ' -f2)" = "$0" ] && continue
    state=$(sed -n 's/^State:[[:space:]]*//p' $p/status 2>/dev/null)
    [ -n "$state" ] && echo "process $pid $(cat $p/comm 2>/dev/null) ($state) $(cat $p/cmdline 2>/dev/null | tr '\0' ' ' | cut -c1-100)"
  done)
  [ -z "$left" ] && break
  sleep $wait
done
[ -n "$left" ] && echo "$left" >> "$report"
[ "$(mounts)" = "$before_mounts" ] || echo "mounts changed" >> "$report"
files | comm -13 /run/layer/before - | sed 's/^/file /' | head -20 >> "$report"
exit $status
