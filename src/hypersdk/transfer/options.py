"""How bytes are moved. `config.py` fills this; nothing else reads configuration here."""

from __future__ import annotations

from dataclasses import dataclass

from hypersdk import errors
from hypersdk.bandwidth import Timetable

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

MIN_PART_SIZE = 64 * KIB
"""Smaller parts cost more requests than bytes, and it is the unit in which zero blocks are looked for."""

MAX_PART_SIZE = 50 * GIB
"""Object Storage takes no larger part (docs.oracle.com, "Object Storage limits")."""

MAX_PARALLEL = 128

DIGESTS = ("sha256", "md5", "blake3", "sha384")
"""What may be asked for besides CRC32C, which is always computed."""

RECEIVED, READ_BACK = "received", "reread"
"""What a fetched file's proof rests on: its bytes as received, or as they are read back from the device."""


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """How a transfer is cut and how much of it is in flight.

    Args:
        part_size: bytes of one range or part.
        parallel: most requests in flight at once.
        bandwidth: bytes per second by the time of the week; None = no limit.
        digests: of a fetched file, besides its CRC32C: names out of `DIGESTS`; the file is read once for all of them.
        reread: read a fetched file back from the device and compare it with what was received.
        preallocate: reserve a file's whole size before its first byte; it is not sparse then.
    """

    part_size: int = 16 * MIB
    parallel: int = 16
    bandwidth: Timetable | None = None
    digests: tuple[str, ...] = ()
    reread: bool = False
    preallocate: bool = False

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: a value makes no sense.
        """
        if not MIN_PART_SIZE <= self.part_size <= MAX_PART_SIZE:
            raise errors.ConfigError(
                f"transfer.part_size: {self.part_size} bytes is not between {MIN_PART_SIZE} (64 KiB)"
                f" and {MAX_PART_SIZE} (50 GiB)"
            )
        if not 1 <= self.parallel <= MAX_PARALLEL:
            raise errors.ConfigError(f"transfer.parallel: {self.parallel} is not between 1 and {MAX_PARALLEL}")
        for name in self.digests:
            if name not in DIGESTS:
                raise errors.ConfigError(f"transfer.checksum: {name!r} is none of {', '.join(DIGESTS)}")


DEFAULTS = TransferOptions()
