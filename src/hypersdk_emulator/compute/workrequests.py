"""Compute's work requests: progress, errors and logs of making, exporting and importing images; kept for 12 hours."""

from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.clock import iso
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.compute.records import Image, Instance, Job, find_job, job_about, jobs_in
from hypersdk_emulator.compute.state import Work, WorkStatus
from hypersdk_emulator.errors import not_authorized_or_not_found
from hypersdk_emulator.listing import page
from hypersdk_emulator.resources import new_ocid

POLL_SECONDS = "5"
"""`retry-after` of OCI's work request replies."""


def new_job(cloud: Cloud, operation: str, subject: Image | Instance, work: Work, doc: dict[str, Any]) -> Job:
    """A job with a fresh id; the caller saves it in its transaction.

    Args:
        cloud: for the region in the id.
        operation: such as CreateImage or LaunchInstance; shown as operationType.
        subject: what is made or read; the work request is listed in its compartment.
        work: its planned life.
        doc: `resources` as the API shows them, and what the work needs.
    """
    logs = [{"message": f"{operation} was accepted", "timestamp": iso(work.accepted)}]
    return Job(
        new_ocid(cloud, "coreservicesworkrequest"),
        operation,
        subject.compartment or "",
        subject.id,
        work,
        {"errors": [], "logs": logs, "resources": [], "gone": False, **doc},
    )


def save_instance_job(
    call: Call, instance: Instance, action: str, *, now: float, due: float, failure: tuple[str, str] | None = None
) -> None:
    """Store a job about an instance whose end is known from the start.

    Args:
        call: its operation names the job.
        instance: as it is after the call.
        action: CREATED, UPDATED or DELETED.
        now: the time of the call.
        due: when it ends.
        failure: an error's code and message if it fails.
    """
    entity = {"entityType": "instance", "identifier": instance.id, "entityUri": f"/20160918/instances/{instance.id}"}
    doc = {"resources": [{**entity, "actionType": action}]}
    job = new_job(call.cloud, call.operation, instance, Work.lasting(now, due - now), doc)
    ended(job, due, failure).save(call.cloud.db)


def instance_job_header(call: Call, instance: Instance) -> dict[str, str]:
    """The `opc-work-request-id` of the newest job of this operation about an instance; OCI always sends it here."""
    job = job_about(call.cloud.db, call.operation, instance.id)
    return {} if job is None else {"opc-work-request-id": job.id}


def accept(cloud: Cloud, job: Job) -> Job:
    """Store a new job; with the assumption `work-request-id-list` also a companion that has succeeded already."""
    if cloud.assumptions.work_request_id_list:
        companion = replace(job, id=new_ocid(cloud, "coreservicesworkrequest"), operation="ValidateRequest")
        ended(companion, job.work.accepted).save(cloud.db)
        job = replace(job, doc={**job.doc, "companion": companion.id})
    job.save(cloud.db)
    return job


def ended(job: Job, when: float, failure: tuple[str, str] | None = None) -> Job:
    """The job with its end: SUCCEEDED, or FAILED with an error's code and message."""
    doc = dict(job.doc)
    if failure is None:
        outcome, message = WorkStatus.SUCCEEDED, f"{job.operation} is complete"
    else:
        outcome, message = WorkStatus.FAILED, f"{job.operation} failed: {failure[1]}"
        doc["errors"] = [*doc["errors"], {"code": failure[0], "message": failure[1], "timestamp": iso(when)}]
    doc["logs"] = [*doc["logs"], {"message": message, "timestamp": iso(when)}]
    return replace(job, work=job.work.ended(when, outcome), doc=doc)


def job_headers(cloud: Cloud, job: Job) -> dict[str, str]:
    """The `opc-work-request-id` header as the assumptions want it."""
    if cloud.assumptions.no_work_request_id:
        return {}
    companion = job.doc.get("companion")
    return {"opc-work-request-id": f"{companion},{job.id}" if companion else job.id}


@dataclass(frozen=True)
class _Listed:
    """A job among others: newest first, by name of the operation."""

    job: Job

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def name(self) -> str:
        return self.job.operation

    @property
    def created(self) -> float:
        return self.job.work.accepted


def _status(job: Job, now: float) -> WorkStatus:
    return job.work.status(now)


def _summary(job: Job, now: float) -> dict[str, Any]:
    """The SDK's model WorkRequestSummary."""
    work = job.work
    status = _status(job, now)
    over = status in (WorkStatus.SUCCEEDED, WorkStatus.FAILED)
    return {
        "compartmentId": job.compartment,
        "id": job.id,
        "operationType": job.operation,
        "percentComplete": work.percent(now),
        "status": status,
        "timeAccepted": iso(work.accepted),
        "timeStarted": None if status == WorkStatus.ACCEPTED else iso(min(work.started, work.finished or work.started)),
        "timeFinished": iso(work.finished) if over and work.finished is not None else None,
    }


def _find(call: Call) -> Job:
    now = call.cloud.clock.timestamp()
    job = find_job(call.cloud.db, call.params["workRequestId"])
    if job is None or job.doc["gone"] or job.work.expired(now):
        raise not_authorized_or_not_found()
    call.permit(job.compartment)
    return job


async def list_work_requests(call: Call) -> web.StreamResponse:
    """ListWorkRequests: of a compartment, newest first; `resourceId` narrows."""
    compartment = call.required("compartmentId")
    call.permit(compartment)
    now, resource = call.cloud.clock.timestamp(), call.query.get("resourceId")

    def keep(item: _Listed) -> bool:
        doc = item.job.doc
        identifiers = [each["identifier"] for each in doc["resources"]]
        return not doc["gone"] and not item.job.work.expired(now) and (resource is None or resource in identifiers)

    jobs = [_Listed(job) for job in jobs_in(call.cloud.db, compartment)]
    found, headers = page(call, sorted(jobs, key=lambda item: (-item.created, item.id)), keep)
    return call.reply([_summary(item.job, now) for item in found], headers=headers)


async def get_work_request(call: Call) -> web.StreamResponse:
    """GetWorkRequest; the fault `work-request-gone` makes it vanish for good."""
    job = _find(call)
    cloud = call.cloud
    if call.fault is not None and call.fault.effect == "work-request-gone":
        replace(job, doc={**job.doc, "gone": True}).save(cloud.db)
        raise not_authorized_or_not_found()
    body = {**_summary(job, cloud.clock.timestamp()), "resources": job.doc["resources"]}
    return call.reply(body, headers={"retry-after": POLL_SECONDS})


async def list_work_request_errors(call: Call) -> web.StreamResponse:
    """ListWorkRequestErrors: empty until the request has failed."""
    job = _find(call)
    failed = _status(job, call.cloud.clock.timestamp()) == WorkStatus.FAILED
    return call.reply(job.doc["errors"] if failed else [])


async def list_work_request_logs(call: Call) -> web.StreamResponse:
    """ListWorkRequestLogs: what has happened so far."""
    job = _find(call)
    now = iso(call.cloud.clock.timestamp())
    return call.reply([entry for entry in job.doc["logs"] if entry["timestamp"] <= now])
