"""What is proven of the bytes of a fetched file, and at what price.

Rules of this file: the CRC32C of all bytes as received is compared with the service's where the service knows one, and
that costs no reading. Where it vouches by another checksum only, the file is read once for that one: no success is
unchecked if a check is possible. Checksums that users wrote into metadata are never the service's. Whatever else is
asked for (`digests`, `reread`) is done in that same single read. If nothing can be compared, the proof says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hypersdk import errors
from hypersdk.model import Checksum, ObjectInfo, Proof
from hypersdk.storage.oci_headers import PART_SIZE
from hypersdk.transfer.checksums import Digest, MultipartMd5, agree, new_digest, read_digests
from hypersdk.transfer.options import TransferOptions
from hypersdk.transfer.partial import SealedPartial
from hypersdk.transfer.readback import how_read

COSTS: dict[str, float] = {"crc32c": 0.03, "blake3": 0.1, "sha256": 0.5, "sha384": 0.8, "md5": 1.1}
"""CPU seconds per GB on one core (docs/decisions/0006-engine.md); other processors take up to half as long again."""

MULTIPART = "multipart-md5"


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a file must be read for, if anything."""

    digests: dict[str, Digest]
    theirs: tuple[Checksum, ...]
    reread: bool


def prove(
    sealed: SealedPartial,
    info: ObjectInfo,
    options: TransferOptions,
    tick: Callable[[int], None] | None = None,
) -> Proof:
    """Prove that a sealed file has the bytes of its object.

    Args:
        sealed: the file, with the CRC32C of what was received, which `download` compared with the service's.
        info: the object.
        options: which digests are wanted, and whether the device is read.
        tick: called with the bytes read so far, if the file must be read.

    Raises:
        VerificationError: the bytes are not those of the object.
        ToolMissing: the package of a digest is not installed.
        FileError: the file cannot be read.
    """
    reading, sentences = _plan(sealed, info, options), [f"{sealed.size} bytes, as many as the object has"]
    found: tuple[Checksum, ...] = ()
    if reading.digests:
        found, direct = read_digests(sealed.path, reading.digests, tick=tick, from_device=reading.reread)
        if reading.reread:
            expect_as_received(sealed.path, found, sealed.checksums)
            sentences.append(how_read(past_cache=direct))
    sentences.append(_compared(agree((*sealed.checksums, *found), reading.theirs)))
    own = {each.algorithm: each for each in (*sealed.checksums, *found) if each.algorithm != MULTIPART}
    return Proof(sealed.size, tuple(own.values()), tuple(sentences))


def _plan(sealed: SealedPartial, info: ObjectInfo, options: TransferOptions) -> _Reading:
    names = dict.fromkeys(options.digests)
    if options.reread:
        names["crc32c"] = None
    theirs = info.checksums
    digests: dict[str, Digest] = {}
    if not {each.algorithm for each in theirs}.intersection([*names, *(each.algorithm for each in sealed.checksums)]):
        known = sorted((each.algorithm for each in theirs if each.algorithm in COSTS), key=lambda name: COSTS[name])
        if known:
            names[known[0]] = None
        elif part_size := noted_part_size(info):
            digests[MULTIPART] = MultipartMd5(part_size)
            theirs = (Checksum(MULTIPART, info.multipart_md5),)
    return _Reading({name: new_digest(name) for name in names} | digests, theirs, options.reread)


def noted_part_size(info: ObjectInfo) -> int | None:
    """The size of the object's parts, if it is recorded and can be true: a copy may have kept another one's note."""
    text = info.metadata.get(PART_SIZE, "")
    count = info.multipart_md5.rpartition("-")[2]
    size = int(text) if text.isdecimal() else 0
    return size if size and count.isdecimal() and -(-info.size // size) == int(count) else None


def expect_as_received(path: str, found: Iterable[Checksum], received: Iterable[Checksum]) -> None:
    """Compare what a file reads back as with what was received.

    Raises:
        VerificationError: they differ.
    """
    known = {each.algorithm: each for each in received}
    for each in found:
        if each != known.get(each.algorithm, each):
            raise errors.VerificationError(
                f"{path} reads back as {each}, received was {known[each.algorithm]}", resource=path
            )


def _compared(common: Checksum | None) -> str:
    if common is None:
        return "the service knows no checksum of it: the length of each range and the etag are all that was compared"
    return f"its {common.algorithm} is the service's"
