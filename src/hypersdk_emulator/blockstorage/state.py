"""The rules of block storage. Pure: every function takes what it judges as arguments, the time too.

Sources: the `oci` SDK's models for names of states and fields; Oracle's pages on Block Volume for the rules, named
below by their titles; wordings of refusals by the issue threads named. Times are virtual seconds since the epoch.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from hypersdk_emulator.errors import ServiceError, invalid_parameter
from hypersdk_emulator.timeline import Timeline

MIN_VOLUME_GB, MAX_VOLUME_GB = 50, 32_768
"""'Overview of Block Volume': 50 GB to 32 TB, in steps of 1 GB. What an image brings along may be less."""
DEFAULT_VOLUME_GB, DEFAULT_BOOT_GB = 1024, 47
"""Of a block volume (SDK: CreateVolumeDetails), and of a boot volume of Oracle's own images."""
MAX_GROUP_VOLUMES, MAX_GROUP_GB = 32, 128 * 1024
"""'Volume Groups': 32 volumes and 128 TB."""
MAX_CLONES_DETACHED = 10
"""'Cloning a Volume': ten clones at a time of a detached source, one of an attached source."""
MAX_ATTACHMENTS = 32
"""'Attaching a Block Volume': 32 volumes on one instance; 'Attaching a Volume to Multiple Instances': 32 instances."""
DEFAULT_VPUS, MAX_VPUS, VPU_STEP = 10, 120, 10
LOWER_COST = 0
"""`vpusPerGB` of the Lower Cost level, which boot volumes cannot have."""
MIN_CHANGE_BLOCK, MAX_CHANGE_BLOCK = 4096, 1 << 20
REQUEST_SHARE = 0.1
"""Share of a backup's time in REQUEST_RECEIVED; nobody measured it."""
BYTES_PER_GB, BYTES_PER_MB = 1 << 30, 1 << 20


class VolumeState(StrEnum):
    """`oci.core.models.Volume.LIFECYCLE_STATE_*`; boot volumes and groups have the same words."""

    PROVISIONING = "PROVISIONING"
    RESTORING = "RESTORING"
    AVAILABLE = "AVAILABLE"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"
    FAULTY = "FAULTY"
    UPDATE_PENDING = "UPDATE_PENDING"


class BackupState(StrEnum):
    """`oci.core.models.VolumeGroupBackup.LIFECYCLE_STATE_*`; a single backup is never COMMITTED."""

    REQUEST_RECEIVED = "REQUEST_RECEIVED"
    CREATING = "CREATING"
    COMMITTED = "COMMITTED"
    AVAILABLE = "AVAILABLE"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"
    FAULTY = "FAULTY"


class AttachmentState(StrEnum):
    """`oci.core.models.VolumeAttachment.LIFECYCLE_STATE_*`."""

    ATTACHING = "ATTACHING"
    ATTACHED = "ATTACHED"
    DETACHING = "DETACHING"
    DETACHED = "DETACHED"


class BackupType(StrEnum):
    """`oci.core.models.VolumeBackup.TYPE_*`."""

    FULL = "FULL"
    INCREMENTAL = "INCREMENTAL"


GONE = frozenset({VolumeState.TERMINATING, VolumeState.TERMINATED, AttachmentState.DETACHED})
RUNNING_BACKUP = frozenset({BackupState.REQUEST_RECEIVED, BackupState.CREATING, BackupState.COMMITTED})


def conflict(message: str) -> ServiceError:
    """409 as the core services word it when something else is in the way."""
    return ServiceError(409, "Conflict", message)


# ---------------------------------------------------------------- lives


def provisioning(now: float, seconds: float) -> Timeline:
    """PROVISIONING, then AVAILABLE: a new volume or group, or one that is changed."""
    return Timeline.through((VolumeState.PROVISIONING,), VolumeState.AVAILABLE, start=now, seconds=seconds)


def terminating(now: float, seconds: float) -> Timeline:
    """TERMINATING, then TERMINATED."""
    return Timeline.through((VolumeState.TERMINATING,), VolumeState.TERMINATED, start=now, seconds=seconds)


def backing_up(now: float, seconds: float, *, group: bool) -> Timeline:
    """REQUEST_RECEIVED, CREATING, for a group COMMITTED too, then AVAILABLE."""
    received = now + REQUEST_SHARE * seconds
    steps = [(BackupState.REQUEST_RECEIVED, received), (BackupState.CREATING, now + seconds)]
    if group:
        steps[1:] = [(BackupState.CREATING, (received + now + seconds) / 2), (BackupState.COMMITTED, now + seconds)]
    return Timeline(tuple((str(state), until) for state, until in steps), BackupState.AVAILABLE)


