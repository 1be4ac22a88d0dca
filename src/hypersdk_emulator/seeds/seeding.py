"""Applies a checked seed to a cloud: adds what is not there yet. At start, goes on with what a kill interrupted."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from hypersdk_emulator.blockstorage.records import layers
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.compute import exporter, importer, stuck
from hypersdk_emulator.compute.imagemaking import MB_PER_GB
from hypersdk_emulator.compute.records import Image, Instance, unfinished_jobs
from hypersdk_emulator.compute.state import ImageState
from hypersdk_emulator.identity import users
from hypersdk_emulator.objectstorage import buckets, storage
from hypersdk_emulator.seeds import granting, networks, volumes
from hypersdk_emulator.seeds import seed as seeds
from hypersdk_emulator.seeds.node import SeedError
from hypersdk_emulator.seeds.seed import Reader, Seed
from hypersdk_emulator.timeline import Timeline

CHUNK = 1 << 20


async def apply(cloud: Cloud, seed: Seed) -> None:
    """Add everything in the seed to the cloud; a resource that exists already stays as it is.

    Raises:
        SeedError: an object is for a bucket that neither the seed nor the cloud has, a key is no RSA key, or the clock
            would go back.
    """
    _clock(cloud, seed)
    _settings(cloud, seed)
    _principals(cloud, seed)
    granting.apply(cloud, seed.rights)
    _buckets(cloud, seed)
    for number, each in enumerate(seed.objects):
        await _object(cloud, each, f"objects[{number}]")
    with cloud.db.transaction():
        for image in seed.images:
            _image(cloud, image)
        for subnet in seed.subnets:
            networks.apply(cloud, subnet)
        for instance in seed.instances:
            _instance(cloud, instance)


def _principals(cloud: Cloud, seed: Seed) -> None:
    with cloud.db.transaction():
        for compartment in seed.compartments:
            users.add_compartment(cloud, compartment.id, compartment.name, compartment.parent_id)
        for user in seed.users:
            doc = {
                "federated": user.federated,
                "denied": user.denied,
                "deniedCompartments": user.denied_compartments,
                "secretKeys": [{"accessKey": key.access_key, "secretKey": key.secret_key} for key in user.secret_keys],
            }
            users.add_user(cloud, user.id, user.name, doc)
            for key in user.api_keys:
                try:
                    users.add_api_key(cloud, user.id, key.fingerprint, key.public_key_pem)
                except ValueError as error:
                    raise SeedError(f"users: {user.id}: publicKeyPem: {error}") from None


def _buckets(cloud: Cloud, seed: Seed) -> None:
    for bucket in seed.buckets:
        if storage.find_bucket(cloud, bucket.name) is None:
            settings: dict[str, Any] = {"storageTier": bucket.storage_tier, "versioning": bucket.versioning}
            if bucket.retention_days is not None:
                settings["retentionRules"] = [_retention_rule(bucket.retention_days)]
            buckets.create(cloud, bucket.name, bucket.compartment_id, settings)


def _retention_rule(days: int) -> dict[str, Any]:
    return {"id": "seeded", "displayName": "seeded", "duration": {"timeAmount": days, "timeUnit": "DAYS"}}


async def _object(cloud: Cloud, each: seeds.SeedObject, place: str) -> None:
    bucket = storage.find_bucket(cloud, each.bucket)
    if bucket is None:
        raise SeedError(f"{place}.bucket: there is no bucket {each.bucket}")
    if storage.latest(cloud, each.bucket, each.name) is not None:
        return
    if each.file is None:
        received = cloud.bodies.keep(each.text.encode())
    else:
        received = await cloud.bodies.receive(_chunks(each.file))
    with storage.change(cloud) as trash:
        body = storage.new_body(cloud, [(received.file, received.size)])
        headers = {"content-type": "application/octet-stream"}
        tier = "Archive" if bucket.doc.get("storageTier") == "Archive" else "Standard"
        content = storage.Content(body, received.size, received.digests.md5, headers=headers, tier=tier)
        storage.store(cloud, bucket, each.name, content, trash)


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _image(cloud: Cloud, image: seeds.Image) -> None:
    if cloud.db.one("SELECT 1 FROM images WHERE id = ?", image.id):
        return
    doc = {
        "baseImageId": None,
        "billableSizeInGBs": 1,
        "createImageAllowed": image.create_image_allowed,
        "freeformTags": {},
        "launchMode": "NATIVE",
        "launchOptions": {},
        "operatingSystem": image.operating_system,
        "operatingSystemVersion": image.operating_system_version,
        "sizeInMBs": image.size_in_gbs * MB_PER_GB,
        "disk": volumes.image_disk(cloud, image),
        "seeded": True,
    }
    timeline = Timeline.resting(ImageState.AVAILABLE)
    Image(image.id, image.compartment_id, image.display_name, cloud.clock.timestamp(), timeline, doc).save(cloud.db)


def _instance(cloud: Cloud, instance: seeds.Instance) -> None:
    if cloud.db.one("SELECT 1 FROM instances WHERE id = ?", instance.id):
        return
    doc = {
        "availabilityDomain": instance.availability_domain,
        "createImageAllowed": instance.create_image_allowed,
        "freeformTags": dict(instance.freeform_tags),
        "imageId": instance.image_id,
        "launchOptions": dict(instance.launch_options),
        "shape": instance.shape,
        "sourceDetails": {
            "sourceType": "image",
            "imageId": instance.image_id,
            "bootVolumeSizeInGBs": instance.boot_volume.size_in_gbs,
        },
    }
    timeline = Timeline.resting(instance.state)
    now = cloud.clock.timestamp()
    Instance(instance.id, instance.compartment_id, instance.display_name, now, timeline, doc).save(cloud.db)
    volumes.instance_volumes(cloud, instance)
    networks.instance_vnic(
        cloud,
        instance.subnet_id,
        instance_id=instance.id,
        name=instance.display_name,
        compartment=instance.compartment_id,
        domain=instance.availability_domain,
    )


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
    """Go on with the imports and exports that were running when the emulator ended, and remove what they left."""
    layers(cloud).sweep()
    for job in unfinished_jobs(cloud.db):
        {"ImportImage": importer, "ExportImage": exporter}.get(job.operation, stuck).start(cloud, job)


def _clock(cloud: Cloud, seed: Seed) -> None:
    if seed.clock is None:
        return
    try:
        cloud.clock.start_at(seed.clock, empty=cloud.db.one("SELECT 1 FROM users") is None)
    except ValueError as error:
        raise SeedError(f"clock: {error}") from None


def _settings(cloud: Cloud, seed: Seed) -> None:
    settings = cloud.settings
    settings.region = seed.region or settings.region
    settings.namespace = seed.namespace or settings.namespace
    settings.tenancy_id = seed.tenancy_id or settings.tenancy_id
    domains = {instance.availability_domain for instance in seed.instances}
    settings.availability_domains = sorted(domains.union(settings.availability_domains))
    if seed.timing:
        settings.timing = {"transitionSeconds": seed.timing.transition_seconds, "paceOf": dict(seed.timing.pace_of)}
    settings.limits = {**settings.limits, **seed.limits}
    cloud.assume(seed.assume)
    cloud.save_settings()
