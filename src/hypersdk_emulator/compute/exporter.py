"""The work of an export: a real disk file, made by qemu-img, becomes a multipart object at the end of EXPORTING.

As OCI's exporter: a tiny status object may stand at the name meanwhile, a second upload of the same name stays open
afterwards, and the image is AVAILABLE at the end whether the export worked or not. Declared faults spoil single steps.
The object, the end of the job and the image's new version are one transaction. After a kill all is done again.
"""

import asyncio
import io
import os
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from hypersdk_emulator import qemu
from hypersdk_emulator.blockstorage import boot
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.compute import jobs, ocifile
from hypersdk_emulator.compute.compatibility import entries_of
from hypersdk_emulator.compute.imageschemas import image_options, schema_of_image
from hypersdk_emulator.compute.places import NO_EXPORT_BUCKET, WRITE, Place, par_problem
from hypersdk_emulator.compute.records import Image, Job, find_image, find_job
from hypersdk_emulator.compute.workrequests import ended
from hypersdk_emulator.errors import ServiceError, invalid_parameter
from hypersdk_emulator.objectstorage import multipart, storage

PART_BYTES = 10 << 20
STATUS_SHARE = 0.9
"""Share of EXPORTING after which the object's name is first touched; before it the bucket looks as it was."""
STATUS_TEXT = b'{"status":"EXPORTING"}'
CHUNK = 1 << 20


def start(cloud: Cloud, job: Job) -> None:
    """Begin, or begin again after a restart."""
    jobs.start(cloud, job, _run, _fail)


async def _run(cloud: Cloud, job: Job) -> None:
    await cloud.clock.until(job.work.accepted + STATUS_SHARE * (job.work.due - job.work.accepted))
    job = _begin(cloud, job)
    effect = job.doc["effect"]
    if effect not in ("work-request-fails", "export-without-object"):
        with _scratch(cloud) as (disk, packed):
            image = find_image(cloud.db, job.subject)
            await _write_disk(cloud, image, job, disk)
            if job.doc["format"] == "OCI":
                await asyncio.to_thread(_pack, disk, packed, _oci_metadata(cloud, image))
                packed.replace(disk)
            await _upload_parts(cloud, job, disk)
    await cloud.clock.until(job.work.due)
    await jobs.until_cleared(cloud, job.doc.get("fault"))
    if effect == "work-request-fails":
        _fail(cloud, job, ("InternalServerError", "The image could not be exported"))
    elif effect == "export-without-object":
        _end(cloud, job, None)
    else:
        _commit(cloud, job)


@contextmanager
def _scratch(cloud: Cloud) -> Iterator[tuple[Path, Path]]:
    """Two paths on the body store's file system; what is left there is removed."""
    paths = cloud.bodies.incoming(), cloud.bodies.incoming()
    try:
        yield paths
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


async def _write_disk(cloud: Cloud, image: Image, job: Job, target: Path) -> None:
    target_format = qemu.EXPORT_FORMATS[job.doc["format"]]
    async with boot.opened(cloud, image.doc["disk"]) as (source, source_format):
        if job.doc["effect"] != "export-all-zero":
            await qemu.convert(source, source_format, target, target_format)
            return
        size = await qemu.virtual_size(source, source_format)
    empty = target.with_suffix(".empty")
    try:
        with empty.open("wb") as file:
            file.truncate(size)
        await qemu.convert(empty, "raw", target, target_format)
    finally:
        empty.unlink(missing_ok=True)


def _pack(disk: Path, target: Path, metadata: bytes) -> None:
    """Write an `.oci` file: a plain tar of metadata and disk."""
    with tarfile.open(target, "w") as tar:
        member = tarfile.TarInfo(ocifile.NAME)
        member.size = len(metadata)
        tar.addfile(member, io.BytesIO(metadata))
        tar.add(disk, ocifile.DISK)


def _oci_metadata(cloud: Cloud, image: Image) -> bytes:
    schema = schema_of_image(cloud.db, image.id)
    facts = ocifile.Facts(
        mode=image.doc["launchMode"],
        options=image_options(cloud.db, image),
        capabilities={} if schema is None else schema.doc["schemaData"],
        shapes=entries_of(image),
        system=(image.doc["operatingSystem"], image.doc["operatingSystemVersion"]),
        version=None if schema is None else schema.doc["version"],
    )
    return ocifile.write(facts, image.doc["baseImageId"])


