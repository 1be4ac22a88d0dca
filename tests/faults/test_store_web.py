"""Objects behind plain addresses: presigned URLs, redirects, servers that know little."""

from __future__ import annotations

import base64
import random
import re
import socket
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

import crc32c
import pytest
from http_store import new_wire, retrier
from raw_server import Asked, OneObject, RawServer, send

from hypersdk import errors
from hypersdk.events import Note
from hypersdk.model import Secret
from hypersdk.storage import url
from hypersdk.storage.backends.web import WebStore
from hypersdk.transfer.files import fetch_file
from hypersdk.transfer.options import TransferOptions
from hypersdk.waiting import Waiter
from hypersdk.wire.request import Reply

PART = 64 * 1024
BODY = random.Random(2).randbytes(8 * PART + 1)


def fetch(address: str, path: Path) -> bytes:
    """Fetch an address into a file."""
    where = url.parse(address)
    with new_wire() as wire:
        store = WebStore(where, wire)
        options = TransferOptions(part_size=PART, parallel=2)
        fetch_file(store, where.ref, str(path), wire=wire, retrier=retrier(refresh=store.refresh), options=options)
    return path.read_bytes()


def no_head(status: int) -> Callable:
    """A server that serves GET alone."""
    good = OneObject(BODY)
    return lambda asked, peer: send(peer, status) if asked.method == "HEAD" else good(asked, peer)


@pytest.mark.parametrize("status", [401, 403, 405])
def test_presigned_for_get_alone(tmp_path, status):
    """A server that refuses HEAD, as a URL presigned for GET makes it do, is read all the same."""
    with RawServer(no_head(status)) as server:
        assert fetch(f"{server.url}/disk.qcow2?signature=secret", tmp_path / "disk") == BODY
        assert {asked.target for asked in server.asked} == {"/disk.qcow2?signature=secret"}


def test_redirect_is_followed_once_and_nothing_goes_along(tmp_path):
    """C025: a redirect to another host is followed when the object is looked at; no range asks the first host again."""
    with RawServer(OneObject(BODY)) as target:
        moved = target.url.replace("127.0.0.1", "localhost") + "/signed?X=1"
        with RawServer(lambda _, peer: send(peer, 302, location=moved)) as first:
            assert fetch(f"{first.url}/disk", tmp_path / "disk") == BODY
            assert len(first.asked) == 1
    assert not any("authorization" in asked.headers for asked in target.asked)


def test_place_that_ends_in_mid_transfer_is_asked_for_anew(tmp_path):
    """C025: a signed target that expires costs one more look at the first address, and no part."""
    good, places = OneObject(BODY), []

    def first_host(_: Asked, peer) -> None:
        places.append(f"/signed-{len(places)}")
        send(peer, 302, location=target.url + places[-1])

    def second_host(asked: Asked, peer) -> bool | None:
        ended = asked.target == "/signed-0" and asked.range is not None and asked.range[0] >= 4 * PART
        return send(peer, 403) if ended else good(asked, peer)

    with RawServer(second_host) as target, RawServer(first_host) as first:
        assert fetch(f"{first.url}/disk", tmp_path / "disk") == BODY
        assert places == ["/signed-0", "/signed-1"]


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (lambda _, peer: send(peer, 302, location="/again"), errors.RequestRefused, "redirects"),
        (lambda _, peer: send(peer, 404), errors.NotFoundError, "404"),
    ],
)
def test_servers_that_cannot_serve(tmp_path, answer, error, words):
    """A server that redirects without end or has nothing ends it, without a file."""
    with RawServer(answer) as server, pytest.raises(error, match=words):
        fetch(f"{server.url}/disk", tmp_path / "disk")
    assert not list(tmp_path.iterdir())


def test_weak_validator_is_no_identity(tmp_path):
    """An etag that allows other bytes (W/) pins nothing: nothing of an earlier run is taken over by it."""
    with RawServer(OneObject(BODY, etag='W/"1"')) as server, new_wire() as wire:
        where = url.parse(f"{server.url}/disk")
        assert WebStore(where, wire).head(where.ref).etag == ""


