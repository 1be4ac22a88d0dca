"""Digests as OCI writes them: base64 texts, composites over parts, CRC32C of a whole from the CRCs of its parts."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import crc32c

POLYNOMIAL = 0x82F63B78  # Castagnoli, reflected (RFC 3720, appendix B.4)
ALGORITHMS = ("CRC32C", "SHA256", "SHA384")


def text(digest: bytes) -> str:
    """Base64 of a binary digest."""
    return base64.b64encode(digest).decode()


@dataclass(frozen=True)
class Digests:
    """What was computed over one body: base64 texts; those that nobody asked for are None."""

    md5: str
    crc32c: str | None = None
    sha256: str | None = None
    sha384: str | None = None

    def of(self, algorithm: str) -> str | None:
        """The value of an additional checksum by OCI's name of it."""
        return {"CRC32C": self.crc32c, "SHA256": self.sha256, "SHA384": self.sha384}[algorithm]


class Hasher:
    """Running digests over one body: MD5 always, the others when asked."""

    def __init__(self, algorithms: Iterable[str] = ()) -> None:
        wanted = set(algorithms)
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc: int | None = 0 if "CRC32C" in wanted else None
        self._shas = {name: hashlib.new(name.lower()) for name in ("SHA256", "SHA384") if name in wanted}
        self.size = 0

    def update(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self.size += len(chunk)
        self._md5.update(chunk)
        for sha in self._shas.values():
            sha.update(chunk)
        if self._crc is not None:
            self._crc = crc32c.crc32c(chunk, self._crc)

    def digests(self) -> Digests:
        """The values over all bytes so far."""
        shas = {name: text(sha.digest()) for name, sha in self._shas.items()}
        crc = None if self._crc is None else text(self._crc.to_bytes(4, "big"))
        return Digests(text(self._md5.digest()), crc, shas.get("SHA256"), shas.get("SHA384"))


def composite(name: str, digests: Sequence[str]) -> str:
    """Digest over the parts' binary digests in order, with the suffix `-N` (as `opc-multipart-md5`)."""
    joined = b"".join(base64.b64decode(digest) for digest in digests)
    return f"{text(hashlib.new(name, joined, usedforsecurity=False).digest())}-{len(digests)}"


def combined_crc32c(parts: Iterable[tuple[str, int]]) -> str:
    """CRC32C of a whole from (base64 CRC32C, size) of its parts in order."""
    crc = 0
    for value, size in parts:
        crc = _multiply(_x_to(8 * size), crc) ^ int.from_bytes(base64.b64decode(value), "big")
    return text(crc.to_bytes(4, "big"))


def _multiply(a: int, b: int) -> int:
    """Product of two polynomials over GF(2) modulo the CRC's, bits reflected (as zlib's crc32_combine)."""
    product, mask = 0, 1 << 31
    while mask:
        if a & mask:
            product ^= b
        mask >>= 1
        b = b >> 1 ^ (POLYNOMIAL if b & 1 else 0)
    return product


def _x_to(exponent: int) -> int:
    """The polynomial x**exponent modulo the CRC's."""
    result, square = 1 << 31, 1 << 30
    while exponent:
        if exponent & 1:
            result = _multiply(square, result)
        square = _multiply(square, square)
        exponent >>= 1
    return result
