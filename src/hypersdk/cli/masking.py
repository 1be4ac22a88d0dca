"""Takes secrets out of the command line that other users of this machine can read (`ps`), as curl does with passwords.

They have been read by then; only the kernel's copy is overwritten. Linux alone shows where that copy lies (proc(5)).
"""

from __future__ import annotations

import re
from pathlib import Path

_SECRETS = re.compile(
    rb"(?P<before>"
    rb"/p/(?=[^/\0]+/n/)"  # the token of a pre-authenticated request
    rb"|https?://[^\0?]*\?"  # the query of a presigned address
    rb"|://[^/\0@:]*:(?=[^/\0]*@)"  # the password of a proxy
    rb")(?P<secret>(?<=/p/)[^/\0]+|(?<=\?)[^\0]+|(?<=:)[^/\0]+(?=@))"
)
_ARG_START, _ARG_END = 47, 48
"""Fields of /proc/self/stat, counted from 0 (proc(5): "arg_start" and "arg_end", counted from 1: 48 and 49)."""


def masked(line: bytes) -> bytes:
    """Arguments with a NUL behind each, their secrets replaced by as many stars. Pure."""
    return _SECRETS.sub(lambda found: found["before"] + b"*" * len(found["secret"]), line)


def mask_command_line() -> None:
    """Overwrite the secrets in this process's command line; where that is impossible nothing happens."""
    try:
        # The second field is a name in parentheses, which may hold anything.
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        start, end = (int(fields[number - 2]) for number in (_ARG_START, _ARG_END))
        with Path("/proc/self/mem").open("r+b", buffering=0) as memory:
            memory.seek(start)
            line = memory.read(end - start)
            if (hidden := masked(line)) != line:
                memory.seek(start)
                memory.write(hidden)
    except (OSError, ValueError, IndexError, OverflowError):
        return
