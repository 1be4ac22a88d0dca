"""The work of an export: a real disk file, made by qemu-img, becomes a multipart object at the end of EXPORTING.

As OCI's exporter: a tiny status object may stand at the name meanwhile, a second upload of the same name stays open
afterwards, and the image is AVAILABLE at the end whether the export worked or not. Declared faults spoil single steps.
The object, the end of the job and the image's new version are one transaction.
"""

import asyncio
import base64
import hashlib
import io
import json
import secrets
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypersdk_emulator import jobs, qemu, storage
from hypersdk_emulator.checksums import composite
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.errors import invalid_parameter
from hypersdk_emulator.places import NO_EXPORT_BUCKET, WRITE, Place, par_problem
from hypersdk_emulator.records import Image, Job, find_image, find_job
from hypersdk_emulator.workrequests import ended

PART_BYTES = 10 << 20
MAX_PARTS = 10_000
STATUS_TEXT = b'{"status":"EXPORTING"}'
CHUNK = 1 << 20
OCI_DISK, OCI_METADATA = "output.QCOW2", "image_metadata.json"
"""The two members of an `.oci` file (oci-cli issue 869)."""


def start(cloud: Cloud, job: Job) -> None:
    """Begin, or begin again after a restart."""
    jobs.start(cloud, job, _run, _fail)


async def _run(cloud: Cloud, job: Job) -> None:
    halfway = (job.work.started + job.work.due) / 2
    await jobs.until(cloud, halfway)
    job = _put_status(cloud, job)
    effect = job.doc["effect"]
    if effect in ("work-request-fails", "export-without-object"):
        await jobs.until(cloud, job.work.due)
        if effect == "export-without-object":
            _end(cloud, job, None)
        else:
            _fail(cloud, job, ("InternalServerError", "The image could not be exported"))
        return
    with _scratch(cloud) as (disk, packed):
        image = find_image(cloud.db, job.image)
        await _write_disk(image, job, disk)
        if job.doc["format"] == "OCI":
            await asyncio.to_thread(_pack, disk, packed, image)
            packed.replace(disk)
        parts = await asyncio.to_thread(_part_digests, disk)
        received = await cloud.bodies.adopt(disk)
    await jobs.until(cloud, job.work.due)
    try:
        _commit(cloud, job, received.file, received.size, parts)
    except BaseException:
        cloud.bodies.discard([received.file])
        raise


@contextmanager
def _scratch(cloud: Cloud) -> Iterator[tuple[Path, Path]]:
    """Two paths on the body store's file system; what is left there is removed."""
    paths = cloud.bodies.incoming(), cloud.bodies.incoming()
    try:
        yield paths
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


async def _write_disk(image: Image, job: Job, target: Path) -> None:
    source, source_format = Path(image.doc["disk"]["file"]), image.doc["disk"]["format"]
    target_format = qemu.EXPORT_FORMATS[job.doc["format"]]
    if job.doc["effect"] != "export-all-zero":
        await qemu.convert(source, source_format, target, target_format)
        return
    empty = target.with_suffix(".empty")
    try:
        with empty.open("wb") as file:
            file.truncate(await qemu.virtual_size(source, source_format))
        await qemu.convert(empty, "raw", target, target_format)
    finally:
        empty.unlink(missing_ok=True)


def _pack(disk: Path, target: Path, image: Image) -> None:
    """Write an `.oci` file: a plain tar of metadata and disk."""
    metadata = json.dumps(_oci_metadata(image), indent=1).encode()
    with tarfile.open(target, "w") as tar:
        member = tarfile.TarInfo(OCI_METADATA)
        member.size = len(metadata)
        tar.addfile(member, io.BytesIO(metadata))
        tar.add(disk, OCI_DISK)


def _oci_metadata(image: Image) -> dict[str, Any]:
    """The fields that oracle-cne/ocne reads and writes."""
    options: Mapping[str, Any] = image.doc["launchOptions"]
    return {
        "version": 2,
        "externalLaunchOptions": {
            "firmware": options.get("firmware", "UEFI_64"),
            "networkType": options.get("networkType", "PARAVIRTUALIZED"),
            "bootVolumeType": options.get("bootVolumeType", "PARAVIRTUALIZED"),
            "remoteDataVolumeType": options.get("remoteDataVolumeType", "PARAVIRTUALIZED"),
            "localDataVolumeType": "PARAVIRTUALIZED",
            "launchOptionsSource": "PARAVIRTUALIZED",
            "pvAttachmentVersion": 2,
            "pvEncryptionInTransitEnabled": False,
            "consistentVolumeNamingEnabled": True,
        },
        "imageCapabilityData": None,
        "imageCapsFormatVersion": None,
        "operatingSystem": image.doc["operatingSystem"],
        "operatingSystemVersion": image.doc["operatingSystemVersion"],
        "additionalMetadata": {"sourcePublicImageId": image.doc["baseImageId"], "shapeCompatibilities": []},
    }


