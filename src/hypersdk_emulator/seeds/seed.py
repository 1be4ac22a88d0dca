"""The seed: what is in the cloud at the start. Parsed and checked whole before anything of it is applied.

The format stands in the client kit's README ("Seed format"), with the additions of this emulator: federated and
denied users, compartment trees, data volumes, objects, bucket settings, limits, assumptions. A mistake is named by its
place in the JSON, such as `instances[3].bootVolume.file`. Pure, but for looking whether the named files exist.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypersdk_emulator.assumptions import AssumptionError, Assumptions
from hypersdk_emulator.compute.limits import CORE_LIMITS, IMAGE_LIMIT
from hypersdk_emulator.compute.state import InstanceState
from hypersdk_emulator.seeds import networks, rights
from hypersdk_emulator.seeds.node import Node, SeedError, is_number
from hypersdk_emulator.seeds.rights import Rights

DISK_FORMATS = {"raw": "raw", "qcow2": "qcow2"}
ATTACHMENT_TYPES = ("paravirtualized", "iscsi")
STORAGE_TIERS = ("Standard", "Archive")
VERSIONINGS = ("Disabled", "Enabled", "Suspended")
MAX_RETENTION_DAYS = 36_500
BUCKET_NAME = re.compile(r"[A-Za-z0-9._-]{1,256}")


@dataclass(frozen=True)
class ApiKey:
    """A public key that signs for a user."""

    fingerprint: str
    public_key_pem: str


@dataclass(frozen=True)
class SecretKey:
    """A Customer Secret Key of the S3-compatible API."""

    access_key: str
    secret_key: str


@dataclass(frozen=True)
class User:
    """Somebody who signs, and what is refused to them."""

    id: str
    name: str
    api_keys: tuple[ApiKey, ...]
    secret_keys: tuple[SecretKey, ...]
    federated: bool
    denied: tuple[str, ...]
    denied_compartments: tuple[str, ...]


@dataclass(frozen=True)
class Compartment:
    """A compartment below the tenancy or another compartment."""

    id: str
    name: str
    parent_id: str | None


@dataclass(frozen=True)
class Bucket:
    """A bucket with its settings; `retention_days` None means no retention rule."""

    name: str
    compartment_id: str
    storage_tier: str
    versioning: str
    retention_days: int | None


@dataclass(frozen=True)
class SeedObject:
    """An object: its bytes come from a file or are the given text."""

    bucket: str
    name: str
    file: Path | None
    text: str


@dataclass(frozen=True)
class Image:
    """An image; without a compartment it is a platform image, and then `disk` may be None: launches get empty disks."""

    id: str
    compartment_id: str | None
    display_name: str
    operating_system: str
    operating_system_version: str
    disk: "Disk | None"
    size_in_gbs: int
    create_image_allowed: bool


@dataclass(frozen=True)
class Disk:
    """A disk file on this machine, only ever read."""

    file: Path
    format: str


@dataclass(frozen=True)
class BootVolume:
    """A boot volume: what the API shows of it, and the file that holds its bytes."""

    id: str
    size_in_gbs: int
    disk: Disk


@dataclass(frozen=True)
class DataVolume:
    """An attached block volume, which an image leaves out; without a file it is empty."""

    id: str
    display_name: str
    size_in_gbs: int
    disk: Disk | None = None
    attachment_type: str = "paravirtualized"


@dataclass(frozen=True)
class Instance:
    """An instance with its boot volume and its data volumes."""

    id: str
    display_name: str
    compartment_id: str
    availability_domain: str
    shape: str
    state: str
    image_id: str
    boot_volume: BootVolume
    data_volumes: tuple[DataVolume, ...]
    freeform_tags: Mapping[str, str]
    launch_options: Mapping[str, Any]
    create_image_allowed: bool
    subnet_id: str | None = None


@dataclass(frozen=True)
class Timing:
    """How long transient states last, in virtual seconds, and factors for single operations (see `durations`)."""

    transition_seconds: float
    pace_of: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Seed:
    """A whole checked seed; a scalar that the JSON leaves out is None and leaves the cloud's setting alone."""

    region: str | None
    namespace: str | None
    tenancy_id: str | None
    compartments: tuple[Compartment, ...]
    users: tuple[User, ...]
    buckets: tuple[Bucket, ...]
    objects: tuple[SeedObject, ...]
    images: tuple[Image, ...]
    instances: tuple[Instance, ...]
    subnets: tuple[networks.Subnet, ...]
    timing: Timing | None
    clock: float | None
    limits: Mapping[str, int]
    assume: Mapping[str, Any]
    rights: Rights


