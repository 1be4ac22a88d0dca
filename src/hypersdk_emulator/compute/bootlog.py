"""What a guest writes to its serial console while it boots: text made of the instance's facts. Pure.

No guest runs here. The same facts give the same text, so that tests can compare it; it looks as an Oracle Linux boot
does, and the firmware's lines are those of the firmware that the launch options name.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

MAX_BYTES = 1 << 20
"""OCI keeps the newest megabyte of a console (SDK: capture_console_history)."""
KERNEL = "5.15.0-206.153.7.el9uek"
_UNITS = (
    "Journal Service",
    "Create Volatile Files and Directories",
    "Network Manager",
    "Initial cloud-init job (pre-networking)",
    "Initial cloud-init job (metadata service crawler)",
    "OpenSSH server daemon",
    "Login and Power Management Service",
    "Oracle Cloud Agent",
    "Apply the settings specified in cloud-config",
    "Execute cloud user/final scripts",
)
_DEVICES = ("virtio-pci 0000:00:03.0", "virtio_net virtio0 ens3", "virtio_scsi virtio1", "sd 2:0:0:1: [sda]")


@dataclass(frozen=True)
class Guest:
    """The facts of an instance that its console shows."""

    instance_id: str
    name: str
    firmware: str
    system: str
    architecture: str
    ocpus: float
    memory_in_gbs: float
    boots: int = 1


def console_text(guest: Guest) -> bytes:
    """All that the instance has written to its console, at most a megabyte."""
    lines = [line for boot in range(guest.boots) for line in _boot(guest, boot)]
    return "".join(f"{line}\r\n" for line in lines).encode()[-MAX_BYTES:]


def _boot(guest: Guest, number: int) -> Iterator[str]:
    digest = hashlib.sha256(f"{guest.instance_id}/{number}".encode()).digest()
    clock = random.Random(digest)  # noqa: S311 - times in a log, meant to be repeatable
    yield from _firmware(guest)
    at = 0.0
    for line in (*_kernel(guest), *_DEVICES):
        yield f"[{at:12.6f}] {line}"
        at += clock.uniform(0.001, 0.2)
    for unit in _UNITS:
        at += clock.uniform(0.05, 0.9)
        yield f"[{at:12.6f}] systemd[1]: Started {unit}."
    yield ""
    yield f"{guest.system}"
    yield f"Kernel {KERNEL}.{guest.architecture} on an {guest.architecture}"
    yield ""
    yield f"{guest.name} login: "


def _firmware(guest: Guest) -> Iterator[str]:
    if guest.firmware == "BIOS":
        yield "SeaBIOS (version 1.13.0)"
        yield "Booting from Hard Disk..."
    else:
        yield 'BdsDxe: loading Boot0001 "UEFI ORACLE BlockVolume" from PciRoot(0x0)/Pci(0x4,0x0)/Scsi(0x0,0x1)'
        yield 'BdsDxe: starting Boot0001 "UEFI ORACLE BlockVolume" from PciRoot(0x0)/Pci(0x4,0x0)/Scsi(0x0,0x1)'


def _kernel(guest: Guest) -> Iterator[str]:
    yield f"Linux version {KERNEL}.{guest.architecture} (mockbuild@host) #2 SMP"
    yield f"Command line: BOOT_IMAGE=/vmlinuz-{KERNEL}.{guest.architecture} root=/dev/mapper/ocivolume-root ro"
    yield f"DMI: QEMU Standard PC (i440FX + PIIX, 1996), Memory: {guest.memory_in_gbs:g} GB, CPUs: {guest.ocpus:g} OCPU"
