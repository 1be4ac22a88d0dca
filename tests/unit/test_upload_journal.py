"""Upload journals: any damage only forgets, one process at a time, and no journal is no obstacle."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk import errors
from hypersdk.events import Note, null_reporter
from hypersdk.model import ObjectRef
from hypersdk.storage.protocol import PutCondition, PutOptions
from hypersdk.transfer.uploads import uploadjournal
from hypersdk.transfer.uploads.localsource import SourceFile
from hypersdk.transfer.uploads.uploadjournal import Contents, Intent, Known, claim, digest_of, journal_name, parse

REF = ObjectRef("oci", "ns", "bucket", "disk")
INTENT = Intent(str(REF), SourceFile("/data/disk", 1, 2, 3 << 20, 4), 1 << 20, "abc", 1.5)
PARTS = {number: Known(f"etag-{number}", 1000 + number, proven=number != 2) for number in range(1, 5)}


def written(folder: Path) -> bytes:
    """A whole journal."""
    with claim(str(folder), "/data/disk", REF, null_reporter) as journal:
        journal.intend(INTENT)
        journal.created("upload-1")
        for number, known in PARTS.items():
            journal.record(number, known)
    (path,) = folder.iterdir()
    data = path.read_bytes()
    path.unlink()
    return data


def test_what_was_written_is_read(tmp_path):
    """Intent, upload and parts come back as they were noted."""
    assert parse(written(tmp_path)) == Contents(INTENT, "upload-1", PARTS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    return written(tmp_path_factory.mktemp("journal"))


@given(data=st.data())
def test_any_damage_only_forgets(whole, data):
    """Cut anywhere, or with any byte changed, a journal says less, and never anything that was not noted."""
    cut = data.draw(st.integers(0, len(whole)))
    damaged = bytearray(whole[:cut])
    if damaged:
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    found = parse(bytes(damaged))
    if found is not None:
        assert found.intent == INTENT
        assert found.upload_id in {"", "upload-1"}
        assert found.parts.items() <= PARTS.items()


@given(st.binary(max_size=300))
def test_foreign_files_are_no_journals(data):
    """Whatever stands there in place of a journal is no journal, and raises nothing."""
    assert parse(data) is None


def test_torn_line_does_not_swallow_the_next(tmp_path):
    """After a torn line new lines stand alone."""
    place = str(tmp_path)
    with claim(place, "/data/disk", REF, null_reporter) as journal:
        journal.intend(INTENT)
        journal.created("upload-1")
    (path,) = tmp_path.iterdir()
    with path.open("ab") as file:
        file.write(b'{"part":1,"et')
    with claim(place, "/data/disk", REF, null_reporter) as journal:
        assert journal.load() == Contents(INTENT, "upload-1", {})
        assert journal.holds
        journal.record(2, PARTS[2])
    assert parse(path.read_bytes()) == Contents(INTENT, "upload-1", {2: PARTS[2]})


def test_one_process_at_a_time(tmp_path):
    """A journal that is in use is refused; another file or target has its own."""
    with claim(str(tmp_path), "/data/disk", REF, null_reporter):
        with pytest.raises(errors.BusyError, match="another process uploads /data/disk"):
            claim(str(tmp_path), "/data/disk", REF, null_reporter).__enter__()
        with claim(str(tmp_path), "/data/other", REF, null_reporter):
            assert len(list(tmp_path.iterdir())) == 2
    with claim(str(tmp_path), "/data/disk", REF, null_reporter):
        pass


def test_forgotten_journal_is_not_locked_by_name(tmp_path):
    """Who waits for the lock of a journal that its owner deletes gets a new file, not the deleted one."""
    with claim(str(tmp_path), "/data/disk", REF, null_reporter) as first:
        first.intend(INTENT)
        first.forget()
        with claim(str(tmp_path), "/data/disk", REF, null_reporter) as second:
            second.intend(INTENT)
            (path,) = tmp_path.iterdir()
            assert parse(path.read_bytes()) is not None


def test_deleted_between_open_and_lock(tmp_path, monkeypatch):
    """A journal that is deleted after it was opened and before it was locked is opened anew."""
    import fcntl

    flock, deleted = fcntl.flock, []

    def late(descriptor: int, how: int) -> None:
        if not deleted:
            (path,) = tmp_path.iterdir()
            path.unlink()
            deleted.append(path)
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with claim(str(tmp_path), "/data/disk", REF, null_reporter) as journal:
        journal.intend(INTENT)
        assert deleted[0].exists()


@pytest.mark.parametrize("obstacle", ["file", "link"])
def test_no_place_is_one_note(tmp_path, obstacle):
    """Where no journal can be, or somebody has put a link, nothing is written, nothing fails, and one line says so."""
    told: list[object] = []
    place, precious = tmp_path / "uploads", tmp_path / "precious"
    precious.write_bytes(b"keep")
    if obstacle == "file":
        place.write_bytes(b"")
    else:
        place.mkdir()
        (place / journal_name("/data/disk", str(REF))).symlink_to(precious)
    with claim(str(place), "/data/disk", REF, told.append) as journal:
        assert journal.load() is None
        journal.intend(INTENT)
        journal.created("upload-1")
        journal.record(1, PARTS[1])
        assert not journal.holds
        journal.forget()
    assert [type(event) for event in told] == [Note]
    assert precious.read_bytes() == b"keep"


@pytest.mark.parametrize("broken", ["write", "fsync"])
def test_disk_that_takes_no_id_holds_nothing(tmp_path, monkeypatch, broken):
    """An upload whose id is not on the disk is not promised to anybody."""
    told: list[object] = []
    with claim(str(tmp_path), "/data/disk", REF, told.append) as journal:
        journal.intend(INTENT)

        def fail(*_: object) -> int:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(uploadjournal.os, broken, fail)
        journal.created("upload-1")
        journal.record(1, PARTS[1])
        monkeypatch.undo()
        assert not journal.holds
    assert len(told) == 1


def test_short_write_is_a_full_disk(tmp_path, monkeypatch):
    """A line that is written only in part is as good as none."""
    told: list[object] = []
    with claim(str(tmp_path), "/data/disk", REF, told.append) as journal:
        journal.intend(INTENT)
        monkeypatch.setattr(uploadjournal.os, "write", lambda _, data: len(data) - 1)
        journal.created("upload-1")
        monkeypatch.undo()
        assert not journal.holds
    assert "No space left on device" in str(told)


def test_only_the_owner_reads_it(tmp_path):
    """Directory and journal are the user's alone."""
    place = tmp_path / "state" / "uploads"
    with claim(str(place), "/data/disk", REF, null_reporter):
        (path,) = place.iterdir()
        assert path.stat().st_mode & 0o777 == 0o600
        assert place.stat().st_mode & 0o777 == 0o700


def test_names_are_of_absolute_paths(tmp_path, monkeypatch):
    """The same file from another directory has the same journal; bytes that are no text have one too."""
    monkeypatch.chdir(tmp_path)
    assert journal_name("disk", "t") == journal_name(str(tmp_path / "disk"), "t")
    assert journal_name(os.fsdecode(b"/\xff"), "t") != journal_name("/a", "t")
    assert journal_name("/a", "b") != journal_name("/a", "c")


def test_digest_is_of_what_a_create_fixes():
    """Metadata and content headers make another upload; the order of keys and the condition do not."""
    plain = digest_of(PutOptions(metadata={"a": "1", "b": "2"}))
    assert plain == digest_of(PutOptions(PutCondition(if_absent=True), metadata={"b": "2", "a": "1"}))
    assert plain != digest_of(PutOptions(metadata={"a": "1"}))
    assert plain != digest_of(PutOptions(metadata={"a": "1", "b": "2"}, content_type="text/plain"))
    assert plain != digest_of(PutOptions(metadata={"a": "1", "b": "2"}, headers={"content-encoding": "gzip"}))
