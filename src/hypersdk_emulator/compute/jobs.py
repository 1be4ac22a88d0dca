"""Background work of jobs: started with the call, started again after a kill, ended with the work request.

The database says what is to be done, so a job that a kill cut is simply done again from its beginning.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.compute.records import Job
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.qemu import DiskError

Run = Callable[[Cloud, Job], Coroutine[Any, Any, None]]
Fail = Callable[[Cloud, Job, tuple[str, str]], None]


def start(cloud: Cloud, job: Job, run: Run, fail: Fail) -> None:
    """Do the job beside the calls.

    Args:
        cloud: the cloud.
        job: as stored, unfinished.
        run: does it, and saves its end.
        fail: saves its failure, given as an error's code and message.
    """
    cloud.start_task(_guarded(cloud, job, run, fail))


async def _guarded(cloud: Cloud, job: Job, run: Run, fail: Fail) -> None:
    try:
        await run(cloud, job)
    except ServiceError as error:
        fail(cloud, job, (error.code, error.message))
    except DiskError as error:
        fail(cloud, job, ("InternalServerError", str(error)))
    except Exception as error:  # noqa: BLE001 - a job that stays unfinished for ever would tell nobody anything
        fail(cloud, job, ("InternalServerError", f"The emulator failed: {error!r}"))


async def until_cleared(cloud: Cloud, fault_id: str | None) -> None:
    """Wait until the fault `work-request-stuck` is released or dropped; after a restart nothing is left of it."""
    fault = cloud.faults.get(fault_id) if fault_id else None
    if fault is not None and fault.effect == "work-request-stuck":
        await cloud.holds.wait(fault)