def attaching(now: float, seconds: float) -> Timeline:
    """ATTACHING, then ATTACHED."""
    return Timeline.through((AttachmentState.ATTACHING,), AttachmentState.ATTACHED, start=now, seconds=seconds)


def detaching(attachment_id: str, timeline: Timeline, *, now: float, seconds: float) -> Timeline:
    """DETACHING, then DETACHED.

    Raises:
        ServiceError: 409 unless it is ATTACHED.
    """
    state = timeline.at(now)
    if state != AttachmentState.ATTACHED:
        raise conflict(f"The attachment {attachment_id} is {state}; it must be ATTACHED")
    return Timeline.through((AttachmentState.DETACHING,), AttachmentState.DETACHED, start=now, seconds=seconds)


def must_be_available(what: str, resource_id: str, state: str) -> None:
    """Refuse to use what is not AVAILABLE.

    Raises:
        ServiceError: 409.
    """
    if state != VolumeState.AVAILABLE:
        raise ServiceError(409, "IncorrectState", f"The {what} {resource_id} is {state}; it must be AVAILABLE")


# ---------------------------------------------------------------- sizes


def checked_size(asked: int | None, source: int | None) -> int:
    """The size of a new volume in GB.

    Args:
        asked: what the call says.
        source: size of what it is made from; a copy may be larger, never smaller.

    Raises:
        ServiceError: 400 out of bounds or smaller than the source.
    """
    if asked is None:
        return DEFAULT_VOLUME_GB if source is None else source
    if source is not None and asked < source:
        raise invalid_parameter(f"sizeInGBs is {asked}; it cannot be less than the source's {source}")
    if not MIN_VOLUME_GB <= asked <= MAX_VOLUME_GB and asked != source:
        raise invalid_parameter(f"sizeInGBs is {asked}; it must be from {MIN_VOLUME_GB} to {MAX_VOLUME_GB}")
    return asked


def checked_vpus(asked: int | None, default: int, *, boot: bool) -> int:
    """Volume performance units per GB: 0 (not for boot volumes), 10, 20, 30 ... 120.

    Raises:
        ServiceError: 400.
    """
    vpus = default if asked is None else asked
    least = DEFAULT_VPUS if boot else LOWER_COST
    if vpus % VPU_STEP or not least <= vpus <= MAX_VPUS:
        raise invalid_parameter(f"vpusPerGB is {vpus}; it must be a multiple of {VPU_STEP} from {least} to {MAX_VPUS}")
    return vpus


