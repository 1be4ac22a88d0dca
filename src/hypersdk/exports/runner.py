"""The loop over a plan: a stored result is used, else the step runs, and its result is committed.

Rules of this file: the four endings of design section 1 are decided here and nowhere else; clean-up never begins before
every destination is published (it is the plan's last step), except when the run is cancelled or has failed for good;
a lost lease ends everything at once; how a run ended is in its story before its state says that it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hypersdk import errors, events
from hypersdk.exports import steps
from hypersdk.exports.cleanup import clean_up, leftovers, stays
from hypersdk.exports.context import Context
from hypersdk.exports.permissions import still_permitted
from hypersdk.exports.plan import Step
from hypersdk.exports.telling.watch import STORE_FAILS, Watch
from hypersdk.runs.records import ACTIVE, CANCELLED, DONE, FAILED, INTERRUPTED, REFUSED, Run

FAILED_FOR_GOOD = (errors.OperationFailed, errors.VerificationError, errors.RequestRefused)
"""Endings that the same command cannot cure: the cloud's own work failed, or the bytes were proven bad twice."""


def drive(ctx: Context, run: Run) -> None:
    """Run every step of a plan that has no stored result.

    Args:
        ctx: the run.
        run: as the store had it before its lease was taken.

    Raises:
        HypersdkError: how the run ended, if it did not end well; `__notes__` say what stays in the tenancy.
    """
    with Watch(ctx, run) as watch:
        ctx.drive.set_state(ACTIVE)
        try:
            for step in ctx.plan.steps:
                _run_step(ctx, step)
        except errors.LeaseLost:
            raise
        except errors.Cancelled as stopped:
            watch.listening = False
            _end_cancelled(ctx, watch, stopped)
            raise
        except errors.HypersdkError as error:
            _end_badly(ctx, watch, error)
            raise
        except BaseException as fault:
            _set_state(ctx, watch, INTERRUPTED, "ended by a fault of the program, or at once", fault)
            raise
        _set_state(ctx, watch, DONE)


def cancel(ctx: Context, run: Run, state: str = CANCELLED) -> list[str]:
    """Clean up a run that nobody drives.

    Args:
        ctx: the run.
        run: as the store had it before its lease was taken.
        state: what it is afterwards; a run that has ended keeps its state.

    Returns:
        One sentence for each thing that could not be deleted.
    """
    unfinished = INTERRUPTED if state == CANCELLED else state
    with Watch(ctx, run, "cancelled") as watch:
        watch.listening = False
        with _resumable_ending(ctx, watch, unfinished):
            failed = clean_up(ctx)
        _set_state(ctx, watch, state, "; ".join(failed) or None)
    return failed


def _set_state(
    ctx: Context, watch: Watch, state: str, detail: str | None = None, error: BaseException | None = None
) -> None:
    watch.ended(state, error)
    try:
        ctx.drive.set_state(state, detail)
    except STORE_FAILS:
        # A store that is full tells so where the run ended well; else why it ended matters more, and a run whose
        # process has ended counts as interrupted anyway.
        if error is None:
            raise


def _run_step(ctx: Context, step: Step) -> None:
    report, run_id = ctx.rooms.waiter.report, ctx.plan.run_id
    stored = ctx.results.get(step.name)
    if stored is not None:
        report(events.StepFinished(run_id, step.name, steps.detail(ctx, step, stored), reused=True))
        return
    ctx.rooms.waiter.tick()
    report(events.StepStarted(run_id, step.name, steps.title(ctx, step)))
    ctx.drive.start_step(step.name)
    with still_permitted(ctx, step):
        result = steps.KINDS[step.kind].run(ctx, step)
    ctx.store_result(step, result)
    report(events.StepFinished(run_id, step.name, steps.detail(ctx, step, result)))


def _end_cancelled(ctx: Context, watch: Watch, stopped: errors.Cancelled) -> None:
    ctx.rooms.note("cancelled: cleaning up")
    ctx.rooms.waiter.stop.clear()
    with _resumable_ending(ctx, watch):
        failed = clean_up(ctx)
    stopped.add_note("\n".join(failed) or "nothing is left in the tenancy")
    _set_state(ctx, watch, CANCELLED, "; ".join(failed) or None, stopped)


@contextmanager
def _resumable_ending(ctx: Context, watch: Watch, state: str = INTERRUPTED) -> Iterator[None]:
    try:
        yield
    except errors.LeaseLost:
        raise
    except errors.HypersdkError as error:
        _add_stays(ctx, error)
        _set_state(ctx, watch, state, error.message, error)
        raise


def _end_badly(ctx: Context, watch: Watch, error: errors.HypersdkError) -> None:
    for_good = isinstance(error, FAILED_FOR_GOOD)
    if for_good and not ctx.options.keep_on_failure:
        ctx.rooms.note(f"{error.message}: cleaning up")
        with _resumable_ending(ctx, watch):
            failed = clean_up(ctx)
        for line in failed or ["nothing is left in the tenancy"]:
            error.add_note(line)
        _set_state(ctx, watch, FAILED, error.message, error)
        return
    state = FAILED if for_good else INTERRUPTED
    if not isinstance(error, errors.PassingError | errors.Stopped | errors.ConfigError) and _nothing_made(ctx):
        state = REFUSED
    else:
        _add_stays(ctx, error, resumable=not for_good)
    _set_state(ctx, watch, state, error.message, error)


def _nothing_made(ctx: Context) -> bool:
    return not leftovers(ctx.rooms.runs, ctx.plan.run_id)


def _add_stays(ctx: Context, error: errors.HypersdkError, *, resumable: bool = True) -> None:
    with suppress(*STORE_FAILS):  # a store that cannot be read must not hide why the run ended
        for line in stays(ctx.rooms.runs, ctx.plan, resumable=resumable):
            error.add_note(line)
