"""Streams up and down, with peers that sleep and leave and services that fail: right bytes or the right error."""

from __future__ import annotations

import gzip
import io
import os
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from raw_server import OneObject, RawServer, send
from two_buckets import PART, TwoBuckets, two_buckets

from hypersdk import errors
from hypersdk.events import Waiting
from hypersdk.model import Checksum, ObjectInfo
from hypersdk.storage import url
from hypersdk.storage.backends.file import FileStore
from hypersdk.storage.backends.memory import MemoryStore
from hypersdk.storage.backends.web import WebStore
from hypersdk.storage.protocol import PutCondition, PutOptions
from hypersdk.transfer.checksums import as_checksum, crc32c
from hypersdk.transfer.flows import growth, held, silence, streams, window
from hypersdk.transfer.flows.streams import download_stream, upload_stream
from hypersdk.transfer.options import MIB, TransferOptions

BODY = random.Random(12).randbytes(9 * PART + 1)
SIZES = [0, 1, PART - 1, PART, PART + 1, 4 * PART - 1, 4 * PART, 4 * PART + 1]
ABSENT = PutOptions(PutCondition(if_absent=True), metadata={"run": "r1"})


@pytest.fixture
def shown() -> list[Any]:
    """What people saw."""
    return []


@pytest.fixture
def cloud(oci_emulator, tmp_path, shown) -> Iterator[TwoBuckets]:
    with two_buckets(oci_emulator, tmp_path, report=shown.append) as cloud:
        yield cloud


def send_up(cloud: TwoBuckets, file: Any, name: str = "copy", **fields: Any) -> ObjectInfo:
    return upload_stream(file, cloud.store, cloud.ref(name), **(cloud.means | {"put": ABSENT} | fields))


def read_down(cloud: TwoBuckets, file: Any, body: bytes = BODY, **fields: Any) -> tuple[Checksum, ...]:
    info = fields.pop("info", None) or cloud.store.head(cloud.put("disk", body))
    return download_stream(cloud.store, info, file, **(cloud.means | fields))


def expect_there(cloud: TwoBuckets, made: ObjectInfo, body: bytes = BODY) -> None:
    assert cloud.body("copy") == body
    assert made.size == len(body)
    assert as_checksum(crc32c(body)) in made.checksums
    found = cloud.store.head(made.ref)
    assert (found.etag, found.metadata["run"]) == (made.etag, "r1")
    assert cloud.uploads() == []


def expect_nothing(cloud: TwoBuckets) -> None:
    assert cloud.names() == []
    assert cloud.uploads() == []


@contextmanager
def piped(body: bytes, pieces: int = 5000, *, until: threading.Event | None = None) -> Iterator[io.BufferedReader]:
    """The reading end of a pipe that is filled by another thread; `until` holds the second half back."""
    reader, writer = os.pipe()

    def fill() -> None:
        with os.fdopen(writer, "wb", buffering=0) as end:
            try:
                for at in range(0, len(body), pieces):
                    if until is not None and at > len(body) // 2:
                        until.wait(30)
                    end.write(body[at : at + pieces])
            except BrokenPipeError:
                return

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        with os.fdopen(reader, "rb") as file:
            yield file
    finally:
        thread.join(30)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["memory", "pipe"])
def test_every_length_goes_up(cloud, size, kind):
    """C015: streams of any length arrive whole; one that fits into a part is one put, an empty one an empty object."""
    body, seen = BODY[:size], []
    advanced = lambda *now: seen.append(now)  # noqa: E731 - a callback
    if kind == "memory":
        made = send_up(cloud, io.BytesIO(body), advanced=advanced)
    else:
        with piped(body) as file:
            made = send_up(cloud, file, advanced=advanced)
    expect_there(cloud, made, body)
    assert bool(cloud.asked("CommitMultipartUpload")) == (size > PART)
    assert seen[-1] == (size, size)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("size", SIZES)
def test_every_size_comes_down(cloud, size):
    """C015: objects of any size come out in order and whole, and what came out is what the service vouches for."""
    out, seen = io.BytesIO(), []
    found = read_down(cloud, out, BODY[:size], advanced=lambda *now: seen.append(now))
    assert out.getvalue() == BODY[:size]
    assert found == (as_checksum(crc32c(BODY[:size])),)
    assert seen[-1] == (size, size)
    assert seen == sorted(seen)


