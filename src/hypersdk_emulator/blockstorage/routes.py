"""The rows of block storage in the route table."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from hypersdk_emulator.blockstorage import backups, common, groupbackups, groups, volumes
from hypersdk_emulator.blockstorage.kinds import BLOCK_VOLUME, BOOT_VOLUME, Kind
from hypersdk_emulator.blockstorage.records import GROUP, GROUP_BACKUP
from hypersdk_emulator.routing import Route

_SOURCES = "no replicas, backup policies, autotuning or customer keys; they are taken and not acted on"
_BACKUPS = "taken at REQUEST_RECEIVED; no retention lock, no copy to another region, no schedule"


def _row(operation: str, method: str, pattern: str, handler: Any, differs: str = "") -> Route:
    return Route(operation, "blockstorage", method, f"/20160918/{pattern}", handler, differs=differs)


def _of_kind(kind: Kind) -> Iterator[Route]:
    """Volumes of one kind and their backups."""
    noun, path = kind.noun, kind.path
    one, move = f"{path}/{{{kind.key}}}", "actions/changeCompartment"
    yield _row(f"List{noun}s", "GET", path, partial(volumes.list_volumes, kind), "needs compartmentId")
    yield _row(f"Create{noun}", "POST", path, partial(volumes.create, kind), _SOURCES)
    yield _row(f"Get{noun}", "GET", one, partial(volumes.get, kind))
    yield _row(f"Update{noun}", "PUT", one, partial(volumes.update, kind), _SOURCES)
    yield _row(f"Delete{noun}", "DELETE", one, partial(volumes.delete, kind))
    moved = partial(common.change_compartment, kind.volume, kind.key)
    yield _row(f"Change{noun}Compartment", "POST", f"{one}/{move}", moved)
    key = f"{kind.key[:-2]}BackupId"
    path = f"{kind.path[:-1]}Backups"
    one = f"{path}/{{{key}}}"
    yield _row(f"List{noun}Backups", "GET", path, partial(backups.list_backups, kind))
    yield _row(f"Create{noun}Backup", "POST", path, partial(backups.create, kind), _BACKUPS)
    yield _row(f"Get{noun}Backup", "GET", one, partial(backups.get, kind))
    changed = partial(common.update_plain, kind.backup, key, backups.backup_json)
    yield _row(f"Update{noun}Backup", "PUT", one, changed)
    yield _row(f"Delete{noun}Backup", "DELETE", one, partial(backups.delete, kind))
    moved = partial(common.change_compartment, kind.backup, key)
    yield _row(f"Change{noun}BackupCompartment", "POST", f"{one}/{move}", moved)


def _of_groups() -> Iterator[Route]:
    one, move = "volumeGroups/{volumeGroupId}", "actions/changeCompartment"
    yield _row("ListVolumeGroups", "GET", "volumeGroups", groups.list_groups)
    yield _row("CreateVolumeGroup", "POST", "volumeGroups", groups.create, _SOURCES)
    yield _row("GetVolumeGroup", "GET", one, groups.get)
    yield _row("UpdateVolumeGroup", "PUT", one, groups.update)
    yield _row("DeleteVolumeGroup", "DELETE", one, groups.delete)
    moved = partial(common.change_compartment, GROUP, "volumeGroupId")
    yield _row("ChangeVolumeGroupCompartment", "POST", f"{one}/{move}", moved, "its volumes stay where they are")
    one = "volumeGroupBackups/{volumeGroupBackupId}"
    yield _row("ListVolumeGroupBackups", "GET", "volumeGroupBackups", groupbackups.list_backups)
    yield _row("CreateVolumeGroupBackup", "POST", "volumeGroupBackups", groupbackups.create, _BACKUPS)
    yield _row("GetVolumeGroupBackup", "GET", one, groupbackups.get)
    changed = partial(common.update_plain, GROUP_BACKUP, "volumeGroupBackupId", groupbackups.group_backup_json)
    yield _row("UpdateVolumeGroupBackup", "PUT", one, changed)
    yield _row("DeleteVolumeGroupBackup", "DELETE", one, groupbackups.delete)
    moved = partial(common.change_compartment, GROUP_BACKUP, "volumeGroupBackupId")
    yield _row("ChangeVolumeGroupBackupCompartment", "POST", f"{one}/{move}", moved)


BLOCKSTORAGE = (*_of_kind(BLOCK_VOLUME), *_of_kind(BOOT_VOLUME), *_of_groups())
