"""The virtual clock: rules ages, locks, expiries and transitions. `Date` headers and signatures follow the real one."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime

from hypersdk_emulator.database import Database

LATEST = datetime(9000, 1, 1, tzinfo=UTC).timestamp()
"""The clock goes no further: ages added to a time must still be a date with four digits for the year."""


class Clock:
    """Real time plus what was advanced; it survives a restart and, once something happened, never goes back.

    Args:
        database: Where the clock's base is kept.
        wall: Source of real time, seconds since the epoch.
    """

    def __init__(self, database: Database, wall: Callable[[], float] = time.time) -> None:
        self._database = database
        self._wall = wall
        self._jumped = asyncio.Event()
        stored = database.setting("clock")
        self._base_real = wall()
        self._base_virtual = self._base_real
        if isinstance(stored, dict):
            passed = max(0.0, self._base_real - float(stored["real"]))
            self._base_virtual = float(stored["virtual"]) + passed
        self._store()

    def timestamp(self) -> float:
        """Virtual now, in seconds since the epoch."""
        return self._base_virtual + (self._wall() - self._base_real)

    def now(self) -> datetime:
        """Virtual now, in UTC."""
        return datetime.fromtimestamp(self.timestamp(), UTC)

    def wall(self) -> float:
        """Real now, in seconds since the epoch."""
        return self._wall()

    def advance(self, seconds: float) -> None:
        """Jump forward by this many virtual seconds.

        Raises:
            ValueError: Back, or behind `LATEST`.
        """
        if seconds < 0:
            raise ValueError("the clock never goes back")
        if self.timestamp() + seconds > LATEST:
            raise ValueError(f"the clock ends at {iso(LATEST)}")
        self._set(self.timestamp() + seconds)

    async def until(self, moment: float) -> None:
        """Wait until the virtual clock shows a time."""
        while (left := moment - self.timestamp()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._jumped.wait(), left)

    def start_at(self, moment: float, *, empty: bool) -> None:
        """Show this time now, as a seed says it; said again (after a restart) it does nothing.

        Args:
            moment: Virtual seconds since the epoch.
            empty: Nothing exists yet, so that the clock may start in the past.

        Raises:
            ValueError: The clock would have to go back.
        """
        if self._database.setting("clock-start") == moment:
            return
        if moment < self.timestamp() and not empty:
            raise ValueError(f"the clock shows {iso(self.timestamp())} already and never goes back")
        self._set(moment)
        self._database.set_setting("clock-start", moment)

    def restart(self) -> None:
        """Show real time again: the cloud that lived in virtual time is gone."""
        self._set(self._wall())

    def _set(self, virtual: float) -> None:
        self._base_virtual = virtual
        self._base_real = self._wall()
        self._store()
        self._jumped.set()
        self._jumped = asyncio.Event()

    def _store(self) -> None:
        self._database.set_setting("clock", {"real": self._base_real, "virtual": self._base_virtual})


def iso(timestamp: float) -> str:
    """A time as OCI writes it in JSON: `2026-01-01T00:00:00.000Z`."""
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def http_date(timestamp: float) -> str:
    """A time as headers carry it (RFC 9110), in whole seconds."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