def test_parts_grow_and_go_through_files(cloud, monkeypatch):
    """A long stream has growing parts; those too large for memory go through nameless files, of which none is left."""
    monkeypatch.setattr(streams, "growth_for", lambda *_, **__: growth.Growth(PART, 2, 1 << 30, 10_000))
    monkeypatch.setattr(growth, "IN_MEMORY", 2 * PART)
    monkeypatch.setattr(growth, "SPOOLED", 4 * PART)
    made_files = []
    real = held.InFile.__init__
    monkeypatch.setattr(held.InFile, "__init__", lambda self, *args: real(self, *args) or made_files.append(self))
    body = BODY * 5
    cloud.emulator.fault("UploadPart", "error", status=503, code="ServiceUnavailable", times=3)
    with piped(body) as file:
        expect_there(cloud, send_up(cloud, file), body)
    numbers = {each["path"].rpartition("uploadPartNum=")[2] for each in cloud.asked("UploadPart")}
    assert len(numbers) == 9, "45 parts of one size would be 45 requests"
    assert len(made_files) == 5
    assert all(file._file.closed for file in made_files)


PASSING = [
    ("UploadPart", "error", {"status": 503, "code": "ServiceUnavailable"}),
    ("UploadPart", "error", {"status": 429, "code": "TooManyRequests"}),
    ("UploadPart", "error", {"status": 401, "code": "NotAuthenticated"}),
    ("UploadPart", "early-refusal", {"status": 503, "code": "ServiceUnavailable", "afterBytes": 1000}),
    ("UploadPart", "cut-request", {"afterBytes": 1000}),
    ("UploadPart", "flip-request", {"at": 500}),
    ("UploadPart", "store-flipped", {"at": 500}),
    ("UploadPart", "lost-response", {}),
    ("UploadPart", "reset", {}),
    ("CreateMultipartUpload", "error", {"status": 503, "code": "ServiceUnavailable"}),
    ("CreateMultipartUpload", "lost-response", {}),
    ("CommitMultipartUpload", "lost-response", {}),
]


@pytest.mark.parametrize(("operation", "effect", "fields"), PASSING)
def test_passing_faults_cost_no_byte_of_a_stream(cloud, operation, effect, fields):
    """C013: whatever the service does for a while, the stream is not read again and arrives whole."""
    cloud.wiring.session.refresh = lambda: True
    cloud.emulator.fault(operation, effect, **fields)
    with piped(BODY) as file:
        expect_there(cloud, send_up(cloud, file))


@pytest.mark.parametrize("effect", ["error", "lost-response", "flip-request"])
def test_passing_faults_of_a_short_stream(cloud, effect):
    """A stream of one request survives faults, too."""
    fields = {"error": {"status": 503, "code": "ServiceUnavailable"}, "flip-request": {"at": 5}}.get(effect, {})
    cloud.emulator.fault("PutObject", effect, **fields)
    expect_there(cloud, send_up(cloud, io.BytesIO(BODY[:PART])), BODY[:PART])


class Failing(io.RawIOBase):
    """Gives so many bytes, then fails."""

    def __init__(self, good: int, error: BaseException) -> None:
        self._left = good
        self._error = error

    def readable(self) -> bool:
        return True

    def readinto(self, view) -> int:
        count = min(self._left, len(view), 1000)
        if not count:
            raise self._error
        self._left -= count
        view[:count] = bytes(count)
        return count


@pytest.mark.parametrize("good", [0, PART, 5 * PART + 3])
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt(), ZeroDivisionError()])
def test_stream_that_fails_is_never_committed(cloud, good, error):
    """A stream that cannot be read to its end becomes no object, and nothing is left of it."""
    with pytest.raises(errors.FileError if isinstance(error, OSError) else type(error)):
        send_up(cloud, Failing(good, error))
    expect_nothing(cloud)


@pytest.mark.parametrize(
    ("operation", "status", "error"),
    [("UploadPart", 503, errors.ServiceError), ("UploadPart", 403, errors.PermissionDenied)],
)
def test_faults_that_stay_leave_nothing(cloud, operation, status, error):
    """C085: an upload of a stream that fails for good is dropped; it says that a stream is to be given again."""
    cloud.emulator.fault(operation, "error", status=status, code="ServiceUnavailable", times="any")
    with pytest.raises(error) as caught:
        send_up(cloud, io.BytesIO(BODY))
    assert status == 403 or "cannot be resumed" in str(caught.value)
    expect_nothing(cloud)


def test_taken_name_is_kept(cloud):
    """C016: a stream that asks for absence never replaces an object."""
    cloud.put("copy", b"old", "there")
    for body in (BODY, BODY[:PART]):
        with pytest.raises(errors.AlreadyExists):
            send_up(cloud, io.BytesIO(body))
    assert cloud.body("copy") == b"old"
    assert cloud.uploads() == []


