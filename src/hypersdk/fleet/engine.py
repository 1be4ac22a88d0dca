"""Distributes the runs of fleets over workers: the only file that knows the workflow engine (DBOS on Postgres).

Rules of this file: the engine only hands out run ids; its one workflow has one step, which drives the run from what the
run store says, so that repeats are harmless; arguments and results are a run id and a word; a fleet has a queue of its
own, with its limits; names and `VERSION` are part of what lies in databases and are never changed for running work (a
step that takes another argument is another workflow); nothing that was pickled is ever read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Self

from hypersdk import errors
from hypersdk.fleet.claims import FLEET, HOST, Claims, keep_to
from hypersdk.fleet.nouns import Limits
from hypersdk.runs.presence import Seat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dbos import EnqueueOptions, WorkflowStatus

NAME = "hypersdk"
SCHEMA = "hypersdk_queue"
"""Schema of the engine's tables, beside those of the run store."""

VERSION = "exports-1"
"""Version of the workflow's shape, not of the program: an upgrade goes on with what an older program began."""

WORKFLOW = "drive-run"
STEP = "carry-out"

POLL_EVERY = 1.0
"""Seconds between two looks of a worker at a queue."""

UNFINISHED = ("ENQUEUED", "DELAYED", "PENDING")
_SPARE_THREADS = 8
"""The engine itself works in the same pool; a job that somebody else has taken over stays in it for a while."""


@dataclass(frozen=True, slots=True)
class Job:
    """A run that waits for a worker.

    Args:
        run_id: the run.
        part: what the fleet's limit for each region, or for each bucket, counts by.
        rank: a smaller number goes first; from 1.
        delay: seconds before which it must not begin.
    """

    run_id: str
    part: str = ""
    rank: int = 1
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Claim:
    """A job in the database.

    Attributes:
        job_id: run id and number: a run that is queued again has a new job.
        run_id: the run.
        queue: where it waits, or came from.
        executor_id: the worker that has it; None = it waits.
        part: as it was given.
        rank: likewise.
    """

    job_id: str
    run_id: str
    queue: str
    executor_id: str | None
    part: str
    rank: int


def fleet_queue(fleet_id: str) -> str:
    """The queue of a fleet."""
    return FLEET + fleet_id


def host_queue(host: str) -> str:
    """The queue of a host."""
    return HOST + host


def prepare(url: str) -> None:
    """Make or upgrade the engine's tables; needs the right to create a schema, the first time.

    Args:
        url: of the run store: postgresql://...

    Raises:
        ConfigError: it is not possible.
    """
    _make_safe()
    from dbos import DBOS

    with _explained():
        DBOS.migrate(_driver_url(url), schema=SCHEMA)


