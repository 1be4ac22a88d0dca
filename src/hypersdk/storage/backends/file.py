"""Local files as objects: `bucket` of a ref is the directory as the user wrote it, `name` a path below it.

A multipart upload is a directory `.hx-<id>.upload` beside its target with one file per part, so that it survives a
crash and an upload of part n never touches part m; `commit` joins them and gives the name (see `local.py`). Names that
begin with `.hx-` are hypersdk's own and never listed. User metadata and content types have no place in a file.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime

from hypersdk import errors, events
from hypersdk.model import ByteRange, Checksum, ObjectInfo, ObjectRef
from hypersdk.storage import local
from hypersdk.storage.protocol import (
    ALWAYS,
    NO_OPTIONS,
    Capabilities,
    LocalPart,
    LocalRange,
    Part,
    PutCondition,
    PutOptions,
    Upload,
)
from hypersdk.storage.url import local_ref
from hypersdk.wire.request import Reply

_OWN = ".hx-"
_UPLOAD = re.compile(r"\.hx-([0-9a-f]{12})\.upload\Z")
_TARGET = "target"
_WHOLE = "whole"
_COPY = 1024 * 1024
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class FileStore:
    """The local file system.

    Args:
        report: told of entries that a listing leaves out because they are neither files nor directories.
    """

    def __init__(self, report: events.Reporter = events.null_reporter) -> None:
        self._report = report

    @property
    def capabilities(self) -> Capabilities:
        """What differs from other stores."""
        return Capabilities(rename=True, metadata=False)

    def head(self, ref: ObjectRef) -> ObjectInfo:
        """Facts about a file; NotFoundError if absent."""
        with _parent(ref) as (handle, name):
            return _info(ref, os.stat(name, dir_fd=handle, follow_symlinks=False))

    def exists(self, ref: ObjectRef) -> bool:
        """Whether the file is there; a missing root directory is raised like a missing bucket."""
        try:
            self.head(ref)
        except errors.NotFoundError:
            _require_root(ref)
            return False
        return True

    def list(self, ref: ObjectRef, *, recursive: bool = True) -> Iterator[ObjectInfo]:
        """Files whose names start with `ref.name`, in byte order; else stops at `/`; links are named, not followed."""
        for found, handle, entry in self._walk(_rooted(ref), recursive=recursive):
            if entry.name.startswith(_OWN):
                continue
            if found.name.endswith("/"):
                yield ObjectInfo(found, 0, prefix=True)
                continue
            try:
                yield _info(found, os.stat(entry.name, dir_fd=handle, follow_symlinks=False))
            except FileNotFoundError:
                continue  # deleted meanwhile
            except errors.FileError as error:
                self._report(events.LeftOut(f"left out: {error}", found, error))

    def range_request(self, info: ObjectInfo, wanted: ByteRange | None) -> LocalRange:
        """The place of a range (None = the whole file), if the file is still the one of the info's etag."""
        if self.head(info.ref).etag != info.etag:
            raise errors.ObjectChanged(f"the file was replaced: {info.ref}", resource=str(info.ref))
        return LocalRange(str(info.ref), wanted or ByteRange(0, info.size))

    def put(self, ref: ObjectRef, body: bytes, options: PutOptions = NO_OPTIONS) -> ObjectInfo:
        """Write a file: whole and durable, or not at all."""
        with _parent(ref, create=True) as (handle, name):
            temporary = f"{_OWN}{secrets.token_hex(6)}.tmp"
            try:
                _write(handle, temporary, body, 0o666)
                return _publish(ref, (handle, temporary), (handle, name), options.condition)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=handle)

    def put_request(self, ref: ObjectRef, length: int, options: PutOptions = NO_OPTIONS) -> None:
        """None: `put` takes the bytes."""
        del ref, length, options

    def put_reply(self, ref: ObjectRef, length: int, options: PutOptions, reply: Reply) -> ObjectInfo:
        """Refused: nothing was asked."""
        del length, options, reply
        raise errors.UsageError(f"{ref}: a local store answers no requests", resource=str(ref))

    def rename(self, source: ObjectInfo, new_name: str, *, if_absent: bool = True) -> ObjectInfo:
        """Give exactly the file of this etag another name below its root; AlreadyExists if that is taken."""
        source_ref = _rooted(source.ref)
        target = replace(source_ref, name=new_name)
        self.head(source_ref)
        with _parent(source_ref) as old:
            _check(source_ref, old, PutCondition(if_match=source.etag or None))
            with _parent(target, create=True) as new:
                return _publish(target, old, new, PutCondition(if_absent=if_absent))

    def delete(self, ref: ObjectRef, *, if_match: str | None = None) -> None:
        """Delete durably; absent is fine; another etag than `if_match` is PreconditionFailed."""
        try:
            with _parent(ref) as (handle, name):
                _info(ref, os.stat(name, dir_fd=handle, follow_symlinks=False))
                _check(ref, (handle, name), PutCondition(if_match=if_match))
                os.unlink(name, dir_fd=handle)
                os.fsync(handle)
        except errors.NotFoundError:
            return

    def create_multipart_upload(self, ref: ObjectRef, options: PutOptions = NO_OPTIONS) -> Upload:
        """Begin a multipart upload beside its target."""
        with _parent(ref, create=True) as (handle, name):
            _check(ref, (handle, name), options.condition)
            upload = Upload(_rooted(ref), secrets.token_hex(6))
            os.mkdir(_upload_name(upload), 0o700, dir_fd=handle)
            os.fsync(handle)
        with _upload_directory(upload) as (_, inner):
            _write(inner, _TARGET, os.fsencode(name), 0o600)
            os.fsync(inner)
        return upload

    def part_request(self, upload: Upload, number: int, length: int, checksum: Checksum | None) -> LocalPart:
        """The place of part `number` (from 1) of `length` bytes, emptied; nobody checks `checksum`."""
        del checksum
        with _upload_directory(upload) as (_, inner):
            os.close(os.open(_part_name(number), _WRITE | os.O_TRUNC, 0o666, dir_fd=inner))
        above = upload.ref.name[: upload.ref.name.rfind("/") + 1]
        place = replace(upload.ref, name=f"{above}{_upload_name(upload)}/{_part_name(number)}")
        return LocalPart(str(place), 0, length)

    def list_parts(self, upload: Upload) -> Iterator[Part]:
        """Parts of which bytes were written, by number."""
        with _upload_directory(upload) as (_, inner):
            found = [
                Part(int(name), _etag(facts), facts.st_size)
                for name in sorted(os.listdir(inner))  # noqa: PTH208 - pathlib knows no directory handles
                if name.isdigit() and (facts := os.stat(name, dir_fd=inner)).st_size
            ]
        yield from found

    def list_multipart_uploads(self, ref: ObjectRef) -> Iterator[Upload]:
        """Unfinished uploads whose targets' names start with `ref.name`."""
        rooted = _rooted(ref)
        everything = replace(rooted, name=rooted.name[: rooted.name.rfind("/") + 1])
        for found, handle, entry in self._walk(everything, recursive=True, into_own=True):
            match = _UPLOAD.search(found.name.removesuffix(f"/{_TARGET}"))
            if not match or entry.name != _TARGET:
                continue
            base = found.name[: match.start()]
            with os.fdopen(os.open(_TARGET, _READ, dir_fd=handle), "rb") as file:
                name = base + os.fsdecode(file.read())
            if name.startswith(rooted.name):
                yield Upload(replace(rooted, name=name), match[1])

    def commit(self, upload: Upload, parts: Sequence[Part], condition: PutCondition = ALWAYS) -> ObjectInfo:
        """Make the file of these parts, in the order of their numbers; uploaded parts left out are dropped."""
        with _upload_directory(upload) as ((handle, name), inner):
            for part in parts:
                _check_part(upload, inner, part)
            _check(upload.ref, (handle, name), condition)
            _join(inner, sorted(parts, key=lambda part: part.number))
            info = _publish(upload.ref, (inner, _WHOLE), (handle, name), condition)
        self.abort(upload)
        return info

    def abort(self, upload: Upload) -> None:
        """Drop an upload and its parts; absent is fine."""
        try:
            with _parent(upload.ref) as (handle, _):
                shutil.rmtree(_upload_name(upload), dir_fd=handle)
                os.fsync(handle)
        except errors.NotFoundError:
            return

    def _walk(
        self, ref: ObjectRef, *, recursive: bool, into_own: bool = False
    ) -> Iterator[tuple[ObjectRef, int, os.DirEntry[str]]]:
        """Every entry whose name starts with `ref.name`, in byte order of names, with the handle of its directory."""
        above, _, start = ref.name.rpartition("/")
        try:
            with (
                local.file_errors(str(ref)),
                local.directory(ref.bucket, above.split("/") if above else ()) as handle,
            ):
                base = f"{above}/" if above else ""
                yield from _entries(replace(ref, name=base), handle, start, recursive=recursive, into_own=into_own)
        except errors.NotFoundError:
            _require_root(ref)