def _algorithms(cloud: Cloud) -> tuple[str, ...]:
    return ("CRC32C",) if cloud.assumptions.checksum_in_export else ()


async def _upload_parts(cloud: Cloud, job: Job, disk: Path) -> None:
    with disk.open("rb") as file:
        total = os.fstat(file.fileno()).st_size
        size = max(PART_BYTES, -(-total // multipart.MAX_PARTS))
        for number in range(1, -(-total // size) + 1):
            received = await cloud.bodies.receive(_chunks(file, size), _algorithms(cloud))
            multipart.put_part(cloud, job.doc["upload"], number, received)


async def _chunks(file: BinaryIO, size: int) -> AsyncIterator[bytes]:
    """The next `size` bytes of a file."""
    while size and (chunk := file.read(min(CHUNK, size))):
        size -= len(chunk)
        yield chunk


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


def _described(bucket: storage.Bucket) -> storage.Content:
    """The object to come, still without bytes."""
    tier = "Archive" if bucket.doc.get("storageTier") == "Archive" else "Standard"
    return storage.Content(None, 0, "", headers={"content-type": "application/octet-stream"}, tier=tier)


def _begin(cloud: Cloud, job: Job) -> Job:
    """Open the upload and put the status object; an upload that a kill left is dropped first.

    The status object is left out if something stands at the name, and where a retention rule would keep it for ever:
    nobody saw what OCI does then.
    """
    place = Place(**job.doc["destination"])
    bucket = _bucket(cloud, place)
    with storage.change(cloud) as trash:
        if earlier := job.doc.get("upload"):
            multipart.drop(cloud, earlier, trash)
        algorithm = "".join(_algorithms(cloud))
        upload = multipart.begin(cloud, place.bucket, place.object, _described(bucket), algorithm)
        doc = {**job.doc, "upload": upload.id}
        free = storage.latest(cloud, place.bucket, place.object) is None and not bucket.doc.get("retentionRules")
        if cloud.assumptions.status_object and free:
            received = cloud.bodies.keep(STATUS_TEXT)
            body = storage.new_body(cloud, [(received.file, received.size)])
            status = replace(_described(bucket), body=body, size=received.size, md5=received.digests.md5)
            doc["statusEtag"] = storage.store(cloud, bucket, place.object, status, trash).etag
        job = replace(job, doc=doc)
        job.save(cloud.db)
    return job


def _drop_status(cloud: Cloud, job: Job, trash: list[str]) -> None:
    """Remove the status object, unless somebody has put another object there."""
    place = Place(**job.doc["destination"])
    found = storage.latest(cloud, place.bucket, place.object)
    if found is not None and found.etag == job.doc.get("statusEtag"):
        storage.drop_version(cloud, found, trash)


def _commit(cloud: Cloud, job: Job) -> None:
    """The object appears, and with it the end of the job.

    Raises:
        ServiceError: bucket, PAR or upload have gone meanwhile.
    """
    place = Place(**job.doc["destination"])
    bucket = _bucket(cloud, place)
    with storage.change(cloud) as trash:
        upload = multipart.find(cloud, place.bucket, place.object, job.doc["upload"])
        if upload is None:
            raise ServiceError(404, "UploadNotFound", "The multipart upload of the export was aborted")
        _drop_status(cloud, job, trash)
        multipart.commit(cloud, bucket, upload, multipart.parts_of(cloud, upload.id), trash)
        if cloud.assumptions.open_upload:
            multipart.begin(cloud, place.bucket, place.object, _described(bucket))
        _save_end(cloud, job, None)


def _end(cloud: Cloud, job: Job, failure: tuple[str, str] | None) -> None:
    """End without an object."""
    with storage.change(cloud) as trash:
        _drop_status(cloud, job, trash)
        if upload := job.doc.get("upload"):
            multipart.drop(cloud, upload, trash)
        _save_end(cloud, job, failure)


def _fail(cloud: Cloud, job: Job, failure: tuple[str, str]) -> None:
    """The image becomes AVAILABLE as after a good export; only the work request tells."""
    _end(cloud, find_job(cloud.db, job.id) or job, failure)


def _save_end(cloud: Cloud, job: Job, failure: tuple[str, str] | None) -> None:
    ended(job, cloud.clock.timestamp(), failure).save(cloud.db)
    find_image(cloud.db, job.subject).changed().save(cloud.db)
