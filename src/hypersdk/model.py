"""The nouns that two rooms exchange: frozen, plain data, without behaviour beyond reading themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from hypersdk import errors

# ocid1.<resource type>.<realm>.[region][.future use].<unique id>; the SDK's own check is as loose
# (docs.oracle.com, "Resource Identifiers").
_OCID = re.compile(r"ocid1\.([a-z0-9]+)\.(oc[a-z0-9]*)\.([a-z0-9-]*)((?:\.[A-Za-z0-9_-]*)*)\.([A-Za-z0-9_-]+)\Z")

Sign = Callable[[str, str, Mapping[str, str]], Mapping[str, str]]
"""(method, url, headers) -> all headers to send, signature included; never touches a body."""


@dataclass(frozen=True, slots=True)
class Ocid:
    """An Oracle Cloud identifier, parsed.

    Attributes:
        text: the identifier as OCI writes it.
        kind: resource type ("instance", "image", "compartment", ...).
        realm: "oc1", "oc2", ...
        region: region key or name; empty for global resources.
    """

    text: str
    kind: str
    realm: str
    region: str

    @classmethod
    def parse(cls, text: str, *kinds: str) -> Ocid:
        """Read an OCID.

        Args:
            text: what the user or the service wrote.
            kinds: accepted resource types; none = any.

        Raises:
            UsageError: not an OCID, or of another kind.
        """
        match = _OCID.match(text.strip())
        if not match:
            raise errors.UsageError(
                f"not an OCID: {text!r} (expected ocid1.<kind>.<realm>.<region>.<id>)", resource=text
            )
        if kinds and match[1] not in kinds:
            raise errors.UsageError(
                f"an OCID of kind {match[1]}, expected kind {' or '.join(kinds)}: {text}", resource=text
            )
        return cls(match[0], match[1], match[2], match[3])

    @staticmethod
    def looks_like(text: str) -> bool:
        """Whether the user meant an OCID rather than a name."""
        return text.strip().startswith("ocid1.")

    def __str__(self) -> str:
        return self.text


class Secret:
    """A text that must never reach logs, errors, journals or stores; `reveal()` is the only way out."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself; for the wire only."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Secret is never stored or sent to another process")


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """How every connection is made: control calls, bodies, token refresh and probes alike (design rule 13).

    Attributes:
        endpoint: one origin for all services instead of the region's hosts (`--endpoint`); None = derived.
        proxy: proxy URL, possibly with credentials; None = none, environment already taken into account.
        proxies: scheme -> the proxy of its addresses, where it is another than `proxy`.
        no_proxy: hosts that are reached directly, comma separated, curl's syntax.
        ca_bundle: PEM file of trusted authorities; None = the one that ships with certifi.
        connect_timeout: seconds to connect.
        read_timeout: seconds without one received byte before a connection counts as dead.
    """

    endpoint: str | None = None
    proxy: Secret | None = None
    proxies: Mapping[str, Secret | None] = field(default_factory=dict)
    no_proxy: str | None = None
    ca_bundle: str | None = None
    connect_timeout: float = 10.0
    read_timeout: float = 60.0

    def proxy_of(self, url: str) -> Secret | None:
        """The proxy on the way to a URL, if its host is not in `no_proxy`."""
        return self.proxies.get(url.partition("://")[0], self.proxy)


@dataclass(frozen=True, slots=True)
class Instance:
    """A virtual machine in the cloud; `lifecycle_state` is the provider's own word.

    `tags` are the free-form ones, `defined_tags` those with a namespace, as "namespace.key".
    """

    id: str
    name: str
    compartment_id: str
    lifecycle_state: str
    region: str
    availability_domain: str = ""
    shape: str = ""
    image_id: str | None = None
    time_created: datetime | None = None
    create_image_allowed: bool = True
    launch_options: Mapping[str, object] = field(default_factory=dict)
    metadata_keys: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    etag: str | None = None
    defined_tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Volume:
    """A boot or block volume attached to an instance. `size` in bytes as provisioned."""

    id: str
    name: str
    size: int
    boot: bool


@dataclass(frozen=True, slots=True)
class Image:
    """A custom image.

    `size` is the provisioned boot size in bytes (OCI: sizeInMBs), None while unknown. `create_image_allowed` speaks of
    instances launched from it; the instance itself does not say.
    """

    id: str
    name: str
    compartment_id: str | None
    lifecycle_state: str
    size: int | None = None
    operating_system: str = ""
    operating_system_version: str = ""
    base_image_id: str | None = None
    launch_options: Mapping[str, object] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    time_created: datetime | None = None
    etag: str | None = None
    create_image_allowed: bool = True


