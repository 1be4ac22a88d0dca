"""Applies a checked seed to a cloud: adds to what is there. Also finishes, at start, what a kill interrupted."""

import json
from pathlib import Path

from hypersdk_emulator import identity
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.seed import Reader, Seed, SeedError


async def apply(cloud: Cloud, seed: Seed) -> None:
    """Add everything in the seed to the cloud."""
    _settings(cloud, seed)
    with cloud.db.transaction():
        for compartment in seed.compartments:
            identity.add_compartment(cloud, compartment.id, compartment.name, compartment.parent_id)
        for user in seed.users:
            doc = {
                "federated": user.federated,
                "denied": user.denied,
                "deniedCompartments": user.denied_compartments,
                "secretKeys": [{"accessKey": key.access_key, "secretKey": key.secret_key} for key in user.secret_keys],
            }
            identity.add_user(cloud, user.id, user.name, doc)
            for key in user.api_keys:
                identity.add_api_key(cloud, user.id, key.fingerprint, key.public_key_pem)


def read_file(path: Path) -> Seed:
    """Read and check a seed file; files named in it may lie anywhere.

    Raises:
        SeedError: It cannot be read or is wrong.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SeedError(f"{path}: {error}") from None
    return Reader(path.absolute().parent, None).read(value)


async def resume(cloud: Cloud) -> None:
    """Finish what was running when the emulator was killed."""


def _settings(cloud: Cloud, seed: Seed) -> None:
    settings = cloud.settings
    settings.region = seed.region or settings.region
    settings.namespace = seed.namespace or settings.namespace
    settings.tenancy_id = seed.tenancy_id or settings.tenancy_id
    domains = {instance.availability_domain for instance in seed.instances}
    settings.availability_domains = sorted(domains.union(settings.availability_domains))
    if seed.timing:
        settings.timing = {"transitionSeconds": seed.timing.transition_seconds, "paceOf": dict(seed.timing.pace_of)}
    cloud.assumptions = cloud.assumptions.assume_all(seed.assume)
    cloud.save_settings()
