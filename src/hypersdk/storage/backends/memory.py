"""Objects in this process's memory: a store for tests and rehearsals with all conditions of the real ones.

Bytes move as with local files: a range or a part is an anonymous file (memfd) that is reached by its path under /proc.
Buckets need no creation.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from hypersdk import errors
from hypersdk.model import ByteRange, Checksum, ObjectInfo, ObjectRef
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
from hypersdk.wire.request import Reply


@dataclass(frozen=True, slots=True)
class _Object:
    info: ObjectInfo
    body: bytes


@dataclass(slots=True)
class _Pending:
    upload: Upload
    options: PutOptions
    parts: dict[int, int] = field(default_factory=dict)


def _close_all(files: list[int]) -> None:
    while files:
        os.close(files.pop())


class MemoryStore:
    """A store that forgets everything with the process."""

    def __init__(self) -> None:
        self._objects: dict[ObjectRef, _Object] = {}
        self._uploads: dict[str, _Pending] = {}
        self._files: list[int] = []
        self._made = 0
        self.close = weakref.finalize(self, _close_all, self._files)

    @property
    def capabilities(self) -> Capabilities:
        """What differs from other stores."""
        return Capabilities(rename=True)

    def head(self, ref: ObjectRef) -> ObjectInfo:
        """Facts about an object; NotFoundError if absent."""
        return self._found(ref).info

    def exists(self, ref: ObjectRef) -> bool:
        """Whether the object is there."""
        return ref in self._objects

    def list(self, ref: ObjectRef, *, recursive: bool = True) -> Iterator[ObjectInfo]:
        """Objects whose names start with `ref.name`, in byte order; else stops at `/`."""
        place, last = (ref.scheme, ref.namespace, ref.bucket), ""
        for found in sorted(self._objects, key=lambda each: each.name.encode()):
            if (found.scheme, found.namespace, found.bucket) != place or not found.name.startswith(ref.name):
                continue
            directory, slash, _ = found.name[len(ref.name) :].partition("/")
            prefix = ref.name + directory + slash
            if recursive or not slash:
                yield self._objects[found].info
            elif prefix != last:
                last = prefix
                yield ObjectInfo(replace(ref, name=prefix), 0, prefix=True)

    def range_request(self, info: ObjectInfo, wanted: ByteRange | None) -> LocalRange:
        """The place of a range (None = the whole body), pinned by the info's etag."""
        found = self._found(info.ref)
        if found.info.etag != info.etag:
            raise errors.ObjectChanged(f"the object was replaced: {info.ref}", resource=str(info.ref))
        file = self._file()
        os.pwrite(file, found.body, 0)
        return LocalRange(f"/proc/self/fd/{file}", wanted or ByteRange(0, info.size))

    def put(self, ref: ObjectRef, body: bytes, options: PutOptions = NO_OPTIONS) -> ObjectInfo:
        """Write an object."""
        self._check(ref, options.condition)
        return self._write(ref, body, options)

    def put_request(self, ref: ObjectRef, length: int, options: PutOptions = NO_OPTIONS) -> None:
        """None: `put` takes the bytes."""
        del ref, length, options

    def put_reply(self, ref: ObjectRef, length: int, options: PutOptions, reply: Reply) -> ObjectInfo:
        """Refused: nothing was asked."""
        del length, options, reply
        raise errors.UsageError(f"{ref}: a local store answers no requests", resource=str(ref))

    def rename(self, source: ObjectInfo, new_name: str, *, if_absent: bool = True) -> ObjectInfo:
        """Give exactly the object of this etag another name in its bucket; AlreadyExists if that is taken."""
        found = self._found(source.ref)
        self._check(source.ref, PutCondition(if_match=source.etag or None))
        target = replace(source.ref, name=new_name)
        self._check(target, PutCondition(if_absent=if_absent))
        del self._objects[source.ref]
        self._objects[target] = _Object(replace(found.info, ref=target), found.body)
        return self._objects[target].info

    def delete(self, ref: ObjectRef, *, if_match: str | None = None) -> None:
        """Delete; absent is fine; another etag than `if_match` is PreconditionFailed."""
        if ref in self._objects:
            self._check(ref, PutCondition(if_match=if_match))
            del self._objects[ref]

    def create_multipart_upload(self, ref: ObjectRef, options: PutOptions = NO_OPTIONS) -> Upload:
        """Begin a multipart upload."""
        self._check(ref, options.condition)
        upload = Upload(ref, self._number())
        self._uploads[upload.upload_id] = _Pending(upload, options)
        return upload

    def part_request(self, upload: Upload, number: int, length: int, checksum: Checksum | None) -> LocalPart:
        """The place of part `number` (from 1) of `length` bytes; nobody checks `checksum`."""
        del checksum
        file = self._file()
        self._pending(upload).parts[number] = file
        return LocalPart(f"/proc/self/fd/{file}", 0, length)

    def list_parts(self, upload: Upload) -> Iterator[Part]:
        """Parts of which bytes were written, by number."""
        for number, file in sorted(self._pending(upload).parts.items()):
            if size := os.fstat(file).st_size:
                yield Part(number, str(file), size)

    def list_multipart_uploads(self, ref: ObjectRef) -> Iterator[Upload]:
        """Unfinished uploads whose object names start with `ref.name`."""
        for pending in list(self._uploads.values()):
            found = pending.upload.ref
            if replace(found, name="") == replace(ref, name="") and found.name.startswith(ref.name):
                yield pending.upload

    def commit(self, upload: Upload, parts: Sequence[Part], condition: PutCondition = ALWAYS) -> ObjectInfo:
        """Make the object of these parts, in the order of their numbers."""
        pending = self._pending(upload)
        body = b"".join(self._part_bytes(pending, part) for part in sorted(parts, key=lambda part: part.number))
        self._check(upload.ref, condition)
        del self._uploads[upload.upload_id]
        return self._write(upload.ref, body, pending.options)

    def abort(self, upload: Upload) -> None:
        """Drop an upload and its parts; absent is fine."""
        self._uploads.pop(upload.upload_id, None)

    def _found(self, ref: ObjectRef) -> _Object:
        if ref not in self._objects:
            raise errors.NotFoundError(f"no such object: {ref}", resource=str(ref))
        return self._objects[ref]

    def _pending(self, upload: Upload) -> _Pending:
        if upload.upload_id not in self._uploads:
            raise errors.NotFoundError(f"no such upload of {upload.ref}", resource=str(upload.ref))
        return self._uploads[upload.upload_id]

    def _check(self, ref: ObjectRef, condition: PutCondition) -> None:
        found = self._objects.get(ref)
        if condition.if_absent and found:
            raise errors.AlreadyExists(f"the name is taken: {ref}", resource=str(ref))
        if condition.if_match and (not found or found.info.etag != condition.if_match):
            raise errors.PreconditionFailed(f"the object is another one: {ref}", resource=str(ref))

    def _write(self, ref: ObjectRef, body: bytes, options: PutOptions) -> ObjectInfo:
        info = ObjectInfo(ref, len(body), self._number(), metadata=dict(options.metadata), modified=datetime.now(UTC))
        self._objects[ref] = _Object(info, bytes(body))
        return info

    @staticmethod
    def _part_bytes(pending: _Pending, part: Part) -> bytes:
        file = pending.parts.get(part.number)
        if file is None or os.fstat(file).st_size != part.size:
            raise errors.RequestRefused(
                f"part {part.number} of {pending.upload.ref} is not there", resource=str(pending.upload.ref)
            )
        return os.pread(file, part.size, 0)

    def _file(self) -> int:
        file = os.memfd_create("hypersdk-memory-store")
        self._files.append(file)
        return file

    def _number(self) -> str:
        self._made += 1
        return str(self._made)
