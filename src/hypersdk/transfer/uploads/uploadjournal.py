"""Which parts of an upload the service has: an append-only journal in a directory of the user's state.

Rules of this file:
- Lines are those of `journal.py`: each stands for itself, a torn or damaged one is as if it had never been written.
- The intent is on the disk before the upload is created, and the upload's id before its first part is sent: so nothing
  that costs money is ever forgotten. A part's line is not synced: losing it costs sending or comparing that part again.
- It is not the truth: the service's own list of parts is. A line only says what bytes an etag stands for.
- One process drives an upload: the journal is locked while it is used, and deleted before the lock is given back.
- Nothing secret is in it: no URL, no token. Where it cannot be written the upload goes on without it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hypersdk import errors, events
from hypersdk.model import ObjectRef
from hypersdk.storage.protocol import PutOptions
from hypersdk.transfer.journal import encode, records
from hypersdk.transfer.uploads.localsource import SourceFile

FORMAT = 1
_OPEN = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Intent:
    """What is about to be created.

    Attributes:
        target: the object's address.
        source: the file; of an object its address and etag, as the path, and its size.
        part_size: bytes of each part but the last.
        options: digest of what a create fixes (see `digest_of`).
        began: seconds since 1970.
    """

    target: str
    source: SourceFile
    part_size: int
    options: str
    began: float


@dataclass(frozen=True, slots=True)
class Known:
    """A part that was sent.

    Attributes:
        etag: the service's mark of it.
        crc: CRC32C of its bytes.
        proven: whether the service has told the same CRC32C.
    """

    etag: str
    crc: int
    proven: bool


@dataclass(frozen=True, slots=True)
class Contents:
    """What a journal says; `upload_id` is "" if the reply to the create never came."""

    intent: Intent
    upload_id: str
    parts: Mapping[int, Known]


def digest_of(put: PutOptions) -> str:
    """A short mark of what a create fixes for good: metadata and content headers."""
    text = json.dumps([dict(put.metadata), put.content_type, dict(put.headers)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def journal_name(path: str, target: str) -> str:
    """Name of the journal for a source, a file's path or an object's address, and a target."""
    text = f"{path if '://' in path else Path(path).absolute()}\0{target}"
    return f"{hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:32]}.upload"


def parse(data: bytes) -> Contents | None:
    """Read a journal; None = it is none, or of another format."""
    found = records(data)
    head = next(found, {})
    try:
        if head["format"] != FORMAT:
            return None
        source = SourceFile(**head["source"])
        intent = Intent(head["target"], source, int(head["part_size"]), head["options"], float(head["began"]))
    except (KeyError, TypeError, ValueError):
        return None
    contents = Contents(intent, "", {})
    parts: dict[int, Known] = {}
    for record in found:
        if "upload" in record:
            contents = replace(contents, upload_id=str(record["upload"]))
        elif "part" in record:
            parts[record["part"]] = Known(record["etag"], int(record["crc32c"], 16), record["proven"])
    return replace(contents, parts=parts)


class UploadJournal:
    """A journal that is being written; without a file it remembers nothing.

    Args:
        path: its file; "" = none.
        descriptor: the same, opened and locked.
        report: told if it cannot be written.

    Attributes:
        holds: whether it knows the id of the upload, so that another process can go on with it.
    """

    def __init__(self, path: str, descriptor: int | None, report: events.Reporter) -> None:
        self.holds = False
        self._path = path
        self._descriptor = descriptor
        self._report = report
        self._writes = descriptor is not None

    def load(self) -> Contents | None:
        """What it says; also closes a torn last line, so that new lines stand alone."""
        data = b""
        with self._given_up():
            if self._descriptor is not None:
                data = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)
                if data and not data.endswith(b"\n"):
                    os.write(self._descriptor, b"\n")
        contents = parse(data)
        self.holds = bool(contents and contents.upload_id)
        return contents

    def intend(self, intent: Intent) -> None:
        """Forget everything, and note durably what is about to be created."""
        self.holds = False
        with self._given_up():
            if self._descriptor is not None:
                os.ftruncate(self._descriptor, 0)
            self._append({"format": FORMAT, **asdict(intent)}, durably=True)
            if self._writes:
                _sync_directory(self._path)

    def created(self, upload_id: str) -> None:
        """Note durably what was created."""
        with self._given_up():
            self._append({"upload": upload_id}, durably=True)
            self.holds = self._writes

    def record(self, number: int, known: Known) -> None:
        """Note that the service has a part."""
        crc = f"{known.crc:08x}"
        with self._given_up():
            self._append({"part": number, "etag": known.etag, "crc32c": crc, "proven": known.proven})

    def forget(self) -> None:
        """Delete it: the upload is no more."""
        self.holds = False
        if self._descriptor is not None:
            with suppress(OSError):
                Path(self._path).unlink()

    def close(self) -> None:
        """Close the file and give the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _append(self, record: Mapping[str, Any], *, durably: bool = False) -> None:
        if not self._writes or self._descriptor is None:
            return
        line = encode(record)
        if os.write(self._descriptor, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if durably:
            os.fsync(self._descriptor)

    @contextmanager
    def _given_up(self) -> Iterator[None]:
        """Go on without new lines when the disk does not take them; those that are there stay true."""
        try:
            yield
        except OSError as error:
            self._writes = False
            self._report(events.Note(_unrecorded(self._path, error)))


@contextmanager
def claim(directory: str | None, path: str, ref: ObjectRef, report: events.Reporter) -> Iterator[UploadJournal]:
    """Open and lock the journal for an upload of this file to this address.

    Args:
        directory: where journals are; made if it is absent. None = remember nothing.
        path: the file.
        ref: the object's address.
        report: told if there can be no journal.

    Raises:
        BusyError: another process uploads the same file to the same address.
    """
    journal = _open(directory, path, ref, report)
    try:
        yield journal
    finally:
        journal.close()


def sweep(directory: str | None, path: str, ref: ObjectRef) -> None:
    """Delete the journal of an upload that is known to be committed: its process died before it could.

    Args:
        directory: where journals are; None = there are none.
        path: the file.
        ref: the object's address, where the bytes of the file stand.
    """
    if directory is None:
        return
    place = str(Path(directory) / journal_name(path, str(ref)))
    with suppress(OSError):  # there is none, or another process uploads just now
        if Path(place).exists():
            journal = UploadJournal(place, _open_locked(place), events.null_reporter)
            journal.forget()
            journal.close()


@dataclass(frozen=True, slots=True)
class Stored:
    """A journal that stands in the directory; `busy` = a process uploads just now."""

    path: str
    contents: Contents
    busy: bool


def stored(directory: str | None) -> Iterator[Stored]:
    """Every journal of a directory that can be read, by name.

    Args:
        directory: where journals are; None or absent = there are none.
    """
    found = sorted(Path(directory).glob("*.upload")) if directory is not None else []
    for path in found:
        with suppress(OSError):
            contents = parse(path.read_bytes())
            if contents is not None:
                yield Stored(str(path), contents, _is_locked(str(path)))


@contextmanager
def ending(path: str) -> Iterator[None]:
    """Hold a journal while its upload is dropped, then delete it; it stays if that fails.

    Args:
        path: the journal; absent is fine.

    Raises:
        BusyError: a process uploads with it just now.
    """
    if not path or not Path(path).exists():
        yield
        return
    try:
        journal = UploadJournal(path, _open_locked(path), events.null_reporter)
    except OSError as error:
        raise errors.BusyError(f"a process uploads just now: {path}: {error.strerror}", resource=path) from error
    try:
        yield
        journal.forget()
    finally:
        journal.close()


def _is_locked(path: str) -> bool:
    try:
        os.close(_open_locked(path))
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _open(directory: str | None, path: str, ref: ObjectRef, report: events.Reporter) -> UploadJournal:
    if directory is None:
        return UploadJournal("", None, report)
    place = str(Path(directory) / journal_name(path, str(ref)))
    try:
        Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        return UploadJournal(place, _open_locked(place), report)
    except BlockingIOError:
        raise errors.BusyError(
            f"another process uploads {path} to {ref} just now", resource=path, hint="wait for it, or stop it"
        ) from None
    except OSError as error:
        report(events.Note(_unrecorded(place, error)))
        return UploadJournal("", None, report)


def _open_locked(path: str) -> int:
    import fcntl  # here, because only an upload needs it and not every system has it

    while True:
        descriptor = os.open(path, _OPEN, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the process that had it has deleted it: there is a new one, or none


def _sync_directory(path: str) -> None:
    directory = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _unrecorded(path: str, error: OSError) -> str:
    return f"what is sent from now on cannot be resumed: {path}: {error.strerror}"
