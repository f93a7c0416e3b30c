#!/bin/sh
# `npm start`: a real program in the sandbox, and what shows that our kernel answered it.
set -eu
runts=$1
echo "host:    $(uname -sr)"
"$runts" do -- sh -c '
  echo "sandbox: $(uname -sr)"
  echo "         processes: $(ls /proc | grep -c "^[0-9]"), pid of this shell: $$"
  echo made in the sandbox > /tmp/runts-start-example
  echo "         wrote /tmp/runts-start-example: $(cat /tmp/runts-start-example)"
'
if [ -e /tmp/runts-start-example ]; then echo "host:    sees that file, which it must not"; exit 1; fi
echo "host:    does not see that file: the write stayed in memory"
if command -v python3 > /dev/null; then
  "$runts" do -- python3 -c '
import os, platform, threading
total = []
threads = [threading.Thread(target=lambda n=n: total.append(n)) for n in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
print(f"python:  {platform.python_version()} on {platform.release()}, {len(total)} threads ran, pid {os.getpid()}")'
fi
