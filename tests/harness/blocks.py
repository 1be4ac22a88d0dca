"""Block storage of an emulator through Oracle's SDK, with the control calls that stand for a guest's I/O."""

from dataclasses import dataclass, field
from typing import Any

import oci
from emulator import Emulator, instance_id
from oci.core import models

AD_1, AD_2 = "Test:US-ASHBURN-AD-1", "Test:US-ASHBURN-AD-2"
SECONDS = 100.0
"""How long each transition lasts on the virtual clock in the tests that look at states."""


@dataclass
class Blocks:
    """The two clients and what the tests do with them most."""

    emulator: Emulator
    storage: oci.core.BlockstorageClient = field(init=False)
    compute: oci.core.ComputeClient = field(init=False)

    def __post_init__(self) -> None:
        self.connect()

    def connect(self) -> None:
        """Make the clients, once more after a restart."""
        config = oci.config.from_file(str(self.emulator.config_file))
        more = {"service_endpoint": self.emulator.endpoint, "retry_strategy": oci.retry.NoneRetryStrategy()}
        self.storage = oci.core.BlockstorageClient(config, **more)
        self.compute = oci.core.ComputeClient(config, **more)

    @property
    def compartment(self) -> str:
        """The seed's first compartment."""
        return self.emulator.seed.compartment

    def wait(self, seconds: float = 10 * SECONDS) -> None:
        """Let virtual time pass; all that is under way ends."""
        self.emulator.control("POST", "clock", {"advanceSeconds": seconds})

    def volume(self, *, ready: bool = True, boot: bool = False, **fields: Any) -> Any:
        """A new volume, in AD 1 and of 50 GB unless said otherwise; AVAILABLE and hydrated if it is to be ready."""
        size = {} if "source_details" in fields else {"size_in_gbs": 50}
        fields = {"compartment_id": self.compartment, "availability_domain": AD_1, **size, **fields}
        if boot:
            made = self.storage.create_boot_volume(models.CreateBootVolumeDetails(**fields)).data
        else:
            made = self.storage.create_volume(models.CreateVolumeDetails(**fields)).data
        if ready:
            self.wait()
        return self.again(made) if ready else made

    def clone(self, source: Any, *, ready: bool = True, **fields: Any) -> Any:
        """A clone of a volume of either kind."""
        if self.is_boot(source.id):
            details: Any = models.BootVolumeSourceFromBootVolumeDetails(id=source.id)
        else:
            details = models.VolumeSourceFromVolumeDetails(id=source.id)
        return self.volume(ready=ready, boot=self.is_boot(source.id), source_details=details, **fields)

    def backup(self, volume: Any, kind: str | None = None, *, ready: bool = True) -> Any:
        """A backup of a volume of either kind."""
        if self.is_boot(volume.id):
            boot = models.CreateBootVolumeBackupDetails(boot_volume_id=volume.id, type=kind)
            made = self.storage.create_boot_volume_backup(boot).data
        else:
            details = models.CreateVolumeBackupDetails(volume_id=volume.id, type=kind)
            made = self.storage.create_volume_backup(details).data
        if ready:
            self.wait()
        return self.again(made) if ready else made

    def restore(self, backup: Any, **fields: Any) -> Any:
        """A volume with a backup's bytes."""
        if self.is_boot(backup.id):
            details: Any = models.BootVolumeSourceFromBootVolumeBackupDetails(id=backup.id)
        else:
            details = models.VolumeSourceFromVolumeBackupDetails(id=backup.id)
        return self.volume(boot=self.is_boot(backup.id), source_details=details, **fields)

    def group(self, source: Any, *, ready: bool = True, **fields: Any) -> Any:
        """A volume group of volumes, or of what a source of the SDK's models says."""
        if isinstance(source, list):
            source = models.VolumeGroupSourceFromVolumesDetails(volume_ids=[each.id for each in source])
        fields = {"compartment_id": self.compartment, "availability_domain": AD_1, **fields}
        details = models.CreateVolumeGroupDetails(source_details=source, **fields)
        made = self.storage.create_volume_group(details).data
        if ready:
            self.wait()
        return self.again(made) if ready else made

    def attach(self, volume: Any, instance: str = "web-01", *, iscsi: bool = False, **fields: Any) -> Any:
        """Attach a volume as data."""
        details = models.AttachIScsiVolumeDetails if iscsi else models.AttachParavirtualizedVolumeDetails
        wanted = details(instance_id=instance_id(instance), volume_id=volume.id, **fields)
        made = self.compute.attach_volume(wanted).data
        self.wait()
        return self.compute.get_volume_attachment(made.id).data

    def detach(self, attachment: Any) -> None:
        """Detach it, until it is DETACHED."""
        self.compute.detach_volume(attachment.id)
        self.wait()

    def again(self, resource: Any) -> Any:
        """The resource as it is now."""
        kind = resource.id.split(".")[1]
        get = {
            "volume": self.storage.get_volume,
            "bootvolume": self.storage.get_boot_volume,
            "volumebackup": self.storage.get_volume_backup,
            "bootvolumebackup": self.storage.get_boot_volume_backup,
            "volumegroup": self.storage.get_volume_group,
            "volumegroupbackup": self.storage.get_volume_group_backup,
        }[kind]
        return get(resource.id).data

    @staticmethod
    def is_boot(resource_id: str) -> bool:
        """True for boot volumes and their backups."""
        return resource_id.split(".")[1].startswith("boot")

    # -- the guest's reads and writes

    def send_data(self, method: str, volume: Any, query: str, data: bytes | None = None) -> Any:
        """One control call on a volume's data; returns the reply, good or bad."""
        headers = {"authorization": f"Bearer {self.emulator.token}"}
        return self.emulator.send(method, f"/_emulator/volumes/{volume.id}/data?{query}", data, headers)

    def write(self, volume: Any, offset: int, data: bytes) -> None:
        """Write as a guest would."""
        reply = self.send_data("PUT", volume, f"offset={offset}", data)
        assert reply.status == 200, reply

    def read(self, volume: Any, offset: int, length: int) -> bytes:
        """Read as a guest would."""
        reply = self.send_data("GET", volume, f"offset={offset}&length={length}")
        assert reply.status == 200, reply
        return reply.body

    def changes(self, volume: Any) -> list[tuple[int, int]]:
        """What a volume made of two backups says: offset and length of each change."""
        found = self.emulator.control("GET", f"volumes/{volume.id}/changes")
        return [(each["offset"], each["length"]) for each in found["extents"]]


def refused(call: Any, *arguments: Any, **named: Any) -> tuple[int, str, str]:
    """The refusal of an SDK call: status, code and message."""
    try:
        call(*arguments, **named)
    except oci.exceptions.ServiceError as error:
        return error.status, error.code, error.message
    raise AssertionError("the call was not refused")