def test_writer_that_sleeps_is_waited_for(cloud, shown, monkeypatch):
    """C020: a pipe whose writer sleeps costs nothing and is shown; what is in flight and its retries go on."""
    monkeypatch.setattr(silence, "SHOWN_AFTER", 0.05)
    go_on = threading.Event()

    def report(event: object) -> None:
        shown.append(event)
        if isinstance(event, Waiting) and event.reason and "input" in event.reason:
            parts.extend(each for each in cloud.asked("UploadPart") if each["status"] == 200)
            go_on.set()

    parts: list[Any] = []
    cloud.wiring.waiter.report = report
    cloud.emulator.fault("UploadPart", "error", status=503, code="ServiceUnavailable", times=3)
    with piped(BODY, until=go_on) as file:
        expect_there(cloud, send_up(cloud, file))
    reasons = [event.reason for event in shown if isinstance(event, Waiting)]
    assert any(reason and "input gives nothing" in reason for reason in reasons)
    assert reasons[-1] is None
    assert parts, "parts were sent and tried again while the input gave nothing"


@pytest.mark.parametrize("sent", [10, 3 * PART])
def test_stop_ends_a_silent_stream(cloud, shown, monkeypatch, sent):
    """Ctrl-C ends the wait for a pipe that gives nothing, and says that the stream is to be given again."""
    monkeypatch.setattr(silence, "SHOWN_AFTER", 0.05)
    reader, writer = os.pipe()

    def report(event: object) -> None:
        if isinstance(event, Waiting) and event.reason:
            cloud.wiring.waiter.stop.set()

    cloud.wiring.waiter.report = report
    thread = threading.Thread(target=os.write, args=(writer, BODY[:sent]))
    thread.start()
    try:
        with os.fdopen(reader, "rb") as file, pytest.raises(errors.Interrupted, match="cannot be resumed"):
            send_up(cloud, file)
    finally:
        thread.join(10)
        os.close(writer)
    cloud.wiring.waiter.stop.clear()
    expect_nothing(cloud)


def test_file_objects_of_all_kinds(cloud, tmp_path):
    """Files, buffered or not, sockets, decompressors and plain objects with `read` are streams; text is refused."""
    path = tmp_path / "source"
    path.write_bytes(BODY)
    packed = tmp_path / "source.gz"
    packed.write_bytes(gzip.compress(BODY, 1))

    class Plain:
        def __init__(self) -> None:
            self._inner = io.BytesIO(BODY)

        def read(self, size: int) -> bytes:
            return self._inner.read(min(size, 3000))

    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=lambda: (theirs.sendall(BODY), theirs.close()))
    thread.start()
    with (
        path.open("rb") as buffered,
        path.open("rb", buffering=0) as raw,
        gzip.open(packed) as unpacked,
        ours,
        ours.makefile("rb") as received,
    ):
        for number, file in enumerate((buffered, raw, unpacked, received, Plain())):
            assert send_up(cloud, file, f"copy-{number}").size == len(BODY)
            assert cloud.body(f"copy-{number}") == BODY
    thread.join(10)
    with path.open() as text, pytest.raises(errors.UsageError, match="binary mode"):
        send_up(cloud, text)
    with pytest.raises(errors.UsageError, match="binary mode"):
        read_down(cloud, io.StringIO())


def test_what_was_read_ahead_is_not_lost(cloud):
    """A buffered pipe of which somebody has read the first bytes gives all the others."""
    with piped(BODY) as file:
        assert file.read(10) == BODY[:10]
        expect_there(cloud, send_up(cloud, file), BODY[10:])


@pytest.mark.parametrize("kind", ["file", "memory"])
@pytest.mark.parametrize("size", [0, 1, PART, 3 * PART + 1])
def test_local_stores(cloud, tmp_path, kind, size):
    """A stream goes into a file or into memory, and comes out again."""
    store = FileStore() if kind == "file" else MemoryStore()
    ref = url.parse(f"{tmp_path}/copy").ref
    upload_stream(io.BytesIO(BODY[:size]), store, ref, **cloud.means)
    out = io.BytesIO()
    download_stream(store, store.head(ref), out, **cloud.means)
    assert out.getvalue() == BODY[:size]
    if kind == "file":
        assert [path.name for path in tmp_path.iterdir()] == ["copy"]
    else:
        store.close()