def _entries(
    base: ObjectRef, handle: int, start: str, *, recursive: bool, into_own: bool
) -> Iterator[tuple[ObjectRef, int, os.DirEntry[str]]]:
    with os.scandir(handle) as scan:
        # "a/" and not "a" is what a directory's objects begin with: "a-b" comes before "a/x".
        found = sorted((os.fsencode(each.name) + b"/" * _is_directory(each), each) for each in scan)
    for key, entry in found:
        if not entry.name.startswith(start):
            continue
        here = replace(base, name=base.name + os.fsdecode(key))
        if key.endswith(b"/") and recursive and (into_own or not entry.name.startswith(_OWN)):
            yield from _inside(here, handle, entry, into_own=into_own)
        else:
            yield here, handle, entry


def _inside(
    here: ObjectRef, handle: int, entry: os.DirEntry[str], *, into_own: bool
) -> Iterator[tuple[ObjectRef, int, os.DirEntry[str]]]:
    """What lies in a directory; one that cannot be read is named by the error (design rule 9)."""
    with ExitStack() as opened:
        try:
            with local.file_errors(str(here)):
                inner = opened.enter_context(local.inner_directory(handle, entry.name))
        except errors.NotFoundError:
            return  # deleted meanwhile
        yield from _entries(here, inner, "", recursive=True, into_own=into_own)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _rooted(ref: ObjectRef) -> ObjectRef:
    """The ref with a root: refs made by hand may carry a whole path as their name."""
    return ref if ref.bucket else local_ref(ref.name)