class JobQueue:
    """The jobs of all fleets of a run store.

    Args:
        url: of the run store: postgresql://...

    Raises:
        ConfigError: the database cannot be used, or has no tables of the engine yet.
    """

    def __init__(self, url: str) -> None:
        _make_safe()
        from dbos import DBOSClient, DBOSPortableJSONSerializer

        with _explained():
            self._client = DBOSClient(
                system_database_url=_driver_url(url),
                dbos_system_schema=SCHEMA,
                serializer=DBOSPortableJSONSerializer(),
                system_database_pool_size=2,
                application_name=NAME,
                retry_connection_errors=False,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.destroy()

    def put(self, fleet_id: str, jobs: Sequence[Job], limits: Limits) -> int:
        """Queue runs of a fleet; one that is queued already, or is being worked on, stays where it is.

        Args:
            fleet_id: the fleet.
            jobs: its runs.
            limits: from now on.

        Returns:
            How many were queued.
        """
        with _explained():
            newest = self._newest(job.run_id for job in jobs)
            wanted = [job for job in jobs if job.run_id not in newest or newest[job.run_id][1] not in UNFINISHED]
            for job in wanted:
                number, _ = newest.get(job.run_id, (0, ""))
                self._enqueue(f"{job.run_id}.{number + 1}", fleet_queue(fleet_id), job)
            # The queue comes last: an unfinished one that is empty might be swept away.
            self._client.register_queue(fleet_queue(fleet_id), **_limits(limits))
        return len(wanted)

    def hand_on(self, claim: Claim, queue: str, delay: float = 0.0) -> None:
        """Queue the run of a job that is about to end for its next one; harmless if it is queued already."""
        run_id, _, number = claim.job_id.rpartition(".")
        job = Job(run_id, claim.part, claim.rank, delay)
        with _explained():
            self._enqueue(f"{run_id}.{int(number) + 1}", queue, job)
            self._register_host(queue)

    def reopen(self, fleet_id: str, limits: Limits) -> None:
        """Make sure that a fleet has a queue: it may have been swept while its last jobs waited for a host."""
        with _explained():
            self._client.register_queue(fleet_queue(fleet_id), on_conflict="never_update", **_limits(limits))

    def claim(self, job_id: str) -> Claim:
        """The job of this id."""
        return self._claims(workflow_ids=[job_id])[0]

    def at_work(self) -> list[Claim]:
        """Jobs that workers have, dead workers included."""
        return self._claims(status="PENDING")

    def waiting(self, queues: Sequence[str]) -> list[Claim]:
        """Jobs that wait in these queues for a worker."""
        return self._claims(status=["ENQUEUED", "DELAYED"], queue_name=list(queues)) if queues else []

    def move(self, claim: Claim, queue: str) -> None:
        """Take a job from the worker that has it, or from where it waits, and let it wait in a queue.

        The engine may recover its own workers' work, too (`DBOS._recover_pending_workflows`); this call is public, the
        same for a worker of another version, and begins to count attempts anew.
        """
        with _explained():
            self._register_host(queue)
            self._client.resume_workflow(claim.job_id, queue_name=queue)

    def queues(self) -> list[str]:
        """Names of all our queues."""
        with _explained():
            return [queue.name for queue in self._client.list_queues() if queue.name.startswith((FLEET, HOST))]

    def sweep(self) -> None:
        """Delete queues whose last job has ended, and those jobs; call it where nobody puts any meanwhile."""
        for queue in self.queues():
            with _explained():
                if self._list(status=list(UNFINISHED), queue_name=queue, limit=1):
                    continue
                while ended := self._list(queue_name=queue, limit=_AT_ONCE):
                    self._client.delete_workflows([each.workflow_id for each in ended])
                self._client.delete_queue(queue)

    def _enqueue(self, job_id: str, queue: str, job: Job) -> None:
        options: EnqueueOptions = {
            "workflow_name": WORKFLOW,
            "queue_name": queue,
            "workflow_id": job_id,
            "app_version": VERSION,
            "priority": max(1, job.rank),
            "queue_partition_key": job.part or "-",
        }
        if job.delay > 0:
            options["delay_seconds"] = job.delay
        self._client.enqueue(options, job_id)

    def _register_host(self, queue: str) -> None:
        if queue.startswith(HOST):
            self._client.register_queue(queue, polling_interval_sec=POLL_EVERY)

    def _newest(self, run_ids: Iterable[str]) -> dict[str, tuple[int, str]]:
        newest: dict[str, tuple[int, str]] = {}
        wanted = [f"{run_id}." for run_id in run_ids]
        for start in range(0, len(wanted), _AT_ONCE):
            for each in self._list(workflow_id_prefix=wanted[start : start + _AT_ONCE]):
                run_id, _, number = each.workflow_id.rpartition(".")
                newest[run_id] = max(newest.get(run_id, (0, "")), (int(number), str(each.status)))
        return newest

    def _claims(self, **which: Any) -> list[Claim]:
        with _explained():
            return [_claim(each) for each in self._list(**which)]

    def _list(self, **which: Any) -> list[WorkflowStatus]:
        return self._client.list_workflows(name=WORKFLOW, load_input=False, load_output=False, **which)


_AT_ONCE = 100
"""Jobs in one statement."""


class Server:
    """Carries out jobs in this process, a few at a time; one in a process, and for its whole life.

    Args:
        url: of the run store: postgresql://...
        seat: that we hold.
        slots: how many jobs at once.
        work: carries one out, in a thread of the engine: job id -> a word about its end. It must not raise: a job
            that it raises for is never carried out again.
    """

    def __init__(self, url: str, seat: Seat, slots: int, work: Callable[[str], str]) -> None:
        _make_safe()
        from dbos import DBOS, DBOSPortableJSONSerializer
        from dbos._sys_db import SystemDatabase

        self._dbos = DBOS(
            config={
                "name": NAME,
                "system_database_url": _driver_url(url),
                "dbos_system_schema": SCHEMA,
                "executor_id": seat.executor_id,
                "application_version": VERSION,
                "serializer": DBOSPortableJSONSerializer(),
                "max_executor_threads": 2 * slots + _SPARE_THREADS,
                "sys_db_pool_size": slots + _SPARE_THREADS,
                "log_level": "WARNING",
                "run_migrations": False,
            }
        )

        # In the class: the engine begins to take jobs before its launch is over.
        self._claims = Claims(slots, host_queue(seat.host), self._dbos._active_workflows_set.activeList)  # noqa: SLF001 - see claims.py
        keep_to(self._claims, SystemDatabase)

        @DBOS.step(name=STEP)
        def carry_out(job_id: str) -> str:
            try:
                return work(job_id)
            finally:
                self._claims.ended(job_id)

        # Whoever is killed again and again is killed by its host: the run is never given up.
        @DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)
        def drive_run(job_id: str) -> str:
            return carry_out(job_id)

    def launch(self) -> None:
        """Begin to take jobs.

        Raises:
            ConfigError: the database cannot be used, or its tables are older than this program.
        """
        with _explained():
            self._dbos.launch()

    def take_no_more(self) -> None:
        """Let jobs wait for others from now on."""
        self._claims.full = True


