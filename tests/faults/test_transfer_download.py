"""Downloads against a server that fails in every way: the file is right or absent, finished parts are kept."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from http_store import HttpStore, info_of, new_wire, ranges_asked, retrier
from raw_server import OneObject, RawServer, reset, send

from hypersdk import errors
from hypersdk.model import ByteRange, Checksum
from hypersdk.transfer import checksums, journal, partial
from hypersdk.transfer.engine import download, verify_object
from hypersdk.transfer.options import TransferOptions
from hypersdk.waiting import StopFlag, Waiter

PART = 64 * 1024
OPTIONS = TransferOptions(part_size=PART, parallel=4)
BODY = random.Random(1).randbytes(20 * PART + 1)


def fetch(server: RawServer, destination: Path, body: bytes = BODY, **fields) -> partial.SealedPartial:
    """Download with fresh connections."""
    fields = {"retrier": retrier(), "options": OPTIONS, "info": info_of(body)} | fields
    with new_wire() as wire:
        return download(HttpStore(server.url), fields.pop("info"), str(destination), wire=wire, **fields)


def bytes_of(sealed: partial.SealedPartial) -> bytes:
    return Path(sealed.path).read_bytes()


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 3 * PART - 1, 3 * PART, 3 * PART + 1])
def test_every_size_arrives(tmp_path, size):
    """C015: sizes around multiples of a part arrive whole, under a name that nobody takes for the result."""
    body = BODY[:size]
    seen = []
    with RawServer(OneObject(body)) as server:
        sealed = fetch(server, tmp_path / "disk", body, advanced=lambda *now: seen.append(now))
    assert bytes_of(sealed) == body
    assert sealed.checksums == (Checksum("crc32c", f"{checksums.crc32c(body):08x}"),)
    assert seen[-1] == (size, size)
    assert seen == sorted(seen)
    assert not (tmp_path / "disk").exists()


FAULTS = {
    "reset": lambda _, peer: reset(peer),
    "503": lambda _, peer: send(peer, 503, retry_after="0"),
    "429": lambda _, peer: send(peer, 429),
    "whole body": lambda _, peer: send(peer, 200, BODY, etag="etag-1"),
    "html": lambda _, peer: send(peer, 200, b"<html>please log in</html>"),
    "shifted": lambda asked, peer: send(
        peer, 206, b"x" * PART, etag="etag-1", content_range=f"bytes {asked.range[0] + 1}-{asked.range[1]}/{len(BODY)}"
    ),
    "cut": lambda asked, peer: (
        peer.sendall(
            f"HTTP/1.1 206 x\r\ncontent-length: {asked.range[1] - asked.range[0]}\r\netag: etag-1\r\n"
            f"content-range: bytes {asked.range[0]}-{asked.range[1] - 1}/{len(BODY)}\r\n\r\n".encode()
            + BODY[asked.range[0] : asked.range[0] + 1000]
        )
        or reset(peer)
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_passing_faults_are_outlasted(tmp_path, fault):
    """C013: faults that pass are tried again, wrong replies never reach the file."""
    with RawServer(OneObject(BODY, faults=[None, fault, fault, None, fault])) as server:
        assert bytes_of(fetch(server, tmp_path / "disk")) == BODY


def test_faults_that_stay_end_it_with_parts_kept(tmp_path):
    """Standing still after the last try, it gives up as a passing fault; the next run fetches only what is missing."""
    bad = (5 * PART, 6 * PART)
    good = OneObject(BODY)

    def answer(asked, peer):
        return send(peer, 500) if asked.range == bad else good(asked, peer)

    with RawServer(answer) as server, pytest.raises(errors.ServiceError):
        fetch(server, tmp_path / "disk", retrier=retrier(attempts=3))
    assert ranges_asked(server).count(bad) >= 3
    with RawServer(good) as server:
        assert bytes_of(fetch(server, tmp_path / "disk")) == BODY
        assert ranges_asked(server) == [bad], "the others arrived meanwhile: it does not give up while it moves"


CHILD = """
import sys
from http_store import HttpStore, info_of, new_wire, retrier
from hypersdk.transfer.engine import download
from hypersdk.transfer.options import TransferOptions
size, url, destination = int(sys.argv[1]), sys.argv[2], sys.argv[3]
options = TransferOptions(part_size=64 * 1024, parallel=2)
download(HttpStore(url), info_of(bytes(size)), destination, wire=new_wire(), retrier=retrier(), options=options)
"""


def journaled(destination: Path) -> dict[ByteRange, int]:
    """The good ranges of a download so far."""
    contents = journal.parse((destination.parent / partial.journal_name(destination.name)).read_bytes())
    return dict(contents.ranges) if contents else {}


def test_cut_part_goes_on_where_it_stands(tmp_path):
    """A part whose connection is cut again and again is not fetched from its start: each byte comes once."""
    good = OneObject(BODY)

    def answer(asked, peer):
        start, stop = asked.range
        if stop - start <= 1000:
            return good(asked, peer)
        head = f"content-range: bytes {start}-{stop - 1}/{len(BODY)}\r\netag: etag-1\r\n"
        peer.sendall(f"HTTP/1.1 206 x\r\ncontent-length: {stop - start}\r\n{head}\r\n".encode())
        peer.sendall(BODY[start : start + (stop - start) // 2])
        return False

    with RawServer(answer) as server:
        sealed = fetch(server, tmp_path / "disk", BODY, retrier=retrier(attempts=20))
        assert bytes_of(sealed) == BODY
        first_bytes = [start for start, _ in ranges_asked(server)]
        assert len(first_bytes) == len(set(first_bytes))


def test_killed_download_resumes(tmp_path):
    """After kill -9 only the missing parts are fetched, whatever part size the second run has."""
    good, held, release = OneObject(BODY), threading.Semaphore(0), threading.Event()

    def answer(asked, peer):
        if asked.range[0] >= 8 * PART:
            held.release()
            release.wait(30)
            return False
        return good(asked, peer)

    with RawServer(answer) as server:
        harness = str(Path(__file__).parents[1] / "harness")
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(len(BODY)), server.url, str(tmp_path / "disk")],
            env=os.environ | {"PYTHONPATH": harness},
        )
        try:
            for _ in range(2):  # both connections ask for what comes after eight parts
                assert held.acquire(timeout=30)
            while len(journaled(tmp_path / "disk")) < 8:  # writes overlap with what is asked next
                release.wait(0.01)
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait(30)
            release.set()
    with RawServer(good) as server:
        assert bytes_of(fetch(server, tmp_path / "disk", options=TransferOptions(2 * PART, 4))) == BODY
        assert ranges_asked(server)[0] == (8 * PART, 10 * PART)
        assert sum(stop - start for start, stop in ranges_asked(server)) == len(BODY) - 8 * PART


def test_second_process_is_refused(tmp_path):
    """Two processes never write one partial file: the second is told so at once."""
    with RawServer(OneObject(BODY)) as server, partial.Partial(str(tmp_path / "disk")):
        with pytest.raises(errors.FileError, match="another process"):
            fetch(server, tmp_path / "disk")
        assert server.asked == []


def interrupt_after(server: RawServer, destination: Path, parts: int) -> None:
    """Leave a partial with at least so many finished parts."""
    stop = StopFlag()

    def advanced(done: int, _total: int) -> None:
        if done >= parts * PART:
            stop.set()

    with pytest.raises(errors.Interrupted):
        fetch(server, destination, advanced=advanced, retrier=retrier(waiter=Waiter(stop)))


def test_interrupted_download_keeps_its_parts(tmp_path):
    """A stop ends the transfer at once; the parts so far are not fetched again."""
    with RawServer(OneObject(BODY)) as server:
        interrupt_after(server, tmp_path / "disk", 5)
        before = len(server.asked)
        assert bytes_of(fetch(server, tmp_path / "disk")) == BODY
        assert before < 21
        assert len(server.asked) <= 21 + OPTIONS.parallel


def flip(path: str, at: int) -> None:
    with Path(path).open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def test_other_boot_reads_everything_back(tmp_path, monkeypatch):
    """With another boot id a journaled range with other bytes on the disk is found and fetched again, no other."""
    with RawServer(OneObject(BODY, faults=[None] * 20 + [lambda _, peer: send(peer, 403)])) as server:
        with pytest.raises(errors.PermissionDenied):
            fetch(server, tmp_path / "disk", options=TransferOptions(PART, 1))
        flip(str(tmp_path / partial.partial_name("disk")), 7 * PART + 100)
        server.asked.clear()
        monkeypatch.setattr(partial, "current_boot_id", lambda: "another boot")
        sealed = fetch(server, tmp_path / "disk")
        assert bytes_of(sealed) == BODY
        assert ranges_asked(server) == [(7 * PART, 8 * PART), (20 * PART, 20 * PART + 1)]


def test_sealed_journal_is_trusted_after_a_reboot(tmp_path, monkeypatch):
    """A file that was sealed needs no byte again, in any boot."""
    with RawServer(OneObject(BODY)) as server:
        fetch(server, tmp_path / "disk")
        server.asked.clear()
        monkeypatch.setattr(partial, "current_boot_id", lambda: "another boot")
        monkeypatch.setattr(partial.Partial, "_read_back", None)
        assert bytes_of(fetch(server, tmp_path / "disk")) == BODY
        assert server.asked == []


@pytest.mark.parametrize("what", ["journal lost", "other etag", "other size", "swapped file"])
def test_foreign_leftovers_count_for_nothing(tmp_path, what):
    """A partial file without its journal, or of another object, is started anew."""
    place, journal = tmp_path / partial.partial_name("disk"), tmp_path / partial.journal_name("disk")
    body, info = BODY, info_of(BODY, etag="etag-1")
    with RawServer(OneObject(BODY)) as server:
        fetch(server, tmp_path / "disk")
    if what == "journal lost":
        journal.unlink()
        place.write_bytes(b"x" * len(BODY))
    elif what == "other etag":
        body = BODY[::-1]
        info = info_of(body, etag="etag-2")
    elif what == "other size":
        body = BODY[:-5]
        info = info_of(body)
    else:
        place.rename(tmp_path / "other")
        place.write_bytes(b"x" * len(BODY))
    with RawServer(OneObject(body, etag=info.etag)) as server:
        assert bytes_of(fetch(server, tmp_path / "disk", info=info)) == body


def test_full_disk_keeps_finished_parts(tmp_path, monkeypatch):
    """No room in mid-download is an error that can be resumed; finished parts are not fetched again."""
    real = os.pwrite

    def pwrite(file, data, offset):
        if offset >= 10 * PART:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data, offset)

    with RawServer(OneObject(BODY)) as server:
        monkeypatch.setattr(os, "pwrite", pwrite)
        with pytest.raises(errors.DiskFull) as caught:
            fetch(server, tmp_path / "disk", options=TransferOptions(PART, 1))
        assert caught.value.exit_code == 8
        monkeypatch.undo()
        server.asked.clear()
        assert bytes_of(fetch(server, tmp_path / "disk")) == BODY
        assert ranges_asked(server)[0] == (10 * PART, 11 * PART)


def test_file_size_limit_is_a_full_disk(tmp_path):
    """A limit on file sizes (ulimit -f) is reported like a full disk, before anything is fetched."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with RawServer(OneObject(BODY)) as server:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10 * PART, hard))
        try:
            with pytest.raises(errors.DiskFull):
                fetch(server, tmp_path / "disk")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert server.asked == []