def _require_root(ref: ObjectRef) -> None:
    root = _rooted(ref).bucket
    with local.file_errors(root or "."), local.directory(root):
        return


@contextmanager
def _parent(ref: ObjectRef, *, create: bool = False) -> Iterator[tuple[int, str]]:
    """The handle of the directory that holds the file, and the file's name in it."""
    rooted = _rooted(ref)
    *above, name = rooted.name.split("/")
    if not name and not create:
        raise errors.NotFoundError(f"a directory, not a file: {str(ref)!r}", resource=str(ref))
    if any(component in {"", ".", ".."} or "\0" in component for component in (*above, name)):
        raise errors.UsageError(f"no file can have this name: {rooted.name!r}", resource=str(ref))
    with local.file_errors(str(ref)), local.directory(rooted.bucket, above, create=create) as handle:
        yield handle, name


def _info(ref: ObjectRef, facts: os.stat_result) -> ObjectInfo:
    if stat.S_ISLNK(facts.st_mode):
        raise local.link_refused(str(ref))
    if stat.S_ISDIR(facts.st_mode):
        raise errors.NotFoundError(f"a directory, not a file: {str(ref)!r}", resource=str(ref))
    if not stat.S_ISREG(facts.st_mode):
        raise errors.FileError(f"neither a file nor a directory: {str(ref)!r}", resource=str(ref))
    modified = datetime.fromtimestamp(facts.st_mtime, UTC)
    return ObjectInfo(_rooted(ref), facts.st_size, _etag(facts), modified=modified)


def _etag(facts: os.stat_result) -> str:
    return f"{facts.st_ino:x}-{facts.st_size:x}-{facts.st_mtime_ns:x}"


def _check(ref: ObjectRef, place: tuple[int, str], condition: PutCondition) -> None:
    handle, name = place
    if not condition.if_absent and not condition.if_match:
        return
    try:
        etag = _etag(os.stat(name, dir_fd=handle, follow_symlinks=False))
    except FileNotFoundError:
        etag = None
    if condition.if_absent and etag is not None:
        raise errors.AlreadyExists(f"the name is taken: {str(ref)!r}", resource=str(ref))
    if condition.if_match and etag != condition.if_match:
        raise errors.PreconditionFailed(f"the file is another one: {str(ref)!r}", resource=str(ref))


def _publish(ref: ObjectRef, source: tuple[int, str], target: tuple[int, str], condition: PutCondition) -> ObjectInfo:
    # A file system has no compare-and-swap: between this look at the etag and the rename another writer may slip in.
    _check(ref, target, condition)
    local.place(*source, *target, if_absent=condition.if_absent)
    return _info(ref, os.stat(target[1], dir_fd=target[0], follow_symlinks=False))


def _upload_name(upload: Upload) -> str:
    return f"{_OWN}{upload.upload_id}.upload"


def _part_name(number: int) -> str:
    return f"{number:05d}"


@contextmanager
def _upload_directory(upload: Upload) -> Iterator[tuple[tuple[int, str], int]]:
    """The target's place and the handle of the directory that holds the parts."""
    with _parent(upload.ref) as (handle, name), local.inner_directory(handle, _upload_name(upload)) as inner:
        yield (handle, name), inner


def _check_part(upload: Upload, inner: int, part: Part) -> None:
    try:
        facts = os.stat(_part_name(part.number), dir_fd=inner, follow_symlinks=False)
    except FileNotFoundError:
        facts = None
    if facts is None or facts.st_size != part.size or (part.etag and part.etag != _etag(facts)):
        raise errors.RequestRefused(f"part {part.number} of {upload.ref} is not there", resource=str(upload.ref))


def _join(inner: int, parts: Sequence[Part]) -> None:
    if len(parts) == 1:  # it is the whole, and stands there already
        os.rename(_part_name(parts[0].number), _WHOLE, src_dir_fd=inner, dst_dir_fd=inner)
        with os.fdopen(os.open(_WHOLE, _READ, dir_fd=inner), "rb") as whole:
            os.fsync(whole.fileno())
        return
    with os.fdopen(os.open(_WHOLE, _WRITE | os.O_TRUNC, 0o666, dir_fd=inner), "wb") as whole:
        for part in parts:
            with os.fdopen(os.open(_part_name(part.number), _READ, dir_fd=inner), "rb") as file:
                shutil.copyfileobj(file, whole, _COPY)
        whole.flush()
        os.fsync(whole.fileno())


def _write(handle: int, name: str, body: bytes, mode: int) -> None:
    with os.fdopen(os.open(name, _WRITE | os.O_EXCL, mode, dir_fd=handle), "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