class Reader:
    """Reads one seed.

    Args:
        base: what relative files are relative to.
        root: where every file must lie after links are followed, or None for anywhere.
    """

    def __init__(self, base: Path, root: Path | None) -> None:
        self._base, self._root = base, root

    def read(self, value: Any) -> Seed:
        """Check the whole JSON.

        Raises:
            SeedError: begins with the place of the mistake.
        """
        node = Node(value, "")
        seed = Seed(
            region=node.maybe("region"),
            namespace=node.maybe("namespace"),
            tenancy_id=node.maybe_ocid("tenancyId"),
            compartments=node.each("compartments", _compartment),
            users=node.each("users", _user),
            buckets=node.each("buckets", _bucket),
            objects=node.each("objects", self._object),
            images=node.each("images", self._image),
            instances=node.each("instances", self._instance),
            subnets=node.each("subnets", networks.read_subnet),
            timing=_timing(node) if "timing" in value else None,
            clock=node.maybe_time("clock"),
            limits=_limits(node.child("limits")) if "limits" in value else {},
            assume=node.mapping("assume"),
            rights=rights.read(node, value),
        )
        node.done()
        try:
            Assumptions().assume_all(seed.assume)
        except AssumptionError as error:
            raise SeedError(f"assume.{error}") from error
        _unique(seed)
        _unique_volumes(seed)
        return seed

    def _file(self, node: Node, key: str) -> Path:
        path = (self._base / node.text(key)).resolve()
        if self._root is not None and not path.is_relative_to(self._root.resolve()):
            raise SeedError(f"{node.at(key)}: {path} lies outside of the seed root {self._root}")
        if not path.is_file():
            raise SeedError(f"{node.at(key)}: there is no file {path}")
        return path

    def _disk(self, node: Node) -> Disk:
        return Disk(self._file(node, "file"), node.choice("format", tuple(DISK_FORMATS), "raw"))

    def _object(self, node: Node) -> SeedObject:
        text = node.take("text", lambda value: isinstance(value, str), "a text", None)
        file = None if text is not None else self._file(node, "file")
        return SeedObject(node.text("bucket"), node.text("name"), file, text or "")

    def _image(self, node: Node) -> Image:
        compartment = node.maybe_ocid("compartmentId")
        return Image(
            id=node.ocid("id"),
            compartment_id=compartment,
            display_name=node.text("displayName"),
            operating_system=node.text("operatingSystem", "Oracle Linux"),
            operating_system_version=node.text("operatingSystemVersion", "9"),
            disk=self._disk(node) if compartment is not None or node.has("file") else None,
            size_in_gbs=node.whole("sizeInGBs", 47),
            create_image_allowed=node.flag("createImageAllowed", default=True),
        )

    def _data_volume(self, node: Node) -> DataVolume:
        return DataVolume(
            id=node.ocid("volumeId"),
            display_name=node.text("displayName"),
            size_in_gbs=node.whole("sizeInGBs"),
            disk=self._disk(node) if node.has("file") else None,
            attachment_type=node.choice("attachmentType", ATTACHMENT_TYPES, ATTACHMENT_TYPES[0]),
        )

    def _instance(self, node: Node) -> Instance:
        boot = node.child("bootVolume")
        volume = BootVolume(boot.ocid("id"), boot.whole("sizeInGBs"), self._disk(boot))
        boot.done()
        tags = node.mapping("freeformTags")
        if not all(isinstance(value, str) for value in tags.values()):
            raise SeedError(f"{node.at('freeformTags')}: every tag is a text")
        return Instance(
            id=node.ocid("id"),
            display_name=node.text("displayName"),
            compartment_id=node.ocid("compartmentId"),
            availability_domain=node.text("availabilityDomain"),
            shape=node.text("shape", "VM.Standard.E4.Flex"),
            state=node.choice("lifecycleState", tuple(InstanceState), "RUNNING"),
            image_id=node.ocid("imageId"),
            boot_volume=volume,
            data_volumes=node.each("volumeAttachments", self._data_volume),
            freeform_tags=tags,
            launch_options=node.mapping("launchOptions"),
            create_image_allowed=node.flag("createImageAllowed", default=True),
            subnet_id=node.maybe_ocid("subnetId"),
        )


