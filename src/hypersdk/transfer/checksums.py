"""CRC32C of pieces, combined into that of the whole in any order; digests of finished files.

Rules of this file: CRC32C (Castagnoli, RFC 3720 appendix B.4) is computed while bytes pass, because it costs a tenth of
any other digest; the CRC of a whole follows from those of its parts without reading again: appending n bytes multiplies
a CRC, taken as a polynomial over GF(2), by x^(8n) modulo the CRC's polynomial.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import crc32c as _crc32c

from hypersdk import errors
from hypersdk.model import ByteRange, Checksum
from hypersdk.transfer import options
from hypersdk.transfer.readback import read_through

_POLYNOMIAL = 0x82F63B78  # Castagnoli, bits reversed: bit 31 is x^0
_X0 = 1 << 31

DIGESTS = frozenset({"crc32c", *options.DIGESTS})


def crc32c(data: bytes | bytearray | memoryview, before: int = 0) -> int:
    """CRC32C of `data`, or of what had the CRC `before` with `data` appended."""
    value: int = _crc32c.crc32c(data, before)
    return value


def crc32c_combine(first: int, second: int, second_length: int) -> int:
    """CRC32C of two pieces joined, from their CRCs and the length in bytes of the second."""
    return _multiply(_shift(second_length), first) ^ second


def crc32c_of_parts(parts: Iterable[tuple[ByteRange, int]], size: int) -> int:
    """CRC32C of a whole of `size` bytes from the CRCs of parts that cover it exactly, in any order.

    Raises:
        VerificationError: the parts leave a gap or overlap.
    """
    whole, reached = 0, 0
    for part, value in sorted(parts, key=lambda each: each[0].start):
        if part.start != reached:
            raise errors.VerificationError(f"parts do not join: byte {reached} ends one, {part.start} starts the next")
        whole, reached = crc32c_combine(whole, value, part.length), part.stop
    if reached != size:
        raise errors.VerificationError(f"parts do not join: they end at byte {reached} of {size}")
    return whole


def as_checksum(value: int) -> Checksum:
    """A CRC32C as the noun that rooms exchange."""
    return Checksum("crc32c", f"{value:08x}")


def agree(mine: Iterable[Checksum], theirs: Iterable[Checksum]) -> Checksum | None:
    """Compare two sets of checksums of the same bytes.

    Returns:
        A checksum that both know; None = they have no algorithm in common.

    Raises:
        VerificationError: they know the same algorithm and differ.
    """
    known = {each.algorithm: each for each in theirs}
    common = None
    for each in mine:
        other = known.get(each.algorithm)
        if other and other.value.lower() != each.value.lower():
            raise errors.VerificationError(f"checksums differ: ours is {each}, the service's is {other}")
        common = common or (each if other else None)
    return common


class Digest(Protocol):
    """The face of hashlib."""

    def update(self, data: memoryview, /) -> object:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """What they come to so far."""


def new_digest(algorithm: str) -> Digest:
    """A running digest.

    Args:
        algorithm: a name out of `DIGESTS`.

    Raises:
        UsageError: an unknown algorithm.
        ToolMissing: its package is not installed.
    """
    if algorithm not in DIGESTS:
        raise errors.UsageError(f"unknown checksum {algorithm!r}; known are {', '.join(sorted(DIGESTS))}")
    if algorithm == "crc32c":
        return _Crc32c()
    if algorithm == "blake3":
        return _new_blake3()
    digest: Digest = hashlib.new(algorithm)
    return digest


def _new_blake3() -> Digest:
    try:
        import blake3  # an extra: most users never ask for it
    except ImportError:
        raise errors.ToolMissing(
            "checksum blake3 needs the package blake3, which is not installed",
            resource="blake3",
            hint="pip install 'hypersdk[blake3]'",
        ) from None
    digest: Digest = blake3.blake3()
    return digest


def file_digests(
    path: str, algorithms: Iterable[str] = ("sha256",), *, tick: Callable[[int], None] | None = None
) -> tuple[Checksum, ...]:
    """Digests of a finished file by one plain read from start to end.

    Args:
        path: the file.
        algorithms: names out of `DIGESTS`.
        tick: called with the bytes read so far after each MiB (stop flag, heartbeats, progress).

    Raises:
        FileError: the file cannot be read.
        UsageError: an unknown algorithm.
        ToolMissing: the package of an algorithm is not installed.
    """
    return read_digests(path, {name: new_digest(name) for name in algorithms}, tick=tick)[0]


def read_digests(
    path: str, running: Mapping[str, Digest], *, tick: Callable[[int], None] | None = None, from_device: bool = False
) -> tuple[tuple[Checksum, ...], bool]:
    """Feed a finished file to digests by one read from start to end.

    Args:
        path: the file.
        running: digests by name, fresh ones.
        tick: called with the bytes read so far after each MiB.
        from_device: read the device and not the page cache, see `read_through`.

    Returns:
        The digests, and whether every byte came past the page cache.

    Raises:
        FileError: the file cannot be read.
    """
    digests = tuple(running.values())

    def take(view: memoryview) -> None:
        for digest in digests:
            digest.update(view)

    direct = read_through(path, take, tick=tick, from_device=from_device)
    return tuple(Checksum(name, digest.hexdigest()) for name, digest in running.items()), direct


class MultipartMd5:
    """MD5 of the MD5s of an object's parts, as Object Storage writes it: `opc-multipart-md5`.

    Args:
        part_size: bytes of every part but the last.
    """

    def __init__(self, part_size: int) -> None:
        self._part_size = part_size
        self._whole = hashlib.md5(usedforsecurity=False)
        self._part = hashlib.md5(usedforsecurity=False)
        self._count = 0
        self._filled = 0

    def update(self, data: memoryview, /) -> None:
        """Take more bytes."""
        while data:
            count = min(len(data), self._part_size - self._filled)
            self._part.update(data[:count])
            self._filled += count
            data = data[count:]
            if self._filled == self._part_size:
                self._next_part()

    def hexdigest(self) -> str:
        """The digest, "-" and how many parts; nothing may be added afterwards."""
        if self._filled:
            self._next_part()
        return f"{self._whole.hexdigest()}-{self._count}"

    def _next_part(self) -> None:
        self._whole.update(self._part.digest())
        self._part = hashlib.md5(usedforsecurity=False)
        self._count, self._filled = self._count + 1, 0


class _Crc32c:
    """CRC32C with the face of hashlib."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: memoryview, /) -> None:
        self._value = crc32c(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


def _multiply(a: int, b: int) -> int:
    """The product of two polynomials modulo the CRC's own, all with reversed bits."""
    product = 0
    while a:
        if a & _X0:
            product ^= b
        a = (a << 1) & 0xFFFFFFFF
        b = (b >> 1) ^ (_POLYNOMIAL if b & 1 else 0)
    return product


@functools.lru_cache(maxsize=64)
def _shift(length: int) -> int:
    """x^(8 * length) modulo the polynomial; parts are mostly of one size, hence the cache."""
    result, square = _X0, _X0 >> 8
    while length:
        if length & 1:
            result = _multiply(square, result)
        square = _multiply(square, square)
        length >>= 1
    return result