def test_replaced_object_ends_it(tmp_path):
    """An object that is replaced in mid-download is never mixed: the transfer ends as "changed"."""
    server_object = OneObject(BODY, faults=[None, None, lambda _, peer: send(peer, 412)])
    with RawServer(server_object) as server, pytest.raises(errors.ObjectChanged, match="replaced"):
        fetch(server, tmp_path / "disk")


def test_expired_credentials_are_refreshed_once(tmp_path):
    """Parts refused with 401 are asked again after one refresh; a second refusal ends the transfer."""
    refreshed = []
    refuse = lambda _, peer: send(peer, 401)  # noqa: E731 - a table entry, not a function to name
    good = OneObject(BODY)

    def answer(asked, peer):
        return good(asked, peer) if refreshed or len(server.asked) < 3 else refuse(asked, peer)

    with RawServer(answer) as server:
        sealed = fetch(server, tmp_path / "disk", retrier=retrier(refresh=lambda: refreshed.append(1) or True))
    assert bytes_of(sealed) == BODY
    assert refreshed == [1]
    with RawServer(refuse) as server, pytest.raises(errors.NotAuthenticated):
        fetch(server, tmp_path / "other", retrier=retrier(refresh=lambda: refreshed.append(2) or True))
    assert refreshed == [1, 2]
    with RawServer(refuse) as server, pytest.raises(errors.NotAuthenticated):
        fetch(server, tmp_path / "other")