def part_of(limits: Limits, region: str, bucket: str) -> str:
    """What a job counts as: the engine counts by one thing, and a bucket lies in one region.

    A fleet with both limits counts by bucket here; the region's is kept where places are counted (`exports/places.py`).
    """
    return bucket if limits.per_bucket else region


def _limits(limits: Limits) -> Mapping[str, Any]:
    """A fleet's limits in the engine's words; it wants a narrower one to be no larger than a wider one."""
    total = limits.parallel or None
    worker = min(limits.per_worker or _MANY, total or _MANY)
    narrow = limits.per_bucket or limits.per_region
    return {
        "global_concurrency": total,
        "worker_concurrency": worker,
        "partition_concurrency": min(narrow, total or _MANY) if narrow else None,
        "polling_interval_sec": POLL_EVERY,
    }


_MANY = 1_000_000


def _claim(status: WorkflowStatus) -> Claim:
    executor_id = status.executor_id if status.status == "PENDING" else None
    part = status.queue_partition_key or "-"
    return Claim(
        status.workflow_id,
        status.workflow_id.rpartition(".")[0],
        status.queue_name or "",
        executor_id,
        "" if part == "-" else part,
        status.priority or 1,
    )


def _driver_url(url: str) -> str:
    """The run store's URL as the engine reads it."""
    return f"postgresql://{url.partition('://')[2]}"


def _make_safe() -> None:
    """Call this before anything of the engine is imported."""
    # A value of these would win over our settings, the first one switch the vendor's service on.
    for name in [name for name in os.environ if name.startswith("DBOS__")]:
        del os.environ[name]
    try:
        from dbos._serialization import DefaultSerializer
    except ImportError as error:
        raise errors.ConfigError("workers need the workflow engine", hint="pip install 'hypersdk[fleet]'") from error
    # Whoever can write to the database could otherwise run code in every worker (private name: `tests` guard it).
    setattr(DefaultSerializer, "deserialize", _refuse_pickled)  # noqa: B010 - an assignment that a type checker refuses


def _refuse_pickled(_self: object, _text: str) -> NoReturn:
    raise errors.RequestRefused("a pickled value in the database of the fleets: it is not ours, and is not read")


@contextmanager
def _explained() -> Iterator[None]:
    """Errors of the engine and of its database as ours, without the URL and its password."""
    try:
        yield
    except errors.HypersdkError:
        raise
    except Exception as error:
        cause = getattr(error, "orig", None) or error
        raise errors.ConfigError(
            f"the queue of the fleets cannot be used: {str(cause).strip().splitlines()[0] if str(cause) else cause!r}",
            hint="HYPEREXPORT_STATE names its database; docs: fleets.md, Workers",
        ) from error
