"""CRC32C of parts in any order, and digests of files."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypersdk import errors
from hypersdk.model import ByteRange, Checksum
from hypersdk.transfer import checksums


def test_check_value():
    """The check value of CRC32C (RFC 3720's polynomial, "123456789") comes out."""
    assert checksums.crc32c(b"123456789") == 0xE3069283
    assert checksums.as_checksum(0x1F) == Checksum("crc32c", "0000001f")


@settings(deadline=None)
@given(first=st.binary(max_size=300), second=st.binary(max_size=300))
def test_two_pieces_combine(first, second):
    """The CRC of two pieces joined follows from their own CRCs."""
    joined = checksums.crc32c_combine(checksums.crc32c(first), checksums.crc32c(second), len(second))
    assert joined == checksums.crc32c(first + second) == checksums.crc32c(second, checksums.crc32c(first))


def test_long_pieces_combine():
    """Lengths far above 32 bits combine as well: a tebibyte of zeros in two halves has the CRC of four quarters."""
    quarter = checksums.crc32c(b"")
    for _ in range(8):  # any value that stands for the CRC of a quarter
        quarter = checksums.crc32c(b"x", quarter)
    length = 1 << 38
    half = checksums.crc32c_combine(quarter, quarter, length)
    stepwise = quarter
    for _ in range(3):
        stepwise = checksums.crc32c_combine(stepwise, quarter, length)
    assert checksums.crc32c_combine(half, half, 2 * length) == stepwise


@settings(deadline=None)
@given(body=st.binary(max_size=400), cuts=st.lists(st.integers(0, 400), max_size=6), data=st.data())
def test_parts_in_any_order(body, cuts, data):
    """Parts that cover a body give its CRC in whatever order they arrive."""
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    parts = [(ByteRange(a, b), checksums.crc32c(body[a:b])) for a, b in pairwise(edges)]
    assert checksums.crc32c_of_parts(data.draw(st.permutations(parts)), len(body)) == checksums.crc32c(body)
    for lacking in (parts[1:], parts[:-1]) if parts else ():
        with pytest.raises(errors.VerificationError, match="do not join"):
            checksums.crc32c_of_parts(lacking, len(body))


def test_checksums_agree_or_differ():
    """Checksums of one algorithm must agree; having none in common proves nothing."""
    mine = [Checksum("crc32c", "0a0b0c0d"), Checksum("sha256", "11")]
    assert checksums.agree(mine, [Checksum("md5", "00")]) is None
    assert checksums.agree(mine, [Checksum("crc32c", "0A0B0C0D")]) == mine[0]
    with pytest.raises(errors.VerificationError, match="differ"):
        checksums.agree(mine, [Checksum("sha256", "12")])


def test_file_digests(tmp_path):
    """Digests of a file are those of its bytes, and the reader can be watched and stopped."""
    body = bytes(range(256)) * 10_000
    path = tmp_path / "file"
    path.write_bytes(body)
    seen = []
    found = checksums.file_digests(str(path), ("sha256", "md5", "crc32c"), tick=seen.append)
    assert [str(each) for each in found] == [
        f"sha256:{hashlib.sha256(body).hexdigest()}",
        f"md5:{hashlib.md5(body).hexdigest()}",
        f"crc32c:{checksums.crc32c(body):08x}",
    ]
    assert seen[-1] == len(body)
    with pytest.raises(errors.UsageError, match="sha1"):
        checksums.file_digests(str(path), ("sha1",))
    with pytest.raises(errors.FileError, match="no-such"):
        checksums.file_digests(str(tmp_path / "no-such"))
