"""Which ranges of a partial file are good: an append-only journal beside it.

Rules of this file:
- Each line is JSON, a space, and the CRC32C of the JSON; a torn or damaged line is as if it had never been written, and
  every line stands for itself, so that losing any of them only costs fetching again. The first good line names the
  format and the object; no secrets, no URLs.
- A range line is written only after its bytes were. After kill -9 the kernel still holds them, so within one boot and
  one mount the journal is true without any fsync. After a power cut, or on a disk that was pulled out, it may promise
  bytes that never got there: with another boot id (which names the mount, too), or for another file than it was written
  for, every range is read back and checked, unless the last line is a seal, written only after the data was synced.
- What a reading-back found bad is dropped durably before anything else is written, because a later seal covers all.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from hypersdk.model import ByteRange, ObjectInfo
from hypersdk.transfer.checksums import crc32c

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """The object that a journal is about; any difference means another object."""

    service: str
    bucket: str
    name: str
    version: str | None
    etag: str
    size: int

    @classmethod
    def of(cls, info: ObjectInfo) -> Self:
        """The identity of an object as its store describes it."""
        ref = info.ref
        version = ref.version or info.version
        return cls(f"{ref.scheme}://{ref.namespace}", ref.bucket, ref.name, version, info.etag, info.size)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a journal says.

    Attributes:
        identity: the object.
        boot_id: the boot and mount in which the ranges were last known to be good; "" = unknown.
        file: device and inode of the partial file.
        ranges: good ranges with their CRC32C, without overlaps.
        sealed: whether the data was synced after the last range.
    """

    identity: Identity
    boot_id: str
    file: tuple[int, int]
    ranges: Mapping[ByteRange, int]
    sealed: bool

    def trusted(self, boot_id: str, file: tuple[int, int]) -> bool:
        """Whether the ranges count without being read back."""
        return file == self.file and (self.sealed or (bool(boot_id) and boot_id == self.boot_id))


def current_boot_id() -> str:
    """The kernel's id of this boot; "" where there is none, and then nothing is trusted."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def encode(record: Mapping[str, Any]) -> bytes:
    """One line."""
    text = json.dumps(record, separators=(",", ":"), ensure_ascii=True).encode()
    return text + b" %08x\n" % crc32c(text)


def parse(data: bytes) -> Contents | None:
    """Read a journal; None = it is none, or of another format."""
    found = records(data)
    head = next(found, {})
    try:
        if head["format"] != FORMAT:
            return None
        identity, file = Identity(**head["object"]), (head["file"][0], head["file"][1])
        boot_id, sealed, ranges = str(head["boot"]), False, dict[ByteRange, int]()
    except (KeyError, TypeError, ValueError, IndexError):
        return None
    for record in found:
        sealed = "sealed" in record
        boot_id = str(record.get("boot", boot_id))
        file = (record["file"][0], record["file"][1]) if "file" in record else file
        for start, stop in record.get("drop", ()):
            ranges = _without(ranges, ByteRange(start, stop))
        if "range" in record:
            known = ByteRange(*record["range"])
            if 0 <= known.start < known.stop <= identity.size:
                ranges[known] = int(record["crc32c"], 16)
    return Contents(identity, boot_id, file, _disjoint(ranges), sealed)


class Journal:
    """A journal that is being written.

    Args:
        descriptor: its file, opened for appending; closed by `close`.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def begin(self, identity: Identity, boot_id: str, file: tuple[int, int]) -> None:
        """Forget everything and start for this object and partial file."""
        if os.fstat(self._descriptor).st_size:
            os.ftruncate(self._descriptor, 0)
            os.fsync(self._descriptor)  # else a power cut could join the new head with lines about another object
        self._append({"format": FORMAT, "object": asdict(identity), "boot": boot_id, "file": list(file)})
        os.fsync(self._descriptor)

    def load(self) -> Contents | None:
        """What it says; also closes a torn last line, so that new lines stand alone."""
        data = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)
        if data and not data.endswith(b"\n"):
            os.write(self._descriptor, b"\n")
        return parse(data)

    def record(self, known: ByteRange, crc: int) -> None:
        """Note that a range is written and good."""
        self._append({"range": [known.start, known.stop], "crc32c": f"{crc:08x}"})

    def readmit(self, bad: list[ByteRange], boot_id: str, file: tuple[int, int]) -> None:
        """Note, durably, that all ranges but `bad` were read back and are good in this boot and file."""
        dropped = [[each.start, each.stop] for each in bad]
        self._append({"drop": dropped, "boot": boot_id, "file": list(file)})
        os.fsync(self._descriptor)

    def distrust(self) -> None:
        """Note that the kernel may fail to write data back: without a seal after this every range is read again."""
        self._append({"boot": ""})

    def seal(self) -> None:
        """Note, durably, that the data of all ranges is on the disk."""
        self._append({"sealed": True})
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _append(self, record: Mapping[str, Any]) -> None:
        line = encode(record)
        if os.write(self._descriptor, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def records(data: bytes) -> Iterator[dict[str, Any]]:
    """The good lines."""
    for line in data.split(b"\n"):
        text, _, check = line.rpartition(b" ")
        if text and check == b"%08x" % crc32c(text):
            record = json.loads(text)
            if isinstance(record, dict):
                yield record


def _disjoint(ranges: Mapping[ByteRange, int]) -> dict[ByteRange, int]:
    """Ranges without those that overlap another: we never write such, so neither of the two is believed."""
    ordered = sorted(ranges, key=lambda each: (each.start, each.stop))
    stops = list(itertools.accumulate((each.stop for each in ordered), max, initial=0))
    starts = [each.start for each in ordered[1:]] + [ordered[-1].stop if ordered else 0]
    return {
        each: ranges[each]
        for each, reached, following in zip(ordered, stops, starts, strict=False)
        if reached <= each.start and each.stop <= following
    }


def _without(ranges: Mapping[ByteRange, int], bad: ByteRange) -> dict[ByteRange, int]:
    return {each: crc for each, crc in ranges.items() if each.stop <= bad.start or bad.stop <= each.start}