def test_stream_into_a_file_is_written_once(cloud, tmp_path, monkeypatch):
    """A stream into a file needs its own room and no more; one that fails, or is stopped, leaves nothing there."""
    monkeypatch.setattr("hypersdk.storage.backends.file.shutil.copyfileobj", None)
    ref, store = url.parse(f"{tmp_path}/copy").ref, FileStore()
    seen: list[tuple[int, int]] = []
    with piped(BODY) as file:
        made = upload_stream(file, store, ref, advanced=lambda *now: seen.append(now), **cloud.means)
    assert (tmp_path / "copy").read_bytes() == BODY
    assert (made.size, seen[-1]) == (len(BODY), (len(BODY), len(BODY)))
    with pytest.raises(errors.FileError):
        upload_stream(Failing(PART, OSError(5, "Input/output error")), store, ref, **cloud.means)
    with pytest.raises(errors.AlreadyExists):
        upload_stream(io.BytesIO(BODY), store, ref, put=ABSENT, **cloud.means)
    cloud.wiring.waiter.stop.set()
    with pytest.raises(errors.Interrupted, match="cannot be resumed"):
        upload_stream(io.BytesIO(BODY), store, ref, **cloud.means)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
    assert (tmp_path / "copy").read_bytes() == BODY


def test_address_that_takes_no_parts(cloud):
    """A short stream goes to an address that takes PUT alone; a longer one is refused before anything is sent."""
    with RawServer(lambda _, peer: send(peer, 201, etag="new")) as server:
        address = url.parse(f"{server.url}/disk")
        store = WebStore(address, cloud.wiring.wire)
        upload_stream(io.BytesIO(BODY[:PART]), store, address.ref, **cloud.means)
        assert server.asked.pop().body == BODY[:PART]
        with pytest.raises(errors.UsageError, match="in parts"):
            upload_stream(io.BytesIO(BODY), store, address.ref, **cloud.means)
        assert server.asked == []


DOWN = [
    ("cut-body", {"afterBytes": 1000}),
    ("error", {"status": 503, "code": "ServiceUnavailable"}),
    ("error", {"status": 401, "code": "NotAuthenticated"}),
    ("short-body", {"afterBytes": 1000}),
    ("shifted-range", {}),
    ("short-range", {}),
    ("whole-body", {}),
    ("stale-etag", {}),
    ("html", {}),
    ("gzip", {}),
    ("reset", {"afterBytes": 1000}),
    ("delay", {"seconds": 0.2}),
]


@pytest.mark.parametrize(("effect", "fields"), DOWN)
def test_passing_faults_come_out_nowhere(cloud, effect, fields):
    """C013: whatever the service does for a while, each byte comes out once, in order."""
    cloud.wiring.session.refresh = lambda: True
    info = cloud.store.head(cloud.put("disk", BODY))
    times = 1 if fields.get("status") == 401 else 2  # a second 401 in a row is final
    cloud.emulator.fault("GetObject", effect, times=times, **fields)
    out = io.BytesIO()
    read_down(cloud, out, info=info)
    assert out.getvalue() == BODY


