"""The making of an image that a fault keeps from ending: it ends when the fault is released or dropped."""

from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.compute import jobs
from hypersdk_emulator.compute.records import Job, find_image
from hypersdk_emulator.compute.state import ImageState
from hypersdk_emulator.compute.workrequests import ended
from hypersdk_emulator.timeline import Timeline


def start(cloud: Cloud, job: Job) -> None:
    """Begin to wait, or end it after a restart, which leaves no fault."""
    jobs.start(cloud, job, _run, _fail)


async def _run(cloud: Cloud, job: Job) -> None:
    await jobs.until_cleared(cloud, job.doc["fault"])
    _end(cloud, job, None)


def _fail(cloud: Cloud, job: Job, failure: tuple[str, str]) -> None:
    _end(cloud, job, failure)


def _end(cloud: Cloud, job: Job, failure: tuple[str, str] | None) -> None:
    with cloud.db.transaction():
        image = find_image(cloud.db, job.subject)
        state = ImageState.AVAILABLE if failure is None else ImageState.DELETED
        if not image.deleted:
            image.changed(timeline=Timeline.resting(state)).save(cloud.db)
        ended(job, cloud.clock.timestamp(), failure).save(cloud.db)