def test_plain_addresses_have_few_verbs(tmp_path):
    """Lists, renames, deletes and multipart uploads are refused in one line that names the object, not its query."""
    where = url.parse("https://host.example/disk?signature=secret")
    with new_wire() as wire:
        store = WebStore(where, wire)
        for verb in (store.list, store.delete, store.create_multipart_upload):
            with pytest.raises(errors.UsageError, match=re.escape("https://host.example/disk: ")) as caught:
                verb(where.ref)
            assert "secret" not in str(caught.value)


# ---------------------------------------------------------------- servers that know little


@dataclass
class WholeOnly:
    """A server that ignores ranges, as small ones do; `told` says what its HEAD tells, `cuts` where replies end."""

    told: dict[str, str]
    how: Callable[[socket.socket, bytes], None] = lambda peer, body: send(peer, 200, body)
    cuts: list[int] = field(default_factory=list)

    def __call__(self, asked: Asked, peer: socket.socket) -> bool | None:
        """Answer one request."""
        if asked.method == "HEAD":
            send(peer, 200, **self.told)
            return None
        if self.cuts and not asked.range:
            send(peer, 200, BODY[: self.cuts.pop()], content_length=str(len(BODY)))
            return False
        self.how(peer, BODY)
        return None


def chunked(peer: socket.socket, body: bytes, *, ended: bool = True) -> None:
    """Send a body in chunks, the last of which says that it is all."""
    peer.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for start in range(0, len(body), 100_000):
        piece = body[start : start + 100_000]
        peer.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
    peer.sendall(b"0\r\n\r\n" if ended else b"")
    if not ended:
        peer.shutdown(socket.SHUT_RDWR)


def hang_up(peer: socket.socket, body: bytes) -> None:
    """Send a body that only ends by hanging up, as HTTP/1.0 did."""
    peer.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + body)
    peer.shutdown(socket.SHUT_RDWR)


SIZED = {"content_length": str(len(BODY))}


@pytest.mark.parametrize(
    "server",
    [
        WholeOnly(SIZED),
        WholeOnly(
            {**SIZED, "accept_ranges": "none", "etag": '"1"'}, lambda peer, body: send(peer, 200, body, etag='"1"')
        ),
        WholeOnly({"content_length": "0"}),
        WholeOnly({"content_length": "-"}),
        WholeOnly({"content_length": "-"}, chunked),
        WholeOnly(SIZED, cuts=[5 * PART, 1]),
    ],
    ids=["silent", "says-none", "lies-of-nothing", "no-size", "chunked", "cut-twice"],
)
def test_a_server_without_ranges_is_read_in_one_piece(tmp_path, server):
    """C013: a server that ignores ranges gives the file byte for byte over one connection; a cut starts it anew."""
    with RawServer(server) as running:
        assert fetch(f"{running.url}/disk", tmp_path / "disk") == BODY
    assert [entry.name for entry in tmp_path.iterdir()] == ["disk"]


def test_without_ranges_a_half_done_download_begins_anew(tmp_path):
    """C013: ranges of an earlier run are no part of a file that comes whole, even under the same etag."""
    good, whole = OneObject(BODY, etag='"1"'), WholeOnly({**SIZED, "accept_ranges": "none", "etag": '"1"'})
    good.faults = [None, None, *[lambda _, peer: send(peer, 403)] * 9]
    with RawServer(good) as first, pytest.raises(errors.PermissionDenied):
        fetch(f"{first.url}/disk", tmp_path / "disk")
    assert not (tmp_path / "disk").exists()
    whole.how = lambda peer, body: send(peer, 200, body[::-1], etag='"1"')
    with RawServer(whole) as second:
        assert fetch(f"{second.url}/disk", tmp_path / "disk") == BODY[::-1]