def _compartment(node: Node) -> Compartment:
    return Compartment(node.ocid("id"), node.text("name"), node.maybe_ocid("parentId"))


def _secret_key(node: Node) -> SecretKey:
    return SecretKey(node.text("accessKey"), node.text("secretKey"))


def _user(node: Node) -> User:
    user_id = node.ocid("id")
    return User(
        id=user_id,
        name=node.text("name", user_id),
        api_keys=node.each("apiKeys", lambda key: ApiKey(key.text("fingerprint"), key.text("publicKeyPem"))),
        secret_keys=node.each("customerSecretKeys", _secret_key),
        federated=node.flag("federated", default=False),
        denied=node.texts("denied"),
        denied_compartments=node.texts("deniedCompartments"),
    )


def _bucket(node: Node) -> Bucket:
    name = str(node.take("name", lambda v: BUCKET_NAME.fullmatch(str(v)) is not None, "1 to 256 of A-Z a-z 0-9 . _ -"))
    days = node.take("retention", lambda v: type(v) is int and 1 <= v <= MAX_RETENTION_DAYS, "days from 1", None)
    return Bucket(
        name=name,
        compartment_id=node.ocid("compartmentId"),
        storage_tier=node.choice("storageTier", STORAGE_TIERS, "Standard"),
        versioning=node.choice("versioning", VERSIONINGS, "Disabled"),
        retention_days=days,
    )


def _timing(node: Node) -> Timing:
    inner = node.child("timing")
    pace = inner.mapping("paceOf")
    for operation, factor in pace.items():
        if not is_number(factor):
            raise SeedError(f"{inner.at('paceOf')}.{operation}: {factor!r} is not a number from 0")
    timing = Timing(inner.number("transitionSeconds", 0.4), pace)
    inner.done()
    return timing


def _limits(node: Node) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in (IMAGE_LIMIT, *sorted(CORE_LIMITS)):
        most = node.take(name, lambda v: type(v) is int and v >= 0, "a whole number from 0", None)
        if most is not None:
            found[name] = most
    node.done()
    return found


def _unique(seed: Seed) -> None:
    """An id, and a bucket's name, may stand in the seed once."""
    kinds: Mapping[str, list[str]] = {
        "compartments": [c.id for c in seed.compartments],
        "users": [u.id for u in seed.users],
        "buckets": [b.name for b in seed.buckets],
        "images": [i.id for i in seed.images],
        "instances": [i.id for i in seed.instances],
        "subnets": [s.id for s in seed.subnets],
    }
    for kind, keys in kinds.items():
        seen: dict[str, int] = {}
        for n, key in enumerate(keys):
            if key in seen:
                raise SeedError(f"{kind}[{n}]: {key} stands already at {kind}[{seen[key]}]")
            seen[key] = n


def _unique_volumes(seed: Seed) -> None:
    """A volume may belong to one instance."""
    seen: dict[str, int] = {}
    for n, instance in enumerate(seed.instances):
        for volume_id in (instance.boot_volume.id, *(each.id for each in instance.data_volumes)):
            if volume_id in seen:
                first = seen[volume_id]
                raise SeedError(f"instances[{n}]: the volume {volume_id} stands already at instances[{first}]")
            seen[volume_id] = n
