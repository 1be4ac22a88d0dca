"""Bytes of many items as one progress."""

from __future__ import annotations

from hypersdk import events
from hypersdk.transfer.engine import Advanced


class Tally:
    """Bytes of many items as one progress; the total grows as items are begun.

    Args:
        advanced: told how many bytes are done.
        report: told of bytes moved.
    """

    def __init__(self, advanced: Advanced, report: events.Reporter) -> None:
        self._advanced = advanced
        self._report = report
        self._wire = self._disk = self._shown = 0
        self._total = self._settled = 0

    def begin(self, size: int) -> None:
        """One more item."""
        self._total += size

    def settle(self, size: int) -> None:
        """It ended, however."""
        self._settled += size

    def wire(self, count: int) -> None:
        """Count bytes that came or went over the wire."""
        self._wire += count

    def disk(self, count: int) -> None:
        """Count bytes written to a disk."""
        self._disk += count

    def turn(self, moving: int = 0) -> None:
        """Tell the watchers, if anything is new."""
        if self._wire or self._disk:
            self._report(events.Bytes(wire=self._wire, disk=self._disk))
            self._wire = self._disk = 0
        if (now := self._settled + moving) > self._shown:
            self._shown = now
            self._advanced(now, self._total)
