"""Volumes, backups and attachments as rows: what hangs on a volume, and what goes on with it. No wire format."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypersdk_emulator.blockstorage.kinds import BLOCK_VOLUME, BOOT_VOLUME, KINDS, Kind, kind_of
from hypersdk_emulator.blockstorage.layers import LayerStore
from hypersdk_emulator.blockstorage.state import GONE, RUNNING_BACKUP, Access, AttachmentState, Use
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import invalid_parameter, not_authorized_or_not_found
from hypersdk_emulator.resources import Resource, children, find_resource, new_ocid
from hypersdk_emulator.timeline import Timeline

DATA_ATTACHMENT, BOOT_ATTACHMENT = "volumeattachment", "bootvolumeattachment"
GROUP, GROUP_BACKUP = "volumegroup", "volumegroupbackup"


@dataclass(frozen=True)
class Wanted:
    """What a new volume is to be; None = as the source or the service has it."""

    name: str
    compartment: str
    domain: str
    size_in_gbs: int | None = None
    vpus_per_gb: int | None = None
    freeform_tags: Mapping[str, str] | None = None
    defined_tags: Mapping[str, Any] | None = None
    kms_key_id: str | None = None
    image_id: str | None = None
    id: str | None = None


def layers(cloud: Cloud) -> LayerStore:
    """The bytes of all volumes of a cloud."""
    return LayerStore(cloud.db, cloud.options.state / "volumes")


def find_volume(cloud: Cloud, volume_id: str, kind: Kind | None = None) -> Resource:
    """The volume of an id, or OCI's 404; without a kind it may be of either."""
    known = {each.volume: each for each in KINDS}
    named = volume_id.split(".")[1:2]
    if kind is None:
        kind = known.get(named[0] if named else "", BLOCK_VOLUME)
    return find_resource(cloud.db, kind.volume, volume_id)


def save_new(cloud: Cloud, kind: Kind, wanted: Wanted, timeline: Timeline, doc: Mapping[str, Any]) -> Resource:
    """A new volume's row."""
    volume = Resource(
        id=wanted.id or new_ocid(cloud, kind.volume),
        kind=kind.volume,
        compartment=wanted.compartment,
        name=wanted.name,
        created=cloud.clock.timestamp(),
        timeline=timeline,
        doc={
            "availabilityDomain": wanted.domain,
            "freeformTags": dict(wanted.freeform_tags or {}),
            "definedTags": dict(wanted.defined_tags or {}),
            "kmsKeyId": wanted.kms_key_id,
            "imageId": wanted.image_id,
            **doc,
        },
    )
    volume.save(cloud.db)
    return volume


def is_hydrated(volume: Resource, now: float) -> bool:
    """False while a copy's bytes are still being copied."""
    return now >= float(volume.doc.get("hydrated", 0.0))


def backups_of(cloud: Cloud, volume: Resource) -> list[Resource]:
    """The backups of a volume that are not deleted, oldest first."""
    now = cloud.clock.timestamp()
    found = children(cloud.db, kind_of(volume.kind).backup, volume.id)
    return sorted((each for each in found if each.state(now) not in GONE), key=lambda each: each.doc["number"])


def attachments_of(cloud: Cloud, volume_id: str) -> list[Resource]:
    """The attachments of a volume that are not DETACHED."""
    query = "SELECT id, kind FROM resources WHERE json_extract(doc, '$.volumeId') = ? AND kind IN (?, ?)"
    rows = cloud.db.all(query, volume_id, DATA_ATTACHMENT, BOOT_ATTACHMENT)
    return _present(cloud, [find_resource(cloud.db, row["kind"], row["id"]) for row in rows])


def data_attachments(cloud: Cloud, instance_id: str) -> list[Resource]:
    """The data attachments of an instance that are not DETACHED."""
    return _present(cloud, children(cloud.db, DATA_ATTACHMENT, instance_id))


def boot_attachment(cloud: Cloud, instance_id: str) -> Resource | None:
    """The attachment of an instance's boot volume, if it is not DETACHED."""
    return next(iter(_present(cloud, children(cloud.db, BOOT_ATTACHMENT, instance_id))), None)


def _present(cloud: Cloud, attachments: list[Resource]) -> list[Resource]:
    now = cloud.clock.timestamp()
    return [each for each in attachments if each.state(now) != AttachmentState.DETACHED]


def access(attachment: Resource) -> Access:
    """How an attachment lets its instance at the volume."""
    doc = attachment.doc
    return Access(attachment.parent, bool(doc.get("isReadOnly")), bool(doc.get("isShareable")))


def clones_of(cloud: Cloud, volume_id: str) -> list[Resource]:
    """The clones of a volume that are neither deleted nor hydrated."""
    now = cloud.clock.timestamp()
    query = "SELECT id, kind FROM resources WHERE json_extract(doc, '$.sourceDetails.id') = ? AND kind IN (?, ?)"
    rows = cloud.db.all(query, volume_id, BLOCK_VOLUME.volume, BOOT_VOLUME.volume)
    found = [find_resource(cloud.db, row["kind"], row["id"]) for row in rows]
    return [each for each in found if each.state(now) not in GONE and not is_hydrated(each, now)]


def use_of(cloud: Cloud, volume: Resource) -> Use:
    """What goes on with a volume."""
    now = cloud.clock.timestamp()
    return Use(
        attached=bool(attachments_of(cloud, volume.id)),
        clones=len(clones_of(cloud, volume.id)),
        backing_up=any(each.state(now) in RUNNING_BACKUP for each in backups_of(cloud, volume)),
        grouped=bool(volume.parent),
        hydrating=not is_hydrated(volume, now),
    )


def must_exist(resource: Resource, now: float) -> Resource:
    """Refuse what was deleted, as OCI does: with a 404."""
    if resource.state(now) in GONE:
        raise not_authorized_or_not_found()
    return resource


def must_be_whole(volume: Resource, use: str) -> None:
    """Refuse to use a volume of changed blocks as if it were a disk ('Direct APIs for Changed Block Tracking').

    Args:
        volume: of either kind.
        use: such as `cloned`, for the message.

    Raises:
        ServiceError: 400.
    """
    if "delta" in volume.doc:
        raise invalid_parameter(f"The volume {volume.id} tells changed blocks only; it cannot be {use}")
