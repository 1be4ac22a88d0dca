"""What the head of a reply says of the object behind a plain address."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from hypersdk import errors
from hypersdk.model import UNKNOWN_SIZE, ByteRange, Checksum, ObjectInfo, ObjectRef
from hypersdk.storage import web_heads
from hypersdk.wire.request import Reply

REF = ObjectRef("https", "host", "", "disk.qcow2")
THEN, LATER = formatdate(1.7e9, usegmt=True), formatdate(1.7e9 + 3600, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "mark"),
    [
        ({"etag": '"1"', "last-modified": THEN, "date": LATER}, '"1"'),
        ({"etag": "bare"}, "bare"),
        ({"etag": 'W/"1"', "last-modified": THEN, "date": LATER}, f"last-modified {THEN}"),
        ({"last-modified": THEN, "date": LATER}, f"last-modified {THEN}"),
        ({"last-modified": THEN, "date": formatdate(1.7e9 + 59, usegmt=True)}, ""),
        ({"last-modified": LATER, "date": THEN}, ""),
        ({"last-modified": THEN}, ""),
        ({"last-modified": "yesterday", "date": LATER}, ""),
        ({"etag": ""}, ""),
        ({}, ""),
    ],
)
def test_only_strong_validators_mark_bytes(headers: dict[str, str], mark: str) -> None:
    """RFC 9110, 8.8: a weak etag, and a time too near to now, mark nothing."""
    assert web_heads.mark(headers) == mark


def test_a_range_is_pinned_by_whatever_marks_its_object() -> None:
    """An etag goes into If-Match, a time into If-Unmodified-Since, and the reply must say the same."""
    wanted = ByteRange(5, 9)
    headers, expect = web_heads.pinned(ObjectInfo(REF, 10, '"1"'), wanted)
    assert headers == {"range": "bytes=5-8", "if-match": '"1"'}
    assert (expect.range, expect.size, expect.etag) == (wanted, 10, '"1"')
    headers, expect = web_heads.pinned(ObjectInfo(REF, 10, f"last-modified {THEN}"), wanted)
    assert headers == {"range": "bytes=5-8", "if-unmodified-since": THEN}
    assert (expect.etag, dict(expect.echoes)) == (None, {"last-modified": THEN})
    headers, expect = web_heads.pinned(ObjectInfo(REF, UNKNOWN_SIZE, ranges=False), None)
    assert (headers, expect.range, expect.size, expect.etag) == ({}, None, None, None)


@pytest.mark.parametrize(
    ("status", "headers", "known", "size", "ranges"),
    [
        (200, {"content-length": "10", "accept-ranges": "bytes"}, True, 10, True),
        (200, {"content-length": "10"}, False, 10, True),
        (200, {"content-length": "0", "accept-ranges": "bytes"}, False, 0, True),
        (200, {"accept-ranges": "bytes"}, False, UNKNOWN_SIZE, False),
        (200, {"content-length": "10", "accept-ranges": "none"}, True, 10, False),
        (200, {"content-length": "0", "accept-ranges": "none"}, True, UNKNOWN_SIZE, False),
        (206, {"content-length": "1", "content-range": "bytes 0-0/77"}, True, 77, True),
        (206, {"content-length": "1", "content-range": "bytes 0-0/*"}, True, UNKNOWN_SIZE, False),
    ],
)
def test_size_and_ranges(status: int, headers: dict[str, str], known: bool, size: int, ranges: bool) -> None:
    """What a reply leaves open is asked; a size that nobody tells is unknown, and then nothing is cut into ranges."""
    reply = Reply(status, headers, 0)
    assert web_heads.tells_all(reply) is known
    info = web_heads.describe(REF, reply)
    assert (info.size, info.ranges) == (size, ranges)


def test_the_first_byte_completes_what_head_said() -> None:
    """The reply to a GET of one byte overrules HEAD where they differ; a checksum beside one byte is that byte's."""
    head = Reply(200, {"content-length": "0", "etag": '"1"', "content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, 0)
    first = Reply(206, {"content-length": "1", "content-range": "bytes 0-0/77", "etag": '"2"'}, 1)
    info = web_heads.describe(REF, web_heads.joined(head, first))
    assert (info.size, info.ranges, info.etag, info.checksums) == (77, True, '"2"', ())
    assert not web_heads.describe(REF, web_heads.joined(head, web_heads.WHOLE_ONLY)).ranges
    empty = web_heads.describe(REF, web_heads.joined(head, web_heads.EMPTY))
    assert (empty.size, empty.ranges, empty.etag) == (0, True, '"1"')


@pytest.mark.parametrize(
    ("name", "kind", "refused"),
    [
        ("disk.qcow2", "text/html", True),
        ("a/Disk.RAW", "TEXT/HTML; charset=utf-8", True),
        ("disk.qcow2", "application/octet-stream", False),
        ("disk.qcow2", "text/plain", False),
        ("index.html", "text/html", False),
        ("about", "text/html", False),
    ],
)
def test_a_web_page_is_no_disk(name: str, kind: str, refused: bool) -> None:
    """A login or error page that comes with 200 in place of a disk is refused before it can replace anything."""
    reply = Reply(200, {"content-length": "10", "content-type": kind}, 0)
    ref = ObjectRef("https", "host", "", name)
    if refused:
        with pytest.raises(errors.ReplyRefused, match="web page"):
            web_heads.describe(ref, reply)
    else:
        assert web_heads.describe(ref, reply).size == 10


SHA256_OF_CHECK = Checksum("sha256", "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225")
MD5_OF_CHECK = Checksum("md5", "25f9e794323b453885f5181f1b624d0b")
CRC32C_OF_CHECK = Checksum("crc32c", "e3069283")


@pytest.mark.parametrize(
    ("status", "headers", "found"),
    [
        (200, {"content-md5": "JfnnlDI7RTiF9RgfG2JNCw=="}, (MD5_OF_CHECK,)),
        (206, {"content-md5": "JfnnlDI7RTiF9RgfG2JNCw=="}, ()),
        (206, {"repr-digest": "sha-256=:FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=:"}, (SHA256_OF_CHECK,)),
        (200, {"repr-digest": "unixsum=:AAA=:, md5=:JfnnlDI7RTiF9RgfG2JNCw==:"}, (MD5_OF_CHECK,)),
        (200, {"repr-digest": "sha-256=:not base64:"}, ()),
        (206, {"x-goog-hash": "crc32c=4waSgw==, md5=JfnnlDI7RTiF9RgfG2JNCw=="}, (CRC32C_OF_CHECK, MD5_OF_CHECK)),
        (200, {"x-goog-hash": "crc32c=4waSgw==", "x-goog-stored-content-encoding": "gzip"}, ()),
        (200, {"x-goog-hash": "sha1=AAAA"}, ()),
    ],
)
def test_checksums_in_the_words_of_several_servers(
    status: int, headers: dict[str, str], found: tuple[Checksum, ...]
) -> None:
    """What a server vouches for of the whole is taken from the headers that say so; of b"123456789"."""
    reply = Reply(status, {"content-length": "9", "content-range": "bytes 0-0/9", **headers}, 0)
    assert web_heads.describe(REF, reply).checksums == found