def gigabytes(size: int) -> int:
    """Whole GB that hold so many bytes; at least one."""
    return max(1, -(-size // BYTES_PER_GB))


# ---------------------------------------------------------------- copies


@dataclass(frozen=True)
class Use:
    """What goes on with a volume.

    Args:
        attached: it is attached, or being attached or detached.
        clones: clones of it that are not hydrated yet.
        backing_up: a backup of it runs.
        grouped: it is in a volume group.
        hydrating: it is a clone itself and not hydrated yet.
    """

    attached: bool = False
    clones: int = 0
    backing_up: bool = False
    grouped: bool = False
    hydrating: bool = False


def may_clone(volume_id: str, use: Use) -> None:
    """Refuse a clone too many ('Cloning a Volume').

    Raises:
        ServiceError: 409.
    """
    if use.backing_up:
        raise conflict(f"Volume {volume_id} cannot be cloned while a backup of it is in progress")
    most = 1 if use.attached else MAX_CLONES_DETACHED
    if use.clones >= most:
        how = "attached" if use.attached else "detached"
        raise conflict(f"Volume {volume_id} is {how} and has {use.clones} clones in progress; {most} may be")


def may_back_up(volume_id: str, use: Use) -> None:
    """Refuse a second backup at a time (cloudnative-pg issue 8608: 409 Conflict).

    Raises:
        ServiceError: 409.
    """
    if use.backing_up:
        raise conflict(f"Volume {volume_id} has a backup in progress")


def may_delete_volume(volume_id: str, use: Use, *, hydrating_too: bool) -> None:
    """Refuse to delete what is in use ('Deleting a Volume', 'Volume Groups'; oci-cloud-controller-manager issue 262).

    Args:
        volume_id: for the message.
        use: what goes on with it.
        hydrating_too: a clone may be deleted before it is hydrated; nobody knows.

    Raises:
        ServiceError: 409.
    """
    if use.attached:
        raise conflict(f"Volume {volume_id} may not be deleted while attached to an Instance.")
    if use.grouped:
        raise conflict(f"Volume {volume_id} may not be deleted while it is in a volume group")
    if use.backing_up:
        raise conflict(f"Volume {volume_id} may not be deleted while a backup of it is in progress")
    if use.hydrating and not hydrating_too:
        raise conflict(f"Volume {volume_id} may not be deleted before it is hydrated")


def backup_type(asked: str | None, *, earlier: bool, resized: bool) -> BackupType:
    """The type that a backup gets: the first is full, and so is the next after a resize ('Block Volume Backups').

    Args:
        asked: `type` of the call; INCREMENTAL if omitted.
        earlier: there is a backup of this volume.
        resized: the volume was resized since.
    """
    wanted = BackupType(asked or BackupType.INCREMENTAL)
    return wanted if earlier and not resized else BackupType.FULL


@dataclass(frozen=True)
class Saved:
    """What a delta's rules need of a backup: `number` counts those of one volume, `size` is the volume's in GB."""

    id: str
    volume_id: str
    state: str
    type: str
    number: int
    size: int


def may_delta(first: Saved, second: Saved, between: Iterable[Saved], block_size: int) -> None:
    """The rules of changed block tracking ('Direct APIs for Changed Block Tracking Between Two Backups').

    Args:
        first: the earlier backup.
        second: the later one.
        between: the backups of the same volume between them.
        block_size: `changeBlockSizeInBytes`.

    Raises:
        ServiceError: 400, 403 (other volume, resized) or 409 (not available).
    """
    if block_size & (block_size - 1) or not MIN_CHANGE_BLOCK <= block_size <= MAX_CHANGE_BLOCK:
        allowed = f"a power of 2 from {MIN_CHANGE_BLOCK} to {MAX_CHANGE_BLOCK}"
        raise invalid_parameter(f"changeBlockSizeInBytes is {block_size}; it must be {allowed}")
    for backup in (first, second):
        if backup.state != BackupState.AVAILABLE:
            raise ServiceError(409, "IncorrectState", f"The backup {backup.id} is {backup.state}; it must be AVAILABLE")
    if first.volume_id != second.volume_id:
        raise ServiceError(403, "NotAllowed", "The two backups are not of the same volume")
    if first.number >= second.number:
        raise invalid_parameter("The second backup must be later than the first")
    if first.size != second.size:
        raise ServiceError(403, "NotAllowed", "The volume was resized between the two backups")
    if second.type != BackupType.INCREMENTAL or any(each.type == BackupType.FULL for each in between):
        raise invalid_parameter("The second backup must be incremental, and no full backup may lie between the two")


# ---------------------------------------------------------------- attachments


@dataclass(frozen=True)
class Access:
    """How a volume is attached to an instance."""

    instance_id: str
    read_only: bool
    shareable: bool


def may_attach(volume_id: str, wanted: Access, present: Iterable[Access]) -> None:
    """The rules of sharing ('Attaching a Volume to Multiple Instances').

    Args:
        volume_id: for the message.
        wanted: the attachment to come.
        present: those of the volume that are not DETACHED.

    Raises:
        ServiceError: 409; the wording for a volume that is not shared is OCI's (terraform-provider-oci issue 547).
    """
    others = list(present)
    if any(other.instance_id == wanted.instance_id or not other.shareable for other in others):
        raise conflict(f"Volume {volume_id} currently attached")
    if others and not wanted.shareable:
        raise conflict(f"Volume {volume_id} is attached as shareable and cannot be attached otherwise")
    if any(other.read_only != wanted.read_only for other in others):
        how = "read/write" if wanted.read_only else "read-only"
        raise conflict(f"Volume {volume_id} is attached {how}; all its attachments must be alike")
    if len(others) >= MAX_ATTACHMENTS:
        raise conflict(f"Volume {volume_id} is attached to {MAX_ATTACHMENTS} instances already")


def may_group(count: int, size: int) -> None:
    """The limits of a volume group.

    Raises:
        ServiceError: 400.
    """
    if count > MAX_GROUP_VOLUMES:
        raise invalid_parameter(f"A volume group has at most {MAX_GROUP_VOLUMES} volumes, not {count}")
    if size > MAX_GROUP_GB:
        raise invalid_parameter(f"A volume group has at most {MAX_GROUP_GB} GB, not {size}")
