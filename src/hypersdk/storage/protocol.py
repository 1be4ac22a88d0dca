"""What every store can do: a dozen verbs, one request each. Helpers over any store are functions elsewhere.

A store never moves a body through Python: it hands out requests, and `wire` moves the bytes (design section 2). A local
store hands out paths and offsets instead; `transfer` knows both. Verbs do not retry and do not wait; the caller's
`Retrier` does. Method order is the same in every backend.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hypersdk.model import ByteRange, Checksum, ObjectInfo, ObjectRef, Secret
from hypersdk.wire.request import Request


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What differs between stores, as data.

    Attributes:
        part_checksum: algorithm that the service checks per part ("crc32c"), None = none.
        max_parts: most parts of one upload.
        max_part_size: bytes.
        min_part_size: bytes, the last part excepted.
        pre_authenticated: whether links can be made that authorize themselves.
        rename: whether an object can get another name without moving bytes.
    """

    part_checksum: str | None = None
    max_parts: int = 10_000
    max_part_size: int = 50 * 1024**3
    min_part_size: int = 0
    pre_authenticated: bool = False
    rename: bool = False


@dataclass(frozen=True, slots=True)
class LocalRange:
    """A range of a local file: the counterpart of a ranged `Request`."""

    path: str
    range: ByteRange


@dataclass(frozen=True, slots=True)
class LocalPart:
    """A place for a part in a local partial file: the counterpart of a part `Request`."""

    path: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload by id: it can be journaled and survives a crash."""

    ref: ObjectRef
    upload_id: str


@dataclass(frozen=True, slots=True)
class Part:
    """A part that the service has: `number` from 1; `etag` is what `commit` needs."""

    number: int
    etag: str
    size: int
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True)
class PutCondition:
    """Condition headers of a write: only if absent, or only over exactly this etag."""

    if_absent: bool = False
    if_match: str | None = None


@dataclass(frozen=True, slots=True)
class PreAuthenticated:
    """A link that authorizes itself (OCI: PAR). `url` is a secret and is shown by the service only once."""

    id: str
    name: str
    object_name: str
    url: Secret | None = None


@dataclass(frozen=True, slots=True)
class PutOptions:
    """What goes with an object's bytes: user metadata (keys without prefix), content type, whole-body checksum."""

    condition: PutCondition = PutCondition()
    metadata: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None
    checksum: Checksum | None = None


class Store(Protocol):
    """One store, addressed by `ObjectRef`s of its scheme.

    All verbs raise errors of our tree: NotFoundError, PermissionDenied, PreconditionFailed, PassingError...
    """

    @property
    def capabilities(self) -> Capabilities:
        """What differs from other stores."""

    def head(self, ref: ObjectRef) -> ObjectInfo:
        """Facts about an object; NotFoundError if absent."""

    def exists(self, ref: ObjectRef) -> bool:
        """Whether the object is there; permission errors are raised, never taken for absence."""

    def list(self, ref: ObjectRef, *, recursive: bool = True) -> Iterator[ObjectInfo]:
        """Objects whose names start with `ref.name`, every page, lazily, in byte order; else stops at `/`."""

    def range_request(self, info: ObjectInfo, wanted: ByteRange | None) -> Request | LocalRange:
        """The request for a range (None = the whole body), pinned by the info's etag."""

    def put(self, ref: ObjectRef, body: bytes, options: PutOptions = PutOptions()) -> ObjectInfo:
        """Write a small object from memory (large ones go by multipart)."""

    def delete(self, ref: ObjectRef, *, if_match: str | None = None) -> None:
        """Delete; absent is fine; another etag than `if_match` is PreconditionFailed."""

    def create_multipart_upload(self, ref: ObjectRef, options: PutOptions = PutOptions()) -> Upload:
        """Begin a multipart upload."""

    def part_request(self, upload: Upload, number: int, length: int, checksum: Checksum | None) -> Request | LocalPart:
        """The request that uploads part `number` (from 1) of `length` bytes."""

    def list_parts(self, upload: Upload) -> Iterator[Part]:
        """Parts that the service has, by number."""

    def list_multipart_uploads(self, ref: ObjectRef) -> Iterator[Upload]:
        """Unfinished uploads whose object names start with `ref.name`."""

    def commit(self, upload: Upload, parts: Sequence[Part], condition: PutCondition = PutCondition()) -> ObjectInfo:
        """Make the object of these parts; returns its size, etag and the service's checksums."""

    def abort(self, upload: Upload) -> None:
        """Drop an upload and its parts; absent is fine."""
