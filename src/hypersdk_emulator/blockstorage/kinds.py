"""Block volumes and boot volumes have the same rules and other names: the names of both, in one place."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One of the two.

    Args:
        volume: second word of the volume's OCID; also of its rows.
        backup: second word of its backups' OCIDs.
        noun: the SDK's, as in CreateVolume.
        path: its collection in the API.
        key: name of the field that holds a volume's id.
        source: `type` of a source that is such a volume; `Backup` and `BackupDelta` make the others.
        boot: a boot volume.
    """

    volume: str
    backup: str
    noun: str
    path: str
    key: str
    source: str
    boot: bool


BLOCK_VOLUME = Kind("volume", "volumebackup", "Volume", "volumes", "volumeId", "volume", boot=False)
BOOT_VOLUME = Kind(
    "bootvolume", "bootvolumebackup", "BootVolume", "bootVolumes", "bootVolumeId", "bootVolume", boot=True
)
KINDS = (BLOCK_VOLUME, BOOT_VOLUME)


def kind_of(name: str) -> Kind:
    """The kind of a row of volumes or of their backups."""
    return next(kind for kind in KINDS if name in (kind.volume, kind.backup))
