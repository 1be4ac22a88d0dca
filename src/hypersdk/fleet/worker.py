"""A worker: takes runs of fleets from the queue, carries them out, and takes over those of dead workers.

Rules of this file: a worker that cannot say that it lives ends its process at once, because others take its runs over;
whose seat is taken is never robbed; a run whose files lie on another machine waits in that machine's queue until its
time to come back is over; a worker that is asked to stop hands its runs back before it ends.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NoReturn

from hypersdk import errors
from hypersdk.exports.context import ExportRooms
from hypersdk.exports.moving import course_here, discard_left
from hypersdk.exports.options import CloudLimits
from hypersdk.exports.plan import ExportPlan
from hypersdk.exports.whereabouts import HOST_GRACE, Course
from hypersdk.fleet import windows
from hypersdk.fleet.claims import HOST
from hypersdk.fleet.crew import OpenRooms, Watch
from hypersdk.fleet.engine import Claim, JobQueue, Server, fleet_queue, host_queue
from hypersdk.fleet.nouns import FAILED, INTERRUPTED, Limits, Outcome
from hypersdk.fleet.queue import Turn
from hypersdk.fleet.work import INTERNAL_CODE, carry_out, end_queued, outcome_of, write_down
from hypersdk.runs import fleets
from hypersdk.runs.presence import Seat
from hypersdk.runs.records import QUEUED, Run
from hypersdk.runs.store import RunStore
from hypersdk.waiting import StopFlag

SPEAK_EVERY = 3.0
"""Seconds between two words that this worker lives, and between two looks for dead ones."""

STOP_WITHIN = 30.0
"""Seconds that exports have to stop; whoever needs longer is taken over by others as if we were dead."""

FOREIGN_AGAIN = 30.0
"""Seconds before a run of another tenancy may be taken again, by whoever is first."""

MOST_TRIES = 100
"""How often a run that others drive is looked at again once they have left it; more often is a fault of ours."""

_WAKE_EVERY = 0.2


def _end_process(status: int) -> NoReturn:
    os._exit(status)


@dataclass(frozen=True)
class Post:
    """What a worker works with.

    Attributes:
        url: of the run store: postgresql://...
        runs: the run store.
        seat: our place among the workers.
        slots: how many exports at once.
        open_rooms: opens the rooms of an export.
        watch: who watches.
        note: takes a line for people.
        tenancy_id: of our credentials.
        now: time of day.
        grace: seconds that another machine has to come back to what it has fetched.
        end_process: ends this process at once, without any clean-up.
    """

    url: str
    runs: RunStore
    seat: Seat
    slots: int
    open_rooms: OpenRooms
    watch: Watch
    note: Callable[[str], None]
    tenancy_id: str
    now: Callable[[], datetime]
    grace: float = HOST_GRACE
    end_process: Callable[[int], NoReturn] = _end_process


def serve(post: Post, stop: StopFlag) -> None:
    """Work until somebody asks to stop; then hand back what runs. The process must end soon after.

    Args:
        post: what to work with.
        stop: from a signal handler.

    Raises:
        ConfigError: the database cannot be used.
    """
    with JobQueue(post.url) as jobs:
        worker = _Worker(post, jobs)
        server = Server(post.url, post.seat, post.slots, worker.work)
        # What our own seat left behind when its former process died; the engine would give it to anybody.
        worker.hand_back()
        discard_left(post.runs.runs())
        server.launch()
        threading.Thread(target=worker.live, name="presence", daemon=True).start()
        while not stop.wait(SPEAK_EVERY):
            pass
        server.take_no_more()
        worker.stop()
        worker.hand_back()
        worker.left = True


@dataclass(frozen=True, slots=True)
class Ending:
    """What a worker says of a job.

    Args:
        word: how the run ended, or why it goes on elsewhere: for people.
        queue: where it goes on; None = it has ended.
        delay: seconds before which it must not go on.
    """

    word: str
    queue: str | None = None
    delay: float = 0.0


@dataclass
class _Worker:
    """What changes while a worker works; used by the engine's threads and by the one of `live`."""

    post: Post
    jobs: JobQueue
    stopping: bool = False
    left: bool = False
    _flags: dict[str, StopFlag] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # ---- the engine's threads

    def work(self, job_id: str) -> str:
        """Carry out a job: what the engine calls."""
        try:
            with self._flag(job_id) as flag:
                ending = self._ending(job_id, flag)
            if ending.queue is not None and not self.stopping:
                self.jobs.hand_on(self.jobs.claim(job_id), ending.queue, ending.delay)
        except (errors.ConfigError, errors.PassingError) as error:
            # The queue or the run store; what an export meets is in its outcome.
            self.post.note(f"job {job_id}: {error}")
            self.post.end_process(errors.PassingError.exit_code)
        except Exception as error:  # noqa: BLE001 - an item must not be left without an end
            ending = self._faulty(job_id, error)
        if self.stopping:
            # Nothing must be recorded of a job that we hand back; this thread ends with the process.
            threading.Event().wait()
        return ending.word

    def _faulty(self, job_id: str, error: Exception) -> Ending:
        """A fault of the program ends its export; if not even that can be written, the process."""
        detail = f"{type(error).__name__}: {error}"
        self.post.note(f"job {job_id}: {detail}")
        try:
            fleets.end_item(self.post.runs, job_id.rpartition(".")[0], FAILED, code=INTERNAL_CODE, detail=detail)
        except Exception:  # noqa: BLE001 - others take the job over
            self.post.end_process(errors.PassingError.exit_code)
        return Ending(FAILED)

    @contextmanager
    def _flag(self, job_id: str) -> Iterator[StopFlag]:
        flag = StopFlag()
        with self._lock:
            self._flags[job_id] = flag
            if self.stopping:
                flag.set()
        try:
            yield flag
        finally:
            with self._lock:
                del self._flags[job_id]

    def _ending(self, job_id: str, flag: StopFlag) -> Ending:
        claim = self.jobs.claim(job_id)
        run = self.post.runs.run(claim.run_id)
        item = fleets.item_of_run(self.post.runs, run.run_id)
        if not run.unfinished and item is not None and item.outcome is not None:
            return Ending(item.outcome)
        if run.cancel and run.state == QUEUED and (ended := end_queued(self.post.runs, run.run_id)):
            return self._told(ended)
        if run.unfinished and (later := self._later(run, claim)) is not None:
            return later
        try:
            outcome = self._carried_out(run, flag)
        except errors.HypersdkError as error:
            outcome = outcome_of(0, run.subject, run.run_id, error)
            if not (self.stopping and outcome.kind == INTERRUPTED):
                write_down(self.post.runs, outcome)
        if self.stopping and outcome.kind == INTERRUPTED:
            return Ending("handed back")
        return self._told(outcome)

    def _told(self, outcome: Outcome) -> Ending:
        self.post.watch.ends(outcome)
        return Ending(outcome.kind)

    def _later(self, run: Run, claim: Claim) -> Ending | None:
        """Whether the run must wait for its window or for another machine: then this slot is for others."""
        if run.state == QUEUED and run.fleet_id is not None and not run.cancel:
            fleet = fleets.fleet(self.post.runs, run.fleet_id)
            now = self.post.now()
            opens = windows.opens([windows.parse(text) for text in fleet.plan["windows"]], now)
            # A window that never opens was refused when the fleet was planned.
            if opens is not None and opens > now:
                return Ending("waits for its window", fleet_queue(run.fleet_id), (opens - now).total_seconds())
        queue = self._queue_of(run, claim)
        if run.plan["tenancy_id"] != self.post.tenancy_id:
            self.post.note(f"run {run.run_id} is left to others: it belongs to tenancy {run.plan['tenancy_id']}")
            return Ending("waits for its tenancy", queue, FOREIGN_AGAIN)
        return Ending("waits for another machine", queue) if queue.startswith(HOST) else None

    def _carried_out(self, run: Run, flag: StopFlag) -> Outcome:
        turn = _turn(run)
        with self.post.open_rooms(turn, flag, self.post.watch.begins(turn)) as opened:
            rooms = replace(opened, host_grace=self.post.grace, limits=self._limits(run, opened.limits))
            for _ in range(MOST_TRIES):
                outcome = carry_out(run.run_id, rooms, goes_on=lambda: self.stopping)
                if outcome is not None:
                    return outcome
                # Its former process may seem to live for a while; or somebody goes on with it by hand.
                _wait_until_free(rooms, run.run_id)
        raise AssertionError(f"nobody drives run {run.run_id}, and it does not end")

    def _limits(self, run: Run, ours: CloudLimits) -> CloudLimits:
        """The limits of the exporter, narrowed by one of the fleet that the engine does not count (`part_of`)."""
        asked = (
            Limits() if run.fleet_id is None else Limits(**fleets.fleet(self.post.runs, run.fleet_id).plan["limits"])
        )
        if not (asked.per_bucket and asked.per_region):
            return ours
        return replace(ours, exports_per_region=min(ours.exports_per_region or asked.per_region, asked.per_region))

    # ---- the thread that looks after the others

    def live(self) -> None:
        """Say that we live, and bury the dead, for ever."""
        pause = StopFlag()
        try:
            while not self.left:
                self.post.seat.speak()
                if not self.stopping:
                    self.take_over()
                pause.wait(SPEAK_EVERY)
        except BaseException:  # noqa: BLE001 - whatever it is: others may have our runs now
            if self.left:
                return  # the seat was given back
            self.post.end_process(errors.PassingError.exit_code)

    def take_over(self) -> None:
        """Queue the runs of dead workers anew, and those whose machine had its time to come back."""
        seat = self.post.seat
        claims = self.jobs.at_work()
        for executor_id in sorted({claim.executor_id for claim in claims if claim.executor_id} - {seat.executor_id}):
            with seat.burying(executor_id) as dead:
                if dead:
                    # Looked at again: it may have ended its jobs, or another worker may have taken them over.
                    self._requeue(claim for claim in self.jobs.at_work() if claim.executor_id == executor_id)
        hosts = [name for name in self.jobs.queues() if name.startswith(HOST) and name != host_queue(seat.host)]
        self._requeue(self.jobs.waiting(hosts))
        with seat.alone("queues") as alone:
            if alone:
                self.jobs.sweep()

    def hand_back(self) -> None:
        """Queue every job of this seat."""
        mine = self.post.seat.executor_id
        self._requeue(claim for claim in self.jobs.at_work() if claim.executor_id == mine)

    def stop(self) -> None:
        """Ask every export to stop, and wait until they have."""
        with self._lock:
            self.stopping = True
            flags = list(self._flags.values())
        for flag in flags:
            flag.set()
        pause, waited = StopFlag(), 0.0
        while self._flags and waited < STOP_WITHIN:
            pause.wait(_WAKE_EVERY)
            waited += _WAKE_EVERY

    def _requeue(self, claims: Iterator[Claim] | list[Claim]) -> None:
        for claim in claims:
            self.post.seat.speak()
            run = self.post.runs.run(claim.run_id)
            queue = self._queue_of(run, claim)
            if claim.executor_id is not None or queue != claim.queue:
                self.jobs.move(claim, queue)
                if claim.queue.startswith(HOST) and run.fleet_id is not None:
                    limits = fleets.fleet(self.post.runs, run.fleet_id).plan["limits"]
                    self.jobs.reopen(run.fleet_id, Limits(**limits))

    def _queue_of(self, run: Run, claim: Claim) -> str:
        """Where a run waits: in the queue of the machine that its files lie on, or in its fleet's."""
        runs, grace, former = self.post.runs, self.post.grace, self.post.runs.holder(run.run_id)
        how, lies = course_here(runs, ExportPlan.from_json(run.plan, any_version=True), former, grace)
        if lies is not None and how is Course.WAIT:
            return host_queue(lies.host)
        return claim.queue if run.fleet_id is None else fleet_queue(run.fleet_id)


def _wait_until_free(rooms: ExportRooms, run_id: str) -> None:
    def free() -> bool | None:
        return True if not rooms.runs.is_driven(run_id) else None

    rooms.waiter.pause(_WAKE_EVERY, f"run {run_id} is driven by another process")
    rooms.waiter.wait_for(f"run {run_id} is driven by another process", free)


def _turn(run: Run) -> Turn:
    staging = run.plan["targets"][0]["staging"]
    bucket = f"{staging['namespace']}/{staging['bucket']}"
    return Turn(0, run.run_id, run.subject, run.plan["region"], bucket, run.priority)