@dataclass(frozen=True, slots=True)
class Operation:
    """Long-running work of the cloud (OCI: work request).

    Attributes:
        id: identifier to ask again; None when the service gave none (its header is optional).
        status: the provider's own word, verbatim ("SUCCEEDED").
        percent: 0..100, or None while unknown.
        errors: the service's own sentences, oldest first.
    """

    id: str | None
    status: str
    percent: float | None = None
    errors: tuple[str, ...] = ()

    @property
    def succeeded(self) -> bool:
        """Whether the work ended well (compute says SUCCEEDED, Object Storage COMPLETED)."""
        return self.status in {"SUCCEEDED", "COMPLETED"}

    @property
    def failed(self) -> bool:
        """Whether the work ended badly."""
        return self.status in {"FAILED", "CANCELED"}


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` (first) to `stop` (one past the last) of an object."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """How many bytes."""
        return self.stop - self.start

    def header(self) -> str:
        """The value of a `Range` header (RFC 9110, 14.1.2: inclusive last byte)."""
        return f"bytes={self.start}-{self.stop - 1}"


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """The address of an object, bucket or prefix in any store.

    Attributes:
        scheme: "oci", "file", "https", "memory".
        namespace: OCI namespace; host for https; empty elsewhere.
        bucket: bucket; for files the directory as the user wrote it; empty where there is none.
        name: object name, or a prefix; an object name is not a path and not a URL (design rule 2).
        version: version id, where one is meant.
    """

    scheme: str
    namespace: str
    bucket: str
    name: str
    version: str | None = None

    def __str__(self) -> str:
        if self.scheme == "file":
            return f"{self.bucket.rstrip('/')}/{self.name}" if self.bucket else self.name
        place = "/".join(part for part in (self.namespace, self.bucket) if part)
        return f"{self.scheme}://{place}/{self.name}"


@dataclass(frozen=True, slots=True)
class Checksum:
    """A proof of bytes. `value` is lower-case hex; `algorithm` one of crc32c, md5, sha256, sha384, blake3."""

    algorithm: str
    value: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"


UNKNOWN_SIZE = -1
"""Size of an object whose server tells it only by ending."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store says of an object without its bytes.

    Attributes:
        ref: its address.
        size: bytes; `UNKNOWN_SIZE` only where `ranges` is False.
        etag: version mark, opaque.
        checksums: whole-object checksums that the service itself vouches for (never user-set metadata).
        metadata: user metadata, keys without the service's prefix.
        storage_tier: the provider's word, "" where there is none.
        archival_state: the provider's word, "" where there is none.
        modified: time of last change.
        prefix: True when a listing with a delimiter stands for a "directory".
        version: version id, where the store has versions and the call shows it.
        ranges: False = the server sends it only whole, from its first byte.
        multipart_md5: the service's MD5 over the MD5s of the parts, "<hex>-<count>"; "" where it has none.
        headers: what the store keeps of "content-type" and its like, names in lower case; empty in listings.
    """

    ref: ObjectRef
    size: int
    etag: str = ""
    checksums: tuple[Checksum, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    storage_tier: str = ""
    archival_state: str = ""
    modified: datetime | None = None
    prefix: bool = False
    version: str | None = None
    ranges: bool = True
    multipart_md5: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Disk:
    """A local file in a disk format. Sizes in bytes; `format` is qcow2, vmdk, vhd, vdi, oci or raw."""

    path: str
    format: str
    virtual_size: int
    file_size: int


@dataclass(frozen=True, slots=True)
class Proof:
    """Why a file may get its final name; only `publish` takes it (design rule 7).

    Attributes:
        size: bytes of the file, equal to the object's.
        checksums: of its bytes, as received or from our own plain reads.
        structure: sentences, one per check that passed ("qemu-img check: clean").
        disk: what the disk checks found; None for things that are not disks.
    """

    size: int
    checksums: tuple[Checksum, ...]
    structure: tuple[str, ...]
    disk: Disk | None = None


def format_size(count: float) -> str:
    """Bytes for people: 1536 -> "1.5 KiB" (IEC units, as qemu-img prints them)."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1024 or unit == "TiB":  # noqa: PLR2004 - the unit step itself
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


SECONDS_AS_SUCH = 120
"""Below it a length is told in seconds: 95 s says more than 2 min."""


def format_seconds(seconds: float) -> str:
    """A length of time for people: 0.4 -> "0.4 s", 725 -> "12 min", 8000 -> "2 h 13 min"."""
    if seconds < 10:  # noqa: PLR2004 - below it a decimal says something
        return f"{seconds:.1f} s"
    if seconds < SECONDS_AS_SUCH:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    days, day_hours = divmod(hours, 24)
    if days:
        return f"{days} d {day_hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