def _part_digests(path: Path) -> list[str]:
    """Base64 MD5 of each part, as the exporter would have uploaded them."""
    size = max(PART_BYTES, -(-path.stat().st_size // MAX_PARTS))
    found = []
    with path.open("rb") as file:
        while head := file.read(min(CHUNK, size)):
            digest, left = hashlib.md5(head, usedforsecurity=False), size - len(head)
            while left and (chunk := file.read(min(CHUNK, left))):
                digest.update(chunk)
                left -= len(chunk)
            found.append(base64.b64encode(digest.digest()).decode())
    return found


# ---------------------------------------------------------------- the bucket


def _bucket(cloud: Cloud, place: Place) -> storage.Bucket:
    """The destination's bucket, which may have gone since the call.

    Raises:
        ServiceError: it has, or the PAR no longer lets us write.
    """
    bucket = storage.find_bucket(cloud, place.bucket)
    problem = par_problem(cloud, place, WRITE) if place.par else None
    if bucket is None or problem:
        raise invalid_parameter(problem or NO_EXPORT_BUCKET)
    return bucket


def _content(
    cloud: Cloud, bucket: storage.Bucket, file: str, size: int, md5: str, *, multipart: bool
) -> storage.Content:
    return storage.Content(
        storage.new_body(cloud, [(file, size)]),
        size,
        md5,
        multipart=multipart,
        headers={"content-type": "application/octet-stream"},
        tier="Archive" if bucket.doc.get("storageTier") == "Archive" else "Standard",
    )


def _put_status(cloud: Cloud, job: Job) -> Job:
    """Put the status object, if the assumption says so and nothing stands at the name; the job remembers its etag."""
    place = Place(**job.doc["destination"])
    bucket = storage.find_bucket(cloud, place.bucket)
    if not cloud.assumptions.status_object or bucket is None or storage.latest(cloud, place.bucket, place.object):
        return job
    received = cloud.bodies.keep(STATUS_TEXT)
    with storage.change(cloud) as trash:
        content = _content(cloud, bucket, received.file, received.size, received.digests.md5, multipart=False)
        etag = storage.store(cloud, bucket, place.object, content, trash).etag
        job = replace(job, doc={**job.doc, "statusEtag": etag})
        job.save(cloud.db)
    return job


def _drop_status(cloud: Cloud, job: Job, trash: list[str]) -> None:
    """Remove the status object, unless somebody has put another object there."""
    place = Place(**job.doc["destination"])
    bucket, found = storage.find_bucket(cloud, place.bucket), storage.latest(cloud, place.bucket, place.object)
    if bucket is not None and found is not None and found.etag == job.doc.get("statusEtag"):
        storage.drop_version(cloud, found, trash)


def _commit(cloud: Cloud, job: Job, file: str, size: int, parts: list[str]) -> None:
    place = Place(**job.doc["destination"])
    bucket = _bucket(cloud, place)
    with storage.change(cloud) as trash:
        _drop_status(cloud, job, trash)
        content = _content(cloud, bucket, file, size, composite("MD5", parts), multipart=True)
        storage.store(cloud, bucket, place.object, content, trash)
        if cloud.assumptions.open_upload:
            _leave_upload_open(cloud, place, content)
        _save_end(cloud, job, None)


def _leave_upload_open(cloud: Cloud, place: Place, content: storage.Content) -> None:
    """The second upload that OCI's exporter forgets (dstack issue 3914)."""
    row = (secrets.token_hex(16), place.bucket, place.object, cloud.clock.timestamp(), content.described())
    cloud.db.execute("INSERT INTO uploads VALUES (?, ?, ?, ?, ?)", *row)


def _end(cloud: Cloud, job: Job, failure: tuple[str, str] | None) -> None:
    with storage.change(cloud) as trash:
        _drop_status(cloud, job, trash)
        _save_end(cloud, job, failure)


def _fail(cloud: Cloud, job: Job, failure: tuple[str, str]) -> None:
    """The image becomes AVAILABLE as after a good export; only the work request tells."""
    _end(cloud, find_job(cloud.db, job.id) or job, failure)


def _save_end(cloud: Cloud, job: Job, failure: tuple[str, str] | None) -> None:
    ended(job, cloud.clock.timestamp(), failure).save(cloud.db)
    find_image(cloud.db, job.image).changed().save(cloud.db)
