"""Processes of their own that drive runs of a store: they hold leases, race for them, are killed or suspended."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from hypersdk import errors
from hypersdk.runs.store import RunStore
from hypersdk.waiting import StopFlag, Waiter

SECONDS = 30.0
LOST = 77
"""Exit code of a driver that was replaced."""


class Child:
    """A forked process that runs a function with two ends of pipes: `say` writes a line to us, `hear` waits for one."""

    def __init__(self, function: Callable[[Child], int]) -> None:
        here, there = os.pipe(), os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        self._in, self._out = (here[0], there[1]) if self.pid else (there[0], here[1])
        for end in (here[1], there[0]) if self.pid else (here[0], there[1]):
            os.close(end)
        self._status: int | None = None
        if not self.pid:
            self._run(function)

    def _run(self, function: Callable[[Child], int]) -> None:
        code = 70
        try:
            code = function(self)
        except errors.LeaseLost:
            code = LOST
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)

    def say(self, word: str) -> None:
        """Tell the other side a word."""
        os.write(self._out, f"{word}\n".encode())

    def hear(self) -> str:
        """Wait for a word; empty = the other side is gone."""
        word = b""
        while not word.endswith(b"\n"):
            ready, _, _ = select.select([self._in], [], [], SECONDS)
            assert ready, "the other side said nothing"
            read = os.read(self._in, 1)
            if not read:
                return ""
            word += read
        return word.decode().strip()

    def heard(self) -> bool:
        """Whether the other side said something, or is gone."""
        return bool(select.select([self._in], [], [], 0)[0])

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Its exit code; negative = the signal that ended it."""
        end = time.monotonic() + SECONDS
        while self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
            assert time.monotonic() < end, "it did not end"
            time.sleep(0.002)
        return self._status

    def kill(self) -> None:
        """End it, whatever it does, and bury it."""
        if self._status is None:
            self.signal(signal.SIGKILL)
            self.wait()

    def close(self) -> None:
        """Leave nothing of it."""
        self.kill()
        os.close(self._in)
        os.close(self._out)


Open = Callable[[], RunStore]


def hold(open_store: Open, run_id: str, *, waiter: Waiter | None = None) -> Child:
    """A process that drives a run until it is told to leave; it says "drives", and "left" at the end."""

    def drive(me: Child) -> int:
        store = open_store().patient(waiter or Waiter(StopFlag()))
        with store.drive(run_id) as drive:
            me.say("drives")
            while not me.heard():
                drive.beat()
                time.sleep(0.01)
            if me.hear() == "write":
                drive.start_step("late")
                drive.check()
        me.say("left")
        return 0

    return Child(drive)


def race(functions: Sequence[Callable[[], Any]]) -> list[str]:
    """Call each function in a process of its own, all at the same time; what each answered."""

    def run(function: Callable[[], Any]) -> Callable[[Child], int]:
        def inside(me: Child) -> int:
            me.say("ready")
            me.hear()
            me.say(str(function()))
            me.hear()  # it lives until all have answered, and its leases with it
            return 0

        return inside

    children = [Child(run(function)) for function in functions]
    try:
        for child in children:
            assert child.hear() == "ready"
        for child in children:
            child.say("go")
        return [child.hear() for child in children]
    finally:
        for child in children:
            child.close()