def test_cut_range_goes_on_where_it_stands(cloud):
    """A range whose connection is cut again and again is not fetched from its start: each byte comes once."""
    good = OneObject(BODY)

    def answer(asked, peer):
        start, stop = asked.range
        if stop - start <= 1000:
            return good(asked, peer)
        head = f"content-range: bytes {start}-{stop - 1}/{len(BODY)}\r\netag: etag-1\r\n"
        peer.sendall(f"HTTP/1.1 206 x\r\ncontent-length: {stop - start}\r\n{head}\r\n".encode())
        peer.sendall(BODY[start : start + (stop - start) // 2])
        return False

    means = cloud.means
    means["retrier"].policy = type(means["retrier"].policy)(20, 0.001, 0.002)
    with RawServer(answer) as server:
        address = url.parse(f"{server.url}/disk")
        store, out = WebStore(address, cloud.wiring.wire), io.BytesIO()
        download_stream(store, ObjectInfo(address.ref, len(BODY), "etag-1"), out, **means)
        starts = [asked.range[0] for asked in server.asked]
    assert out.getvalue() == BODY
    assert len(starts) == len(set(starts))


@pytest.mark.parametrize(
    ("status", "error"),
    [(503, errors.ServiceError), (403, errors.PermissionDenied), (412, errors.ObjectChanged)],
)
def test_faults_that_stay_end_it(cloud, status, error):
    """An object that cannot be read, or was replaced, ends the stream with its error; what came out is its start."""
    info = cloud.store.head(cloud.put("disk", BODY))
    cloud.emulator.fault("GetObject", "error", status=status, code="X", times="any", skip=4)
    out = io.BytesIO()
    with pytest.raises(error):
        read_down(cloud, out, info=info)
    assert BODY.startswith(out.getvalue())
    assert len(out.getvalue()) < len(BODY)


@pytest.mark.parametrize("size", [0, 1, len(BODY)])
def test_bytes_that_nobody_vouches_for_do_not_end_well(cloud, size):
    """Bytes with another checksum than the service's end as a verification error, and their end never comes out."""
    from dataclasses import replace

    info = cloud.store.head(cloud.put("disk", BODY[:size]))
    out = io.BytesIO()
    with pytest.raises(errors.VerificationError, match="checksums differ") as caught:
        read_down(cloud, out, info=replace(info, checksums=(Checksum("crc32c", "12345678"),)))
    assert caught.value.exit_code == 7
    assert len(out.getvalue()) < max(size, 1)


@contextmanager
def outlet() -> Iterator[tuple[io.BufferedWriter, int]]:
    """A pipe: its writing end as a file, and the descriptor of its reading end."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as file:
        try:
            yield file, reader
        finally:
            os.close(reader)


def test_reader_that_sleeps_is_waited_for(cloud, shown, monkeypatch):
    """C020: a reader that sleeps costs no attempt and is shown; no more is fetched meanwhile than memory holds."""
    monkeypatch.setattr(silence, "SHOWN_AFTER", 0.05)
    monkeypatch.setattr(window, "MEMORY", 6)
    asleep, got, asked = threading.Event(), bytearray(), []
    body = BODY * 8

    with outlet() as (file, reader):

        def read() -> None:
            asleep.wait(10)
            while len(got) < len(body):
                got.extend(os.read(reader, 65536))

        def report(event: object) -> None:
            shown.append(event)
            if isinstance(event, Waiting) and event.reason and not asleep.is_set():
                asked.append(len(cloud.asked("GetObject")))
                asleep.set()

        cloud.wiring.waiter.report = report
        thread = threading.Thread(target=read)
        thread.start()
        read_down(cloud, file, body)
        thread.join(30)
    assert bytes(got) == body
    assert asked[0] <= 6 + 2
    reasons = [event.reason for event in shown if isinstance(event, Waiting)]
    assert any(reason and "nobody takes the output" in reason for reason in reasons)
    assert reasons[-1] is None


def test_reader_that_leaves_ends_it(cloud):
    """A reader that goes away is a broken pipe, as everywhere in Python."""
    reader, writer = os.pipe()
    os.close(reader)
    file = os.fdopen(writer, "wb", buffering=0)
    with file, pytest.raises(BrokenPipeError):
        read_down(cloud, file, BODY * 4)


def test_stop_ends_a_stream_that_nobody_reads(cloud, shown, monkeypatch):
    """Ctrl-C ends a download into a pipe that nobody reads, at once."""
    monkeypatch.setattr(silence, "SHOWN_AFTER", 0.05)
    monkeypatch.setattr(window, "MEMORY", 6)

    def report(event: object) -> None:
        if isinstance(event, Waiting) and event.reason:
            cloud.wiring.waiter.stop.set()

    cloud.wiring.waiter.report = report
    with outlet() as (file, _), pytest.raises(errors.Interrupted):
        read_down(cloud, file, BODY * 4)


def test_full_output_is_said(cloud):
    """An output without room is a full disk, one that fails otherwise a file error."""
    with open("/dev/full", "wb", buffering=0) as file, pytest.raises(errors.DiskFull, match="output"):  # noqa: PTH123
        read_down(cloud, file)

    class Broken(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, _data) -> int:
            raise OSError(5, "Input/output error")

    with pytest.raises(errors.FileError, match="output"):
        read_down(cloud, Broken())


def test_pipe_that_somebody_made_non_blocking(cloud):
    """A pipe whose other users have set O_NONBLOCK is written to all the same."""
    body = BODY * 4
    got = bytearray()
    with outlet() as (file, reader):
        os.set_blocking(file.fileno(), False)

        def read() -> None:
            while len(got) < len(body):
                got.extend(os.read(reader, 5000))

        thread = threading.Thread(target=read)
        thread.start()
        read_down(cloud, file, body)
        thread.join(30)
    assert bytes(got) == body


def test_ranges_stay_small(cloud):
    """However large the parts asked for, a stream reads ranges that the window has memory for."""
    body = bytes(5 * MIB + 1)
    out = io.BytesIO()
    read_down(cloud, out, body, options=TransferOptions(64 * MIB, 2))
    assert out.getvalue() == body
    assert len(cloud.asked("GetObject")) == 3
