"""The work of an import: check the object's disk, keep it as a volume file of its own, make the image AVAILABLE."""

import asyncio
import shutil
import tarfile
from pathlib import Path
from typing import Any

from hypersdk_emulator import qemu
from hypersdk_emulator.blockstorage import boot
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.compute import jobs, ocifile
from hypersdk_emulator.compute.imageschemas import new_schema
from hypersdk_emulator.compute.places import NO_IMPORT_OBJECT, Place, latest_body
from hypersdk_emulator.compute.records import Job, find_image, find_job
from hypersdk_emulator.compute.state import MAX_IMAGE_GB, ImageState
from hypersdk_emulator.compute.workrequests import ended
from hypersdk_emulator.errors import invalid_parameter
from hypersdk_emulator.timeline import Timeline

CHUNK = 1 << 20
TAR_DISK_SUFFIX = ".qcow2"


def start(cloud: Cloud, job: Job) -> None:
    """Begin, or begin again after a restart."""
    jobs.start(cloud, job, _run, _fail)


def volume_path(cloud: Cloud, image_id: str) -> Path:
    """Where an imported image's disk is kept, always as QCOW2."""
    return cloud.options.state / "volumes" / f"{image_id}.qcow2"


async def _run(cloud: Cloud, job: Job) -> None:
    target = volume_path(cloud, job.subject)
    target.parent.mkdir(exist_ok=True)
    work = target.with_suffix(".incoming")
    try:
        await _fetch(cloud, Place(**job.doc["source"]), work)
        size, disk_format, facts = await _checked(job.doc["format"], work)
        await qemu.convert(work, disk_format, target, "qcow2")
    finally:
        work.unlink(missing_ok=True)
    await cloud.clock.until(job.work.due)
    if job.doc["effect"] == "work-request-fails":
        raise qemu.DiskError("The image could not be imported")
    sizes = {"sizeInMBs": -(-size // (1 << 20)), "billableSizeInGBs": -(-target.stat().st_size // (1 << 30))}
    with cloud.db.transaction():
        image = find_image(cloud.db, job.subject)
        disk = boot.disk_of(cloud, target, "qcow2", image.id, ours=True)
        doc = {**image.doc, **sizes, **_carried(facts), "disk": disk}
        image.changed(timeline=Timeline.resting(ImageState.AVAILABLE), doc=doc).save(cloud.db)
        if facts is not None and facts.capabilities:
            new_schema(cloud, image, facts.capabilities, 0.0).save(cloud.db)
        ended(job, cloud.clock.timestamp()).save(cloud.db)


def _carried(facts: ocifile.Facts | None) -> dict[str, Any]:
    """Fields of the image that come from its `.oci` file; the name of its system does not (2018 recording)."""
    if facts is None:
        return {}
    return {"launchMode": facts.mode, "launchOptions": facts.options, "shapes": facts.shapes}


def _fail(cloud: Cloud, job: Job, failure: tuple[str, str]) -> None:
    """A failed import leaves no image: it turns DELETED."""
    volume_path(cloud, job.subject).unlink(missing_ok=True)
    with cloud.db.transaction():
        find_image(cloud.db, job.subject).changed(deleted=True).save(cloud.db)
        current = find_job(cloud.db, job.id)
        assert current is not None
        ended(current, cloud.clock.timestamp(), failure).save(cloud.db)


async def _fetch(cloud: Cloud, place: Place, target: Path) -> None:
    """Copy the object's bytes into a file."""
    body = latest_body(cloud, place)
    if body is None:
        raise invalid_parameter(NO_IMPORT_OBJECT)
    rows = cloud.db.all("SELECT file, size FROM segments WHERE body = ? ORDER BY start", body)
    files = [str(row["file"]) for row in rows if row["file"]]
    cloud.bodies.hold(files)
    try:
        with target.open("wb") as out:
            for file in files:
                with cloud.bodies.open(file) as source:
                    await asyncio.to_thread(shutil.copyfileobj, source, out, CHUNK)
    finally:
        cloud.bodies.done(files)


async def _checked(kind: str | None, path: Path) -> tuple[int, str, ocifile.Facts | None]:
    """Virtual size and format of a foreign disk, and what its `.oci` file says, which is replaced by the disk in it.

    Raises:
        DiskError: it is no disk that OCI imports.
        ServiceError: the metadata of the `.oci` file are wrong.
    """
    facts = None
    if kind is None:
        metadata = await asyncio.to_thread(_unpack, path)
        facts = ocifile.Facts() if metadata is None else ocifile.read(metadata)
    disk_format = qemu.IMPORT_FORMATS[kind or "QCOW2"]
    size = await qemu.check_foreign(path, disk_format)
    if size > MAX_IMAGE_GB << 30:
        raise qemu.DiskError(f"the disk is larger than {MAX_IMAGE_GB} GB")
    return size, disk_format, facts


def _unpack(path: Path) -> bytes | None:
    """Replace a tar, gzipped or not, by the one QCOW2 file in it; returns its metadata, None if there are none."""
    inner, metadata = path.with_suffix(".unpacked"), None
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                source = tar.extractfile(member) if member.isfile() else None
                if source is None:
                    continue
                with source:
                    if member.name.removeprefix("./") == ocifile.NAME:
                        metadata = source.read(ocifile.MAX_BYTES)
                    elif member.name.lower().endswith(TAR_DISK_SUFFIX) and not inner.exists():
                        with inner.open("wb") as out:
                            shutil.copyfileobj(source, out, CHUNK)
        if not inner.exists():
            raise qemu.DiskError("the .oci file holds no QCOW2 disk")
        inner.replace(path)
    except tarfile.TarError as error:
        raise qemu.DiskError(f"the object is no .oci file: {error}") from None
    finally:
        inner.unlink(missing_ok=True)
    return metadata
