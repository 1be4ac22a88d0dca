"""A small cloud to rehearse on: `python -m hypersdk_emulator.seeds.demo_seed DIR` fills DIR with all it needs."""

from __future__ import annotations

import json
import pathlib
import secrets
import sys

from hypersdk_emulator.guide import write_private
from hypersdk_emulator.seeds.demo_disk import build_demo_disk
from hypersdk_emulator.seeds.keypair import write_key

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
    public_pem, fingerprint = write_key(folder / "key.pem")
    write_private(
        folder / "config",
        f"[DEFAULT]\ntenancy={TENANCY}\nuser={USER}\nfingerprint={fingerprint}\nkey_file={folder / 'key.pem'}\n"
        f"region={REGION}\n",
    )
    disk = folder / "boot.raw"
    build_demo_disk(disk)
    seed = folder / "seed.json"
    seed.write_text(json.dumps(_seed(disk, public_pem, fingerprint), indent=1))
    return seed


def _seed(disk: pathlib.Path, public_pem: str, fingerprint: str) -> dict[str, object]:
    return {
        "region": REGION,
        "namespace": "rehearsal",
        "tenancyId": TENANCY,
        "compartments": [{"id": COMPARTMENT, "name": "web"}],
        "users": [
            {
                "id": USER,
                "name": "rehearsal",
                "apiKeys": [{"fingerprint": fingerprint, "publicKeyPem": public_pem}],
                "customerSecretKeys": [{"accessKey": secrets.token_hex(20), "secretKey": secrets.token_urlsafe(32)}],
            }
        ],
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
