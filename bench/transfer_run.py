"""Runs one program and prints what it cost; a process of its own, because a child begins with its parent's peak RSS.

Usage: python -I -S transfer_run.py LIMIT COMMAND...; the last line of stderr is "status cpu wall rss-KiB".
"""

import os
import select
import signal
import sys
import time

limit, command = float(sys.argv[1]), sys.argv[2:]
begin = time.monotonic()
pid = os.posix_spawnp(command[0], command, os.environ, setpgroup=0)
watch = select.poll()
watch.register(os.pidfd_open(pid), select.POLLIN)
if not watch.poll(limit * 1000):
    os.killpg(pid, signal.SIGKILL)
_, status, used = os.wait4(pid, 0)
wall = time.monotonic() - begin
print(f"\n{os.waitstatus_to_exitcode(status)} {used.ru_utime + used.ru_stime} {wall} {used.ru_maxrss}", file=sys.stderr)
