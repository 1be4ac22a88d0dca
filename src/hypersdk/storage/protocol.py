"""What every store can do: a dozen verbs, one request each. Helpers over any store are functions elsewhere.

A store never moves a body through Python: it hands out requests, and `wire` moves the bytes (design section 2). A local
store hands out paths and offsets instead; `transfer` knows both. Verbs do not retry and do not wait; the caller's
`Retrier` does. Method order is the same in every backend.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from hypersdk.model import ByteRange, Checksum, ObjectInfo, ObjectRef, Secret
from hypersdk.wire.request import Reply, Request


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What differs between stores, as data.

    Attributes:
        part_checksum: algorithm that the service checks per part ("crc32c"), None = none.
        max_parts: most parts of one upload.
        max_part_size: bytes.
        min_part_size: bytes, the last part excepted.
        rename: whether an object can get another name without moving bytes.
        metadata: whether user metadata is kept beside an object.
        lists: whether objects can be listed at all.
        deletes: whether objects can be deleted at all.
        multipart: whether an object can be written in parts.
        lists_parts: whether the parts of an upload can be listed, so that another process can go on with it.
        blind: whether a look that finds nothing may mean that we may not look (a link that only writes).
    """

    part_checksum: str | None = None
    max_parts: int = 10_000
    max_part_size: int = 50 * 1024**3
    min_part_size: int = 0
    rename: bool = False
    metadata: bool = True
    lists: bool = True
    deletes: bool = True
    multipart: bool = True
    lists_parts: bool = True
    blind: bool = False


@dataclass(frozen=True, slots=True)
class LocalRange:
    """A range of a local file: the counterpart of a ranged `Request`."""

    path: str
    range: ByteRange


@dataclass(frozen=True, slots=True)
class LocalPart:
    """A place for the bytes of a part in a local file: the counterpart of a part `Request`."""

    path: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload by id: it can be journaled and survives a crash; `created` is known of a listed one."""

    ref: ObjectRef
    upload_id: str
    created: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Part:
    """A part that the service has: `number` from 1; `etag` is what `commit` needs; `checksum` is of its bytes."""

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
    access: str = ""
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class BucketFacts:
    """What a plan must know of a bucket before it writes there.

    Attributes:
        namespace: its namespace.
        name: its name.
        compartment_id: the compartment that owns it.
        storage_tier: default tier of its objects, the provider's word ("Standard", "Archive"; design: never export
            to an archive bucket).
        versioning: the provider's word ("Disabled", "Enabled", "Suspended").
        retention: whether rules forbid deletes for a time; None = we may not see the rules.
        read_only: whether it takes no writes (a replication target).
    """

    namespace: str
    name: str
    compartment_id: str
    storage_tier: str
    versioning: str
    retention: bool | None = None
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class PutOptions:
    """What goes with an object's bytes: user metadata (keys without prefix), content type, whole-body checksum.

    `headers` are those of `ObjectInfo.headers`, for a copy that keeps them; `content_type` stands before them.
    """

    condition: PutCondition = PutCondition()
    metadata: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None
    checksum: Checksum | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


ALWAYS = PutCondition()
"""A write without a condition."""

NO_OPTIONS = PutOptions()
"""Bytes and nothing else."""


class Store(Protocol):
    """One store, addressed by `ObjectRef`s of its scheme.

    All verbs raise errors of our tree: NotFoundError, PermissionDenied, PreconditionFailed, AlreadyExists (a write that
    demanded absence), PassingError...
    """

    @property
    def capabilities(self) -> Capabilities:
        """What differs from other stores."""

    def head(self, ref: ObjectRef) -> ObjectInfo:
        """Facts about an object; NotFoundError if absent."""

    def exists(self, ref: ObjectRef) -> bool:
        """Whether the object is there; permission errors and an absent bucket are raised, never taken for absence."""

    def list(self, ref: ObjectRef, *, recursive: bool = True) -> Iterator[ObjectInfo]:
        """Objects whose names start with `ref.name`, every page, lazily, in byte order; else stops at `/`."""

    def range_request(self, info: ObjectInfo, wanted: ByteRange | None) -> Request | LocalRange:
        """The request for a range (None = the whole body), pinned by the info's etag."""

    def put(self, ref: ObjectRef, body: bytes, options: PutOptions = NO_OPTIONS) -> ObjectInfo:
        """Write a small object from memory (large ones go by multipart)."""

    def put_request(self, ref: ObjectRef, length: int, options: PutOptions = NO_OPTIONS) -> Request | None:
        """The request that writes a whole object, checked against the checksum of `options`; None = only by `put`."""

    def put_reply(self, ref: ObjectRef, length: int, options: PutOptions, reply: Reply) -> ObjectInfo:
        """What the reply to a `put_request` of the same arguments says of the object.

        Raises:
            ReplyRefused: the service says that other bytes stand there; they were taken back, it may be tried again.
        """

    def rename(self, source: ObjectInfo, new_name: str, *, if_absent: bool = True) -> ObjectInfo:
        """Give exactly the object of this etag another name in its bucket; AlreadyExists if that is taken.

        A repeated rename whose first reply was lost answers NotFoundError for the source: look at the new name.
        """

    def delete(self, ref: ObjectRef, *, if_match: str | None = None) -> None:
        """Delete; absent is fine; another etag than `if_match` is PreconditionFailed."""

    def create_multipart_upload(self, ref: ObjectRef, options: PutOptions = NO_OPTIONS) -> Upload:
        """Begin a multipart upload."""

    def part_request(self, upload: Upload, number: int, length: int, checksum: Checksum | None) -> Request | LocalPart:
        """The request that uploads part `number` (from 1) of `length` bytes; the same number again replaces it.

        Without a `checksum` to compare with, the reply tells the part's CRC32C, where `capabilities` name it.
        """

    def list_parts(self, upload: Upload) -> Iterator[Part]:
        """Parts that the service has, by number."""

    def list_multipart_uploads(self, ref: ObjectRef) -> Iterator[Upload]:
        """Unfinished uploads whose object names start with `ref.name`."""

    def commit(self, upload: Upload, parts: Sequence[Part], condition: PutCondition = ALWAYS) -> ObjectInfo:
        """Make the object of these parts, in the order of their numbers; uploaded parts left out are dropped.

        Returns its size, etag and the service's checksums.
        """

    def abort(self, upload: Upload) -> None:
        """Drop an upload and its parts; absent is fine."""


class BucketStore(Store, Protocol):
    """A store of buckets in a cloud: what `exports` needs beyond the bytes."""

    def bucket(self, ref: ObjectRef) -> BucketFacts:
        """Facts about the bucket of `ref`; NotFoundError if it is absent or must not be seen."""

    def buckets(self, namespace: str, compartment_id: str) -> Iterator[str]:
        """Names of the buckets of one compartment, every page."""

    def versions(self, ref: ObjectRef) -> Iterator[ObjectInfo]:
        """Every version of the objects whose names start with `ref.name`, marks of deletion included, every page."""

    def create_pre_authenticated(
        self, ref: ObjectRef, *, name: str, expires: datetime, access: str = "ObjectWrite"
    ) -> PreAuthenticated:
        """Make a link for exactly this object; `access` is the provider's word; its `url` is never shown again."""

    def list_pre_authenticated(self, ref: ObjectRef) -> Iterator[PreAuthenticated]:
        """Links of the bucket for objects whose names start with `ref.name`, without their URLs."""

    def delete_pre_authenticated(self, ref: ObjectRef, link_id: str) -> None:
        """Withdraw a link of the bucket of `ref`; absent is fine."""