def test_it_is_said_that_nothing_can_be_resumed(tmp_path):
    """Who downloads from a server without ranges is told once what that means; no more is shown than came."""
    told, seen = [], []
    with RawServer(WholeOnly({"content_length": "-"}, chunked, cuts=[3 * PART])) as server, new_wire() as wire:
        where = url.parse(f"{server.url}/disk?signature=secret")
        waiter = Waiter(report=told.append)
        means = {"wire": wire, "retrier": retrier(waiter=waiter), "advanced": lambda *now: seen.append(now)}
        fetch_file(WebStore(where, wire), where.ref, str(tmp_path / "disk"), **means)
    notes = [each.text for each in told if isinstance(each, Note)]
    assert len(notes) == 1
    assert "no ranges" in notes[0]
    assert "secret" not in str(told)
    assert seen == sorted(seen)
    assert seen[-1] == (len(BODY), len(BODY))


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (
            WholeOnly({"content_length": "-"}, hang_up),
            errors.ReplyRefused,
            "where it ends",
        ),
        (
            WholeOnly({"content_length": "-"}, lambda peer, body: chunked(peer, body, ended=False)),
            errors.NetworkError,
            "GET http",
        ),
        (WholeOnly(SIZED, lambda peer, body: send(peer, 200, body + b"x")), errors.ReplyRefused, "announces"),
        (WholeOnly({**SIZED, "content_type": "text/html; charset=utf-8"}), errors.ReplyRefused, "web page"),
    ],
    ids=["ends-by-hanging-up", "chunks-without-end", "other-size", "web-page"],
)
def test_what_no_one_can_vouch_for_is_no_file(tmp_path, answer, error, words):
    """A body that is not shown to be whole, or a portal's page in place of a disk, never becomes a file."""
    with RawServer(answer) as server, pytest.raises(error, match=words):
        fetch(f"{server.url}/disk.qcow2", tmp_path / "disk")
    assert not (tmp_path / "disk").exists()


@pytest.mark.parametrize("told", [{"etag": "-"}, {"etag": 'W/"1"'}])
@pytest.mark.parametrize(("age", "pinned"), [(3600, True), (1, False)])
def test_the_time_of_the_last_change_pins_like_an_etag_if_old_enough(tmp_path, told, age, pinned):
    """RFC 9110, 8.8.2.2: without a strong etag an old Last-Modified is held by each range, a young one is not."""
    changed, now = formatdate(1.7e9, usegmt=True), formatdate(1.7e9 + age, usegmt=True)
    good = OneObject(BODY)

    def answer(asked: Asked, peer: socket.socket) -> None:
        times = {"last_modified": changed, "date": now, "accept_ranges": "bytes"}
        if asked.method == "HEAD":
            send(peer, 200, **SIZED, **times, **told)
        else:
            start, stop = asked.range
            place = f"bytes {start}-{stop - 1}/{len(BODY)}"
            send(peer, 206, good.body[start:stop], content_range=place, **times, **told)

    with RawServer(answer) as server:
        assert fetch(f"{server.url}/disk", tmp_path / "disk") == BODY
        held = {asked.headers.get("if-unmodified-since") for asked in server.asked if asked.range}
    assert held == {changed if pinned else None}


@pytest.mark.parametrize(
    "changes",
    [
        lambda _, peer: send(peer, 412),
        lambda asked, peer: send(
            peer,
            206,
            b"x" * (asked.range[1] - asked.range[0]),
            content_range=f"bytes {asked.range[0]}-{asked.range[1] - 1}/{len(BODY)}",
            last_modified=formatdate(1.7e9 + 9, usegmt=True),
        ),
    ],
    ids=["honours-the-condition", "ignores-it"],
)
def test_an_object_that_changes_between_two_ranges_is_never_mixed(tmp_path, changes):
    """A server without etags whose object is replaced meanwhile gives no file of two halves."""
    old = {"last_modified": formatdate(1.7e9, usegmt=True), "date": formatdate(1.8e9, usegmt=True), **SIZED}

    def answer(asked: Asked, peer: socket.socket) -> None:
        if asked.method == "HEAD":
            send(peer, 200, accept_ranges="bytes", **old)
        elif asked.range[0] < 4 * PART:
            start, stop = asked.range
            place = f"bytes {start}-{stop - 1}/{len(BODY)}"
            send(peer, 206, BODY[start:stop], **{**old, "content_range": place, "content_length": str(stop - start)})
        else:
            changes(asked, peer)

    with RawServer(answer) as server, pytest.raises((errors.ObjectChanged, errors.ReplyRefused)):
        fetch(f"{server.url}/disk", tmp_path / "disk")
    assert not (tmp_path / "disk").exists()


