"""Waits for the cloud: until an instance, an image or an operation is where it should be.

Rules of this file: every look is one retried call; between two looks it pauses through the waiter, saying because of
what; a wait spends no attempt and has no end of its own, except where a resource has come to rest in a state from which
the wanted one cannot follow by itself. A 409 is a wait for the resource's state, not a failed attempt (design 6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from hypersdk import errors
from hypersdk.model import Image, Instance, Operation
from hypersdk.providers.protocol import Provider
from hypersdk.retry import UNLIMITED, Retrier

T = TypeVar("T")

Progress = Callable[[float], None]
"""Told the percent (0..100) of the operation that is waited for, when it is known."""

CREATE_GRACE = 20.0
"""Seconds during which a resource that we have just created may answer 404."""

SETTLED = 60.0
"""Seconds after which a resource at rest in an unwanted state is believed to stay there."""

LONGEST_CONFLICT = 30 * 60.0
"""Seconds for which a 409 is waited out: OCI locks an instance for 20 minutes after an image of it was begun."""

PASSING_INSTANCE_STATES = frozenset({"MOVING", "PROVISIONING", "STARTING", "STOPPING", "CREATING_IMAGE", "TERMINATING"})
PASSING_IMAGE_STATES = frozenset({"PROVISIONING", "IMPORTING", "EXPORTING"})


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the cloud is asked: seconds between the first two looks, growing to the longest (design section 1)."""

    first: float = 5.0
    longest: float = 30.0
    growth: float = 1.5

    def seconds(self) -> Iterator[float]:
        """The pauses, without end."""
        pause = self.first
        while True:
            yield pause
            pause = min(pause * self.growth, self.longest)


PACE = Pace()


def poll_until(retrier: Retrier, look: Callable[[], tuple[T | None, str]], pace: Pace = PACE) -> T:
    """Look again and again until there is something.

    Args:
        retrier: whose waiter pauses.
        look: one look: the result or None, and why we wait if it is None.
        pace: how often.

    Raises:
        Stopped: somebody asked to stop.
    """
    for seconds in pace.seconds():
        found, reason = look()
        if found is not None:
            return found
        retrier.waiter.pause(seconds, reason)
    raise AssertionError("a pace has no end")


def act_when_allowed(
    retrier: Retrier, what: str, act: Callable[[], T], *, pace: Pace = PACE, longest: float = LONGEST_CONFLICT
) -> T:
    """Do something that the resource's state may forbid for a while.

    Args:
        retrier: repeats passing faults, and whose waiter pauses.
        what: the call for people.
        act: the call; safe to repeat.
        pace: how often it is tried while it is forbidden.
        longest: seconds after which the refusal is believed.

    Raises:
        StateConflict: still forbidden after `longest` seconds.
    """
    end = retrier.waiter.clock() + longest

    def try_once() -> tuple[tuple[T] | None, str]:
        try:
            return (retrier.call(what, act),), ""
        except errors.StateConflict as conflict:
            if retrier.waiter.clock() >= end:
                raise
            return None, conflict.message

    return poll_until(retrier, try_once, pace)[0]


def await_instance(provider: Provider, retrier: Retrier, instance_id: str, *wanted: str, pace: Pace = PACE) -> Instance:
    """Wait until an instance is in one of the `wanted` lifecycle states.

    Raises:
        OperationFailed: it came to rest in another one.
        NotFoundError: it is gone.
    """
    rest = _Rest(retrier)

    def look() -> tuple[Instance | None, str]:
        instance = retrier.call("get instance", lambda: provider.instance(instance_id), limits=UNLIMITED)
        state = instance.lifecycle_state
        if state in wanted:
            return instance, ""
        if rest.lasts(state, passing=state in PASSING_INSTANCE_STATES) or state == "TERMINATED":
            raise errors.OperationFailed(
                f"instance {instance.name} ({instance.id}) is {state}, not {' or '.join(wanted)}",
                resource=instance.id,
                hint="look at its work requests in the console",
            )
        return None, f"instance {instance.name} is {state}"

    return poll_until(retrier, look, pace)


def await_image(
    provider: Provider,
    retrier: Retrier,
    image_id: str,
    operation_id: str | None = None,
    *,
    pace: Pace = PACE,
    progress: Progress | None = None,
) -> Image:
    """Wait until an image is AVAILABLE, which it is after a failed export too: the operation must be asked as well.

    Args:
        provider: the cloud.
        retrier: repeats the calls.
        image_id: the image.
        operation_id: the work that makes or exports it: gives the percent, and the service's words if it fails.
        pace: how often.
        progress: told the percent.

    Raises:
        OperationFailed: it ended DELETED or DISABLED; OCI deletes an image that could not be made.
        NotFoundError: it is gone.
    """
    rest = _Rest(retrier)

    def look() -> tuple[Image | None, str]:
        image = retrier.call("get image", lambda: provider.image(image_id), grace=CREATE_GRACE, limits=UNLIMITED)
        state = image.lifecycle_state
        if state == "AVAILABLE":
            return image, ""
        operation = _operation(provider, retrier, operation_id)
        if state == "DELETED" or rest.lasts(state, passing=state in PASSING_IMAGE_STATES):
            raise errors.OperationFailed(
                f"image {image.name} ({image.id}) ended {state}{_sentences(operation)}", resource=image.id
            )
        return None, f"image {image.name} is {state}{_percent(operation, progress)}"

    return poll_until(retrier, look, pace)


def await_operation(
    provider: Provider, retrier: Retrier, operation_id: str, *, pace: Pace = PACE, progress: Progress | None = None
) -> Operation | None:
    """Wait until long-running work has ended well.

    Args:
        provider: the cloud.
        retrier: repeats the calls.
        operation_id: the work.
        pace: how often.
        progress: told the percent.

    Returns:
        The operation, or None if the service has forgotten it (after 12 hours): other signs must tell the outcome.

    Raises:
        OperationFailed: it failed or was cancelled; with the service's own sentences.
    """

    def look() -> tuple[tuple[Operation | None] | None, str]:
        operation = _operation(provider, retrier, operation_id)
        if operation is not None and operation.failed:
            raise errors.OperationFailed(
                f"the cloud's work {operation_id} ended {operation.status}{_sentences(operation)}",
                resource=operation_id,
            )
        if operation is None or operation.succeeded:
            return (operation,), ""
        return None, f"the cloud's work is {operation.status}{_percent(operation, progress)}"

    return poll_until(retrier, look, pace)[0]


class _Rest:
    """Notices that a resource stays in a state that it will not leave by itself.

    Right after an action a reply may still show the state from before it, so one look is no proof.
    """

    def __init__(self, retrier: Retrier) -> None:
        self._clock = retrier.waiter.clock
        self._state, self._since = "", 0.0

    def lasts(self, state: str, *, passing: bool) -> bool:
        """Whether `state`, seen now, has lasted too long; never if it passes by itself."""
        if state != self._state:
            self._state, self._since = state, self._clock()
        return not passing and self._clock() - self._since >= SETTLED


def _operation(provider: Provider, retrier: Retrier, operation_id: str | None) -> Operation | None:
    if operation_id is None:
        return None
    try:
        return retrier.call("get work request", lambda: provider.operation(operation_id), limits=UNLIMITED)
    except errors.NotFoundError:
        return None


def _percent(operation: Operation | None, progress: Progress | None) -> str:
    if operation is None or operation.percent is None:
        return ""
    if progress is not None:
        progress(operation.percent)
    return f", {operation.percent:.0f} %"


def _sentences(operation: Operation | None) -> str:
    return "".join(f": {sentence}" for sentence in operation.errors) if operation else ""