def test_network_that_is_down_costs_no_attempt(tmp_path):
    """While the endpoint is away nothing is submitted and no attempt is spent; then the transfer goes on."""
    away = threading.Event()
    asked_while_away, probes, now = [], [], [0.0]
    good = OneObject(BODY)

    def answer(asked, peer):
        if away.is_set():
            asked_while_away.append(asked)
        if asked.range[0] >= 6 * PART and not probes:
            away.set()
        return reset(peer) if away.is_set() else good(asked, peer)

    def probe() -> bool:
        probes.append(len(asked_while_away))
        if len(probes) == 6:
            away.clear()
        return not away.is_set()

    def sleep(seconds: float) -> bool:
        now[0] += seconds
        return False

    shown = []
    waiter = Waiter(clock=lambda: now[0], sleep=sleep, report=shown.append)
    with RawServer(answer) as server:
        sealed = fetch(server, tmp_path / "disk", retrier=retrier(attempts=1, probe=probe, waiter=waiter))
    assert bytes_of(sealed) == BODY
    assert any("network down since" in (getattr(event, "reason", None) or "") for event in shown)
    # Only what was in flight already; libcurl sends a request once more when a kept-alive connection turns out dead.
    assert len(asked_while_away) <= 2 * OPTIONS.parallel


def test_slow_sync_holds_up_no_heartbeat(tmp_path, monkeypatch):
    """While a slow disk takes the data, hooks run on, and a stop ends the transfer at once with all parts kept."""
    slow, waiter = threading.Event(), Waiter()
    beats = []

    def beat() -> None:
        beats.append(slow.is_set())
        if beats.count(True) == 3:
            waiter.stop.set()

    def fdatasync(_: int) -> None:
        slow.set()
        release.wait(30)

    release = threading.Event()
    monkeypatch.setattr(os, "fdatasync", fdatasync)
    waiter.hooks.append(beat)
    with RawServer(OneObject(BODY)) as server:
        with pytest.raises(errors.Interrupted):
            fetch(server, tmp_path / "disk", retrier=retrier(waiter=waiter))
        release.set()
        server.asked.clear()
        monkeypatch.undo()
        assert bytes_of(fetch(server, tmp_path / "disk")) == BODY
        assert server.asked == []


