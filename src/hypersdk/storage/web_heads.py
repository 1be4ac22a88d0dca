"""What the head of a reply says of the object behind a plain address. Pure.

Rules of this file (RFC 9110): only a strong validator pins bytes, so that a range of today fits a range of yesterday: a
strong etag (8.8.3), else a Last-Modified that is old enough to be one (8.8.2.2); a server that does not say that it
takes ranges may take them (14.3), so it is asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus

from hypersdk import errors
from hypersdk.model import UNKNOWN_SIZE, ByteRange, Checksum, ObjectInfo, ObjectRef
from hypersdk.readers.http import read_date
from hypersdk.storage import oci_headers
from hypersdk.wire.request import Expectation, Reply

_BY_TIME = "last-modified "
"""How a mark begins that is no etag; no etag begins so, for one that is not in quotes has no blank."""

_OLD_ENOUGH = timedelta(seconds=60)
"""RFC 9110 asks for one second by one clock, or more where the clocks may differ."""

_DIGEST = re.compile(r"([A-Za-z0-9-]+)=:([A-Za-z0-9+/=]+):")
_DIGESTS: Mapping[str, str] = {"sha-256": "sha256", "md5": "md5", "crc32c": "crc32c"}
"""Algorithms of `Repr-Digest` (RFC 9530, section 3 and its registry), which speaks of the whole even beside a range."""

_GOOG_HASH = re.compile(r"(crc32c|md5)=([A-Za-z0-9+/]+=*)")
"""Of `x-goog-hash` (cloud.google.com, "Cloud Storage XML API: HTTP headers")."""

WHOLE_ONLY = Reply(HTTPStatus.OK, {"accept-ranges": "none"}, 0)
"""What is known of a server that ignores ranges."""

EMPTY = Reply(HTTPStatus.OK, {"accept-ranges": "bytes", "content-length": "0"}, 0)
"""What is known of an object that has not even a first byte (416; RFC 9110, 14.1.2)."""

_DISK = re.compile(r"7z|bz2|gz|img|iso|oci|ova|ovf|qcow2?|raw|tar|tgz|vdi|vhdx?|vma|vmdk|xva|xz|zip|zst", re.IGNORECASE)
"""Endings of names that no web page has."""


def mark(headers: Mapping[str, str]) -> str:
    """What marks exactly these bytes: a strong etag, or the time of the last change; "" = nothing does.

    Args:
        headers: of a good reply, names in lower case.
    """
    etag = headers.get("etag", "").strip()
    if etag and not etag.startswith("W/"):
        return etag
    text = headers.get("last-modified", "").strip()
    changed, now = read_date(text), read_date(headers.get("date"))
    strong = changed is not None and now is not None and now - changed >= _OLD_ENOUGH
    return _BY_TIME + text if strong else ""


def pinned(info: ObjectInfo, wanted: ByteRange | None) -> tuple[dict[str, str], Expectation]:
    """Headers of a request for bytes of exactly this object, and what its reply must satisfy."""
    headers = {"range": wanted.header()} if wanted else {}
    size = None if info.size == UNKNOWN_SIZE else info.size
    if info.etag.startswith(_BY_TIME):
        changed = info.etag.removeprefix(_BY_TIME)
        expect = Expectation(range=wanted, size=size, echoes={"last-modified": changed})
        return headers | {"if-unmodified-since": changed}, expect
    expect = Expectation(range=wanted, size=size, etag=info.etag or None)
    return headers | ({"if-match": info.etag} if info.etag else {}), expect


def _checksums(headers: Mapping[str, str], *, partial: bool) -> tuple[Checksum, ...]:
    """Checksums of the whole that the server vouches for, in whatever words."""
    found = [
        oci_headers.checksum(_DIGESTS[name.lower()], text)
        for name, text in _DIGEST.findall(headers.get("repr-digest", ""))
        if name.lower() in _DIGESTS
    ]
    # Of what is stored compressed the hashes are those of the stored bytes, and others may come.
    if headers.get("x-goog-stored-content-encoding", "identity") == "identity":
        found += [oci_headers.checksum(*pair) for pair in _GOOG_HASH.findall(headers.get("x-goog-hash", ""))]
    if not partial:  # a checksum beside one byte may be that byte's
        found += oci_headers.checksums(headers)
    return tuple({each.algorithm: each for each in found if each is not None}.values())


def tells_all(reply: Reply) -> bool:
    """Whether nothing is left to ask: how large it is, and whether ranges are taken.

    A length of nothing is not believed of a HEAD: some applications answer so to all of them.
    """
    length, ranges = reply.headers.get("content-length", ""), reply.headers.get("accept-ranges", "").lower()
    sized = length.isdecimal() and int(length) > 0
    return reply.status == HTTPStatus.PARTIAL_CONTENT or "none" in ranges or ("bytes" in ranges and sized)


def joined(head: Reply, first: Reply) -> Reply:
    """What the replies to HEAD and to a GET of the first byte say together."""
    return Reply(first.status, {**head.headers, **first.headers}, 0)


def describe(ref: ObjectRef, reply: Reply) -> ObjectInfo:
    """The object that a reply is about: to HEAD (200), or to a GET of its first byte (206).

    Raises:
        ReplyRefused: it is a web page in place of the object.
    """
    headers = reply.headers
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in {"text/html", "application/xhtml+xml"} and _DISK.fullmatch(ref.name.rpartition(".")[2]):
        raise errors.ReplyRefused(
            f"{ref}: the server sends a web page ({kind})",
            resource=str(ref),
            hint="most likely a login or an error page: open the address in a browser",
        )
    partial, ranges = reply.status == HTTPStatus.PARTIAL_CONTENT, headers.get("accept-ranges", "").lower()
    text = headers.get("content-range", "").rpartition("/")[2] if partial else headers.get("content-length", "")
    size = int(text) if text.isdecimal() else UNKNOWN_SIZE
    takes_ranges = (partial or "none" not in ranges) and size != UNKNOWN_SIZE
    if not takes_ranges and size == 0:
        size = UNKNOWN_SIZE  # the GET will tell
    return ObjectInfo(
        ref,
        size,
        mark(headers),
        _checksums(headers, partial=partial),
        modified=read_date(headers.get("last-modified")),
        ranges=takes_ranges,
        headers=oci_headers.kept(headers),
    )
