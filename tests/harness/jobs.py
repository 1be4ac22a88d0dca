"""Workers without a cloud: real processes with the real queue, whose jobs only write down when they ran."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from hypersdk.fleet.engine import Server
from hypersdk.runs.presence import take_seat

SECONDS = 20.0


@dataclass(frozen=True)
class Ran:
    """A job as it was carried out; `stop` None = it has not ended."""

    job_id: str
    seat: str
    start: float
    stop: float | None


class Workers:
    """Processes that take jobs, forked from this one.

    Args:
        url: of a database.
        folder: for what they write down.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.pids: list[int] = []

    def start(self, host: str, slots: int, seconds: float) -> int:
        """Start a worker whose jobs take so long; answers its process."""
        pid = os.fork()
        if pid == 0:
            self._serve(host, slots, seconds)
        self.pids.append(pid)
        return pid

    def _serve(self, host: str, slots: int, seconds: float) -> NoReturn:
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            seat = take_seat(self.url, host)

            def work(job_id: str) -> str:
                self._write(f"{job_id} {seat.executor_id} start {time.monotonic()}")
                time.sleep(seconds)
                self._write(f"{job_id} {seat.executor_id} stop {time.monotonic()}")
                return "done"

            Server(self.url, seat, slots, work).launch()
            threading.Event().wait()
        except BaseException:
            traceback.print_exc()
        os._exit(70)

    def _write(self, line: str) -> None:
        descriptor = os.open(self.folder / "ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)

    def ran(self) -> list[Ran]:
        """What was carried out so far, in the order of its beginnings."""
        path = self.folder / "ran"
        found: dict[tuple[str, str], Ran] = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            job_id, seat, what, at = line.split()
            if what == "start":
                found[job_id, seat] = Ran(job_id, seat, float(at), None)
            else:
                found[job_id, seat] = Ran(job_id, seat, found[job_id, seat].start, float(at))
        return list(found.values())

    def stop(self) -> None:
        """Kill them all."""
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self.pids.clear()


def most_at_once(ran: list[Ran]) -> int:
    """How many ran at the same time, at most."""
    return max((sum(1 for other in ran if other.start <= one.start < (other.stop or 1e12)) for one in ran), default=0)


def await_(true: Callable[[], object], otherwise: str) -> None:
    """Wait until something is true; fails with `otherwise` if it never is."""
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end, otherwise
        time.sleep(0.02)
