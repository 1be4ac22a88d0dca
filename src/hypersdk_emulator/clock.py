"""The virtual clock: rules ages, locks, expiries and transitions. `Date` headers and signatures follow the real one."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from hypersdk_emulator.database import Database


class Clock:
    """Real time plus what was advanced, at an adjustable pace; it survives a restart and never goes back.

    Args:
        database: Where the clock's base is kept.
        pace: Virtual seconds per real second.
        wall: Source of real time, seconds since the epoch.
    """

    def __init__(self, database: Database, pace: float = 1.0, wall: Callable[[], float] = time.time) -> None:
        self._database = database
        self._wall = wall
        self._pace = pace
        stored = database.setting("clock")
        self._base_real = wall()
        self._base_virtual = self._base_real
        if isinstance(stored, dict):
            passed = max(0.0, self._base_real - float(stored["real"])) * float(stored["pace"])
            self._base_virtual = float(stored["virtual"]) + passed
        self._store()

    def timestamp(self) -> float:
        """Virtual now, in seconds since the epoch."""
        return self._base_virtual + (self._wall() - self._base_real) * self._pace

    def now(self) -> datetime:
        """Virtual now, in UTC."""
        return datetime.fromtimestamp(self.timestamp(), UTC)

    def wall(self) -> float:
        """Real now, in seconds since the epoch."""
        return self._wall()

    def advance(self, seconds: float) -> None:
        """Jump forward by this many virtual seconds."""
        if seconds < 0:
            raise ValueError("the clock never goes back")
        self._base_virtual = self.timestamp() + seconds
        self._base_real = self._wall()
        self._store()

    def _store(self) -> None:
        self._database.set_setting(
            "clock", {"real": self._base_real, "virtual": self._base_virtual, "pace": self._pace}
        )


def iso(timestamp: float) -> str:
    """A time as OCI writes it in JSON: `2026-01-01T00:00:00.000Z`."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def http_date(timestamp: float) -> str:
    """A time as headers carry it (RFC 9110), in whole seconds."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
