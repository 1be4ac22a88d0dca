"""The loop over a plan: a stored result is used, else the step runs, and its result is committed.

Rules of this file: the four endings of design section 1 are decided here and nowhere else; clean-up never begins before
every destination is published (it is the plan's last step), except when the run is cancelled or has failed for good;
a lost lease ends everything at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from hypersdk import errors, events
from hypersdk.exports import steps
from hypersdk.exports.cleanup import clean_up, leftovers, stays
from hypersdk.exports.context import Context
from hypersdk.exports.plan import Step
from hypersdk.runs.records import ACTIVE, CANCELLED, DONE, FAILED, INTERRUPTED, REFUSED

BEAT_EVERY = 2.0
"""Seconds between two heartbeats; also how soon `runs cancel` is heard."""

FAILED_FOR_GOOD = (errors.OperationFailed, errors.VerificationError, errors.RequestRefused)
"""Endings that the same command cannot cure: the cloud's own work failed, or the bytes were proven bad twice."""


def drive(ctx: Context) -> None:
    """Run every step of a plan that has no stored result.

    Raises:
        HypersdkError: how the run ended, if it did not end well; `__notes__` say what stays in the tenancy.
    """
    ctx.drive.set_state(ACTIVE)
    with _Heartbeat(ctx) as heartbeat:
        try:
            for step in ctx.plan.steps:
                _run_step(ctx, step)
        except errors.LeaseLost:
            raise
        except errors.Cancelled as stopped:
            heartbeat.listening = False
            _end_cancelled(ctx, stopped)
            raise
        except errors.HypersdkError as error:
            _end_badly(ctx, error)
            raise
        except BaseException:
            ctx.drive.set_state(INTERRUPTED, "ended by a fault of the program, or at once")
            raise
        ctx.drive.set_state(DONE)


def cancel(ctx: Context, state: str = CANCELLED) -> list[str]:
    """Clean up a run that nobody drives.

    Args:
        ctx: the run.
        state: what it is afterwards; a run that has ended keeps its state.

    Returns:
        One sentence for each thing that could not be deleted.
    """
    unfinished = INTERRUPTED if state == CANCELLED else state
    with _Heartbeat(ctx) as heartbeat, _resumable_ending(ctx, unfinished):
        heartbeat.listening = False
        failed = clean_up(ctx)
    ctx.drive.set_state(state, "; ".join(failed) or None)
    return failed


def _run_step(ctx: Context, step: Step) -> None:
    report, run_id = ctx.rooms.waiter.report, ctx.plan.run_id
    stored = ctx.results.get(step.name)
    if stored is not None:
        report(events.StepFinished(run_id, step.name, steps.detail(ctx, step, stored), reused=True))
        return
    ctx.rooms.waiter.tick()
    report(events.StepStarted(run_id, step.name, steps.title(ctx, step)))
    ctx.drive.start_step(step.name)
    result = steps.KINDS[step.kind].run(ctx, step)
    ctx.store_result(step, result)
    report(events.StepFinished(run_id, step.name, steps.detail(ctx, step, result)))


class _Heartbeat:
    """Shows in the store that we live, and hears `runs cancel`, at every tick of any wait or transfer."""

    def __init__(self, ctx: Context) -> None:
        self.listening = True
        self._ctx = ctx
        self._due = ctx.rooms.waiter.clock()

    def __enter__(self) -> Self:
        self._ctx.rooms.waiter.hooks.append(self._beat)
        return self

    def __exit__(self, *_details: object) -> None:
        self._ctx.rooms.waiter.hooks.remove(self._beat)

    def _beat(self) -> None:
        waiter = self._ctx.rooms.waiter
        if waiter.clock() < self._due:
            return
        self._due = waiter.clock() + BEAT_EVERY
        if self._ctx.drive.beat() and self.listening:
            waiter.stop.set(cancelled=True)


def _end_cancelled(ctx: Context, stopped: errors.Cancelled) -> None:
    ctx.rooms.note("cancelled: cleaning up")
    ctx.rooms.waiter.stop.clear()
    with _resumable_ending(ctx):
        failed = clean_up(ctx)
    ctx.drive.set_state(CANCELLED, "; ".join(failed) or None)
    stopped.add_note("\n".join(failed) or "nothing is left in the tenancy")


@contextmanager
def _resumable_ending(ctx: Context, state: str = INTERRUPTED) -> Iterator[None]:
    try:
        yield
    except errors.HypersdkError as error:
        ctx.drive.set_state(state, error.message)
        for line in stays(ctx.rooms.runs, ctx.plan):
            error.add_note(line)
        raise


def _end_badly(ctx: Context, error: errors.HypersdkError) -> None:
    for_good = isinstance(error, FAILED_FOR_GOOD)
    if for_good and not ctx.options.keep_on_failure:
        ctx.rooms.note(f"{error.message}: cleaning up")
        with _resumable_ending(ctx):
            failed = clean_up(ctx)
        ctx.drive.set_state(FAILED, error.message)
        for line in failed or ["nothing is left in the tenancy"]:
            error.add_note(line)
        return
    nothing_made = not leftovers(ctx.rooms.runs, ctx.plan.run_id)
    if nothing_made and not isinstance(error, errors.PassingError | errors.Stopped):
        ctx.drive.set_state(REFUSED, error.message)
        return
    ctx.drive.set_state(FAILED if for_good else INTERRUPTED, error.message)
    for line in stays(ctx.rooms.runs, ctx.plan, resumable=not for_good):
        error.add_note(line)