def test_wrong_checksum_is_forgotten(tmp_path):
    """Bytes that differ from the service's own checksum are an error, and are not kept for the next run."""
    wrong = info_of(BODY, Checksum("crc32c", "00000000"))
    right = info_of(BODY, Checksum("crc32c", f"{checksums.crc32c(BODY):08x}"))
    with RawServer(OneObject(BODY)) as server:
        with pytest.raises(errors.VerificationError, match="oci://ns/bucket/prefix/disk"):
            fetch(server, tmp_path / "disk", info=wrong)
        server.asked.clear()
        assert bytes_of(fetch(server, tmp_path / "disk", info=right)) == BODY
        assert len(server.asked) == 21


def test_object_is_verified_without_a_file(tmp_path):
    """An object can be read whole and proven without being stored; other bytes than expected are found."""
    found = Checksum("crc32c", f"{checksums.crc32c(BODY):08x}")
    with RawServer(OneObject(BODY, faults=[None, lambda _, peer: reset(peer)])) as server, new_wire() as wire:
        store, means = HttpStore(server.url), {"wire": wire, "retrier": retrier(), "options": OPTIONS}
        assert verify_object(store, info_of(BODY), expected=(found,), **means) == (found,)
        with pytest.raises(errors.VerificationError, match="differ"):
            verify_object(store, info_of(BODY), expected=(Checksum("crc32c", "1"),), **means)
    assert list(tmp_path.iterdir()) == []


def test_no_secret_is_written(tmp_path):
    """Neither journal nor errors carry the address that authorizes itself."""
    with RawServer(OneObject(BODY, faults=[lambda _, peer: send(peer, 403)])) as server:
        with pytest.raises(errors.PermissionDenied) as caught:
            fetch(server, tmp_path / "disk")
        fetch(server, tmp_path / "disk")
    assert "very-secret" not in str(caught.value)
    assert b"very-secret" not in (tmp_path / partial.journal_name("disk")).read_bytes()
