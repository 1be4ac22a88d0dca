"""A small cloud to rehearse on: `python -m hypersdk_emulator.seeds.demo_seed DIR` fills DIR with all it needs."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import sys

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from hypersdk_emulator.seeds.demo_disk import build_demo_disk

# Fixed identifiers: a rehearsal cloud is private to its directory, and docs can name them.
TENANCY = "ocid1.tenancy.oc1..rehearsaltenancy"
COMPARTMENT = "ocid1.compartment.oc1..rehearsalweb"
USER = "ocid1.user.oc1..rehearsaluser"
PLATFORM_IMAGE = "ocid1.image.oc1.iad.rehearsalplatform"
INSTANCES = {"web-01": "STOPPED", "web-02": "RUNNING"}
BUCKET = "exports"
REGION = "us-ashburn-1"
BOOT_VOLUME_GB = 50


def write_demo(folder: pathlib.Path) -> pathlib.Path:
    """Write a rehearsal cloud.

    Args:
        folder: directory to fill; made if absent. Gets `key.pem`, `config`, `boot.raw` and `seed.json`.

    Returns:
        The path of the seed.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    public_pem, fingerprint = _write_key(folder / "key.pem")
    _write_private(
        folder / "config",
        f"[DEFAULT]\ntenancy={TENANCY}\nuser={USER}\nfingerprint={fingerprint}\nkey_file={folder / 'key.pem'}\n"
        f"region={REGION}\n".encode(),
    )
    disk = folder / "boot.raw"
    build_demo_disk(disk)
    seed = folder / "seed.json"
    seed.write_text(json.dumps(_seed(disk, public_pem, fingerprint), indent=1))
    return seed


def _write_key(path: pathlib.Path) -> tuple[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write_private(path, private + b"OCI_API_KEY\n")
    public = key.public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    # OCI's fingerprint is the MD5 of the DER SubjectPublicKeyInfo ("Required Keys and OCIDs").
    digest = hashlib.md5(der, usedforsecurity=False).digest()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem.decode(), ":".join(f"{byte:02x}" for byte in digest)


def _write_private(path: pathlib.Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


def _seed(disk: pathlib.Path, public_pem: str, fingerprint: str) -> dict[str, object]:
    return {
        "region": REGION,
        "namespace": "rehearsal",
        "tenancyId": TENANCY,
        "compartments": [{"id": COMPARTMENT, "name": "web"}],
        "users": [{"id": USER, "apiKeys": [{"fingerprint": fingerprint, "publicKeyPem": public_pem}]}],
        "buckets": [{"name": BUCKET, "compartmentId": COMPARTMENT}],
        "images": [
            {
                "id": PLATFORM_IMAGE,
                "compartmentId": None,
                "displayName": "Rehearsal-Linux-1",
                "operatingSystem": "Rehearsal Linux",
                "operatingSystemVersion": "1",
            }
        ],
        "instances": [
            {
                "id": f"ocid1.instance.oc1.iad.rehearsal{name.replace('-', '')}",
                "displayName": name,
                "compartmentId": COMPARTMENT,
                "availabilityDomain": "Rehearsal:US-ASHBURN-AD-1",
                "shape": "VM.Standard.E4.Flex",
                "lifecycleState": state,
                "imageId": PLATFORM_IMAGE,
                "bootVolume": {
                    "id": f"ocid1.bootvolume.oc1.iad.rehearsal{name.replace('-', '')}",
                    "sizeInGBs": BOOT_VOLUME_GB,
                    "file": str(disk),
                    "format": "raw",
                },
            }
            for name, state in INSTANCES.items()
        ],
        "timing": {"transitionSeconds": 1.0},
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and its one argument
        sys.exit("usage: python -m hypersdk_emulator.seeds.demo_seed DIR")
    sys.stdout.write(f"{write_demo(pathlib.Path(sys.argv[1]))}\n")