def test_stored_gzip_stays_as_it_is(tmp_path):
    """C022: an object that is stored encoded comes raw; one that is encoded on the way is refused."""
    good = OneObject(BODY)

    def answer(asked: Asked, peer: socket.socket) -> bool | None:
        if asked.method == "HEAD":
            send(peer, 200, content_encoding="gzip", accept_ranges="bytes", etag="etag-1", **SIZED)
            return None
        return good(asked, peer)

    with RawServer(answer) as server:
        assert fetch(f"{server.url}/disk", tmp_path / "disk") == BODY
        assert {asked.headers["accept-encoding"] for asked in server.asked} == {"identity"}


def test_an_empty_object_is_an_empty_file(tmp_path):
    """A server that has no first byte to give (416) has an empty object, with HEAD and without."""
    for head in (200, 403):
        with RawServer(lambda asked, peer, head=head: send(peer, head if asked.method == "HEAD" else 416)) as server:
            assert fetch(f"{server.url}/disk", tmp_path / f"disk-{head}") == b""


def test_a_get_alone_may_be_redirected(tmp_path):
    """A server that refuses HEAD and redirects a GET is followed, and its ranges go where that leads."""
    with RawServer(OneObject(BODY)) as target:

        def first_host(asked: Asked, peer: socket.socket) -> None:
            send(peer, 405) if asked.method == "HEAD" else send(peer, 302, b"moved", location=f"{target.url}/there")

        with RawServer(first_host) as first:
            assert fetch(f"{first.url}/disk", tmp_path / "disk") == BODY
            assert len(first.asked) == 2


def test_a_redirect_never_leaves_tls(tmp_path):
    """A redirect from https to http is refused before anything is asked there."""
    place = Secret("https://host.example/disk")
    with new_wire() as wire:
        store = WebStore(url.parse(place.reveal()), wire)
        with pytest.raises(errors.RequestRefused, match="from https to http"):
            store._next(place, Reply(302, {"location": "http://host.example/disk"}, 0), url.parse(place.reveal()).ref)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_an_address_that_ended_says_so(tmp_path, status):
    """A presigned URL that the server no longer takes is told as one, with what to do; credentials are not to blame."""
    with (
        RawServer(lambda _, peer: send(peer, status)) as server,
        pytest.raises((errors.PermissionDenied, errors.NotFoundError, errors.RequestRefused)) as caught,
    ):
        fetch(f"{server.url}/disk?signature=secret", tmp_path / "disk")
    assert "get a new one" in str(caught.value)
    assert "secret" not in f"{caught.value!r} {caught.value} {caught.value.__dict__}"


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_a_servers_checksum_is_held_against_the_bytes(tmp_path, right, whole):
    """A CRC32C that a server vouches for proves the file, and bytes that it does not fit are never published."""
    told = base64.b64encode(crc32c.crc32c(BODY if right else b"other").to_bytes(4, "big")).decode()
    good = OneObject(BODY)

    def answer(asked: Asked, peer: socket.socket) -> bool | None:
        if asked.method == "HEAD":
            ranges = "none" if whole else "bytes"
            send(peer, 200, etag="etag-1", accept_ranges=ranges, x_goog_hash=f"crc32c={told}", **SIZED)
            return None
        return good(asked, peer)

    with RawServer(answer) as server, nullcontext() if right else pytest.raises(errors.VerificationError):
        fetch(f"{server.url}/disk", tmp_path / "disk")
    assert (tmp_path / "disk").exists() is right


@pytest.mark.parametrize("says_so", [False, True])
def test_a_slice_that_calls_itself_the_whole(tmp_path, says_so):
    """C013: a server that honours a range and says 200 is read whole; if it had promised ranges it is refused."""

    def answer(asked: Asked, peer: socket.socket) -> None:
        if asked.method == "HEAD":
            send(peer, 200, **SIZED, **({"accept_ranges": "bytes"} if says_so else {}))
        elif asked.range is None:
            send(peer, 200, BODY)
        else:
            start, stop = asked.range
            send(peer, 200, BODY[start:stop], content_range=f"bytes {start}-{stop - 1}/{len(BODY)}")

    with RawServer(answer) as server, pytest.raises(errors.ReplyRefused) if says_so else nullcontext():
        fetch(f"{server.url}/disk", tmp_path / "disk")
    assert (tmp_path / "disk").exists() is not says_so
    assert says_so or (tmp_path / "disk").read_bytes() == BODY
