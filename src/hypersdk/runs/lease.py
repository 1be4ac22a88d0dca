"""One process drives a run (design rule 11): the lock of a file is the lease, in a database a row that is kept fresh.

Rules of this file: a lease lives as long as its process does, however long one call takes, so the row is kept fresh by
a thread of its own; a store that cannot be reached loses no lease: a late owner that nobody replaced goes on; whoever
took over has another epoch, which the thread notices at its next beat.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hypersdk import errors
from hypersdk.runs.backend import unusable

LEASE_SECONDS = 30.0
"""How long a lease in a database holds without a beat: a dead worker's runs go on within a minute, in all."""

BEAT_EVERY = 2.0
"""Seconds between two beats; also how soon `runs cancel` is heard."""

_ENDING = 1.0
"""Seconds that a beat which is on its way may take when everything is closed."""


class RunLock:
    """The exclusive lock of one run; the kernel drops it when its process dies.

    Args:
        path: the lock's file; it stays, empty, when the lock is released.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Try to take it; False if another process holds it.

        Raises:
            ConfigError: the file system cannot lock.
        """
        import fcntl  # only here: commands without runs also work where there is no fcntl

        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unusable(self._path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError as error:
            os.close(descriptor)
            raise unusable(self._path, f"its file system cannot lock files: {error.strerror}") from error
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give it back; harmless if it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


@dataclass(eq=False)
class KeptLease:
    """A lease in a database, as the thread that keeps it fresh and the one that drives the run share it.

    Attributes:
        run_id: the run.
        epoch: under which it is ours.
        leave: gives it back.
        progress: how far the run is, written with the next beat.
        cancel: whether somebody asked to cancel the run, when the store was last heard.
        lost_to: who drives the run now instead of us.
    """

    run_id: str
    epoch: int
    leave: Callable[[KeptLease], None]
    progress: Mapping[str, Any] | None = None
    cancel: bool = False
    lost_to: str | None = None

    def beat(self, progress: Mapping[str, Any] | None) -> bool:
        """See `Lease`."""
        self.progress = progress
        if self.lost_to is not None:
            raise lost(self.run_id, self.lost_to)
        return self.cancel

    def release(self) -> None:
        """See `Lease`."""
        self.leave(self)


class Keeper:
    """A thread that keeps leases fresh while there are any.

    Args:
        beat: writes one beat for all of them, and notes what it learned; its errors mean that the store cannot be
            reached, and are no concern of ours: whoever writes next notices too.
        every: seconds between two beats.

    Attributes:
        trouble: why the last beat did not arrive; None = it did.
    """

    def __init__(self, beat: Callable[[Sequence[KeptLease]], None], every: float = BEAT_EVERY) -> None:
        self._beat = beat
        self._every = every
        self._kept: tuple[KeptLease, ...] = ()
        self._change = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._ending: threading.Thread | None = None
        self._asked: float | None = None
        self.trouble: errors.StoreUnreachable | None = None

    def add(self, lease: KeptLease) -> None:
        """Keep a lease fresh from now on."""
        with self._change:
            self._kept = (*self._kept, lease)
            if self._thread is None:
                self._wake = threading.Event()
                self._thread = threading.Thread(target=self._run, args=(self._wake,), name="leases", daemon=True)
                self._thread.start()

    def remove(self, lease: KeptLease) -> None:
        """Let go of a lease; the thread ends with the last one."""
        with self._change:
            self._kept = tuple(each for each in self._kept if each is not lease)
            if self._kept or self._thread is None:
                return
            self._wake.set()
            self._ending, self._thread = self._thread, None

    def close(self) -> None:
        """Wait a moment for the thread that has nothing left to do, so that its connection can be closed."""
        if self._ending is not None:
            self._ending.join(_ENDING)

    def silent_for(self) -> float:
        """Seconds since a beat was sent that has no answer yet; 0 = none is on its way."""
        asked = self._asked
        return 0.0 if asked is None else time.monotonic() - asked

    def _run(self, wake: threading.Event) -> None:
        while not wake.wait(self._every):
            kept = [each for each in self._kept if each.lost_to is None]
            if kept:
                self._asked = time.monotonic()
                self.trouble = self._beat_once(kept)
                self._asked = None
        self.trouble = None

    def _beat_once(self, kept: Sequence[KeptLease]) -> errors.StoreUnreachable | None:
        try:
            self._beat(kept)
        except errors.StoreUnreachable as trouble:
            return trouble
        except Exception as fault:  # noqa: BLE001 - whatever it is, a beat that failed must not be the last one
            return errors.StoreUnreachable(f"a beat failed: {fault}")
        return None


def lost(run_id: str, owner: str) -> errors.LeaseLost:
    """The error of a process that another one replaced."""
    return errors.LeaseLost(f"run {run_id} is driven by {owner} now", resource=run_id)


def this_process(nonce: str) -> str:
    """What tells this process, and this lease of it, from every other one on any machine."""
    number = os.getpid()
    return "/".join((_machine(), str(number), _start_of(number) or "", nonce))


def surely_dead(process: str) -> bool:
    """Whether a process, from `this_process`, ran on this machine and is gone; False = it may live.

    Only the kernel that knows its number can tell: same boot, same process namespace.
    """
    machine, number, started, *_ = [*process.rsplit("/", 3), "", ""]
    if not machine or not started or machine != _machine():
        return False
    return _start_of(int(number)) != started


@cache
def _machine() -> str:
    # proc(5), namespaces(7); elsewhere than on Linux nothing is known, and a lease ends by its time.
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _start_of(number: int) -> str | None:
    """When a process began, in ticks since boot; None = it is gone, or only waits to be buried by its parent."""
    try:
        # The name in parentheses may hold anything; behind it: state is field 3, start time field 22 (proc(5)).
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else fields[19]
