"""The state machines of instances, images and work requests. Pure: every function takes the time as an argument.

Sources: the `oci` SDK's models for the names; the legal sets are this emulator's rule, as OCI documents none. Times
are seconds since the epoch on the virtual clock.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from hypersdk_emulator.errors import ServiceError, invalid_parameter, not_authorized_or_not_found
from hypersdk_emulator.timeline import Timeline

WORK_REQUEST_KEPT_SECONDS = 12 * 3600.0
"""OCI keeps a finished work request for 12 hours (documentation, 'Work requests')."""
MAX_IMAGE_GB = 400
"""OCI neither exports nor imports a larger disk (documentation, 'Image Import/Export')."""
UNFINISHED_PERCENT = 99.0

BEING_MODIFIED = "instance {id} is currently being modified, try again later"
"""Text of OCI's 409 `Conflict` while an instance is in transition (terraform-provider-oci issue 1282)."""
IMAGE_CONFLICT = "Conflict with another image operation, try again later"
"""Text of OCI's 409 `Conflict` within the lock after CreateImage (packer-plugin-oracle issue 102)."""


class InstanceState(StrEnum):
    """`oci.core.models.Instance.LIFECYCLE_STATE_*`."""

    MOVING = "MOVING"
    PROVISIONING = "PROVISIONING"
    RUNNING = "RUNNING"
    STARTING = "STARTING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    CREATING_IMAGE = "CREATING_IMAGE"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"


class ImageState(StrEnum):
    """`oci.core.models.Image.LIFECYCLE_STATE_*`; there is no FAILED."""

    PROVISIONING = "PROVISIONING"
    IMPORTING = "IMPORTING"
    AVAILABLE = "AVAILABLE"
    EXPORTING = "EXPORTING"
    DISABLED = "DISABLED"
    DELETED = "DELETED"


class WorkStatus(StrEnum):
    """`oci.work_requests.models.WorkRequest.STATUS_*`."""

    ACCEPTED = "ACCEPTED"
    IN_PROGRESS = "IN_PROGRESS"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


STABLE = frozenset({InstanceState.RUNNING, InstanceState.STOPPED, InstanceState.TERMINATED})

_REBOOT = (InstanceState.RUNNING, (InstanceState.STOPPING, InstanceState.STARTING), InstanceState.RUNNING)
_STOP = (InstanceState.RUNNING, (InstanceState.STOPPING,), InstanceState.STOPPED)
ACTIONS: dict[str, tuple[InstanceState, tuple[InstanceState, ...], InstanceState]] = {
    "START": (InstanceState.STOPPED, (InstanceState.STARTING,), InstanceState.RUNNING),
    "STOP": _STOP,
    "SOFTSTOP": _STOP,
    "RESET": _REBOOT,
    "SOFTRESET": _REBOOT,
    "DIAGNOSTICREBOOT": _REBOOT,
    "REBOOTMIGRATE": _REBOOT,
    "SENDDIAGNOSTICINTERRUPT": (InstanceState.RUNNING, (), InstanceState.RUNNING),
}
"""Action -> the one state it is legal from, the states it passes, the state it ends in."""
BOOTING = frozenset(action for action, (_, passed, _) in ACTIONS.items() if InstanceState.STARTING in passed)
"""The actions after which the guest boots."""


def act(instance_id: str, timeline: Timeline, action: str, *, now: float, seconds: float) -> Timeline:
    """The instance's timeline after a power action.

    Args:
        instance_id: named in OCI's refusal.
        timeline: as stored.
        action: value of the query parameter `action`.
        now: the time of the call.
        seconds: how long each transient state lasts.

    Raises:
        ServiceError: 400 unknown action, 409 `Conflict` in transition, 409 `IncorrectState` in the wrong stable state.
    """
    if action not in ACTIONS:
        raise invalid_parameter(f"action must be one of {', '.join(ACTIONS)}; it is {action!r}")
    legal, through, final = ACTIONS[action]
    state = stable_state(instance_id, timeline, now)
    if state != legal:
        raise ServiceError(409, "IncorrectState", f"The instance {instance_id} is {state}; {action} needs {legal}")
    return Timeline.through(through, final, start=now, seconds=seconds)


def begin_image(
    instance_id: str, timeline: Timeline, *, now: float, seconds: float, last_image: float | None, lock_seconds: float
) -> Timeline:
    """The instance's timeline after CreateImage: CREATING_IMAGE, then what it was before.

    Args:
        instance_id: named in OCI's refusal.
        timeline: as stored.
        now: the time of the call.
        seconds: how long the image takes.
        last_image: when the last image of this instance was begun.
        lock_seconds: how long another image is refused after that (OCI: 20 minutes).

    Raises:
        ServiceError: 409 `Conflict` within the lock or in transition, 409 `IncorrectState` if terminated.
    """
    if last_image is not None and now < last_image + lock_seconds:
        raise ServiceError(409, "Conflict", IMAGE_CONFLICT)
    state = stable_state(instance_id, timeline, now)
    if state == InstanceState.TERMINATED:
        raise ServiceError(409, "IncorrectState", f"The instance {instance_id} is {state}")
    return Timeline.through((InstanceState.CREATING_IMAGE,), state, start=now, seconds=seconds)


def launch(*, now: float, seconds: float, fails: bool = False) -> Timeline:
    """A new instance's timeline; one that finds no host ends TERMINATED."""
    final = InstanceState.TERMINATED if fails else InstanceState.RUNNING
    return Timeline.through((InstanceState.PROVISIONING,), final, start=now, seconds=seconds)


def terminate(instance_id: str, timeline: Timeline, *, now: float, seconds: float) -> Timeline:
    """The instance's timeline after TerminateInstance; accepted while an image is made of it (2018 recording).

    Raises:
        ServiceError: 404 if it is terminated already, 409 `Conflict` in transition.
    """
    state = timeline.at(now)
    if state == InstanceState.TERMINATED:
        raise not_authorized_or_not_found()
    if state != InstanceState.CREATING_IMAGE:
        stable_state(instance_id, timeline, now)
    return Timeline.through((InstanceState.TERMINATING,), InstanceState.TERMINATED, start=now, seconds=seconds)


def is_forgotten(timeline: Timeline, *, now: float, seconds: float) -> bool:
    """True once a terminated instance was shown for so many seconds: OCI answers 404 from then on."""
    return timeline.final == InstanceState.TERMINATED and bool(timeline.steps) and now >= timeline.settled + seconds


def stable_state(instance_id: str, timeline: Timeline, now: float) -> str:
    """The state, if the instance is in none of passage.

    Raises:
        ServiceError: 409 `Conflict` with OCI's words.
    """
    state = timeline.at(now)
    if state not in STABLE:
        raise ServiceError(409, "Conflict", BEING_MODIFIED.format(id=instance_id))
    return state


def image_state(timeline: Timeline, *, now: float, exporting: bool, deleted: bool) -> str:
    """The image's state from its making, the exports under way, and whether it was deleted."""
    if deleted:
        return ImageState.DELETED
    made = timeline.at(now)
    return ImageState.EXPORTING if exporting and made == ImageState.AVAILABLE else made


def may_export(image_id: str, state: str) -> None:
    """Refuse an export of an image that is not AVAILABLE.

    Raises:
        ServiceError: 404 if deleted, else 409.
    """
    if state == ImageState.DELETED:
        raise not_authorized_or_not_found()
    if state == ImageState.EXPORTING:
        raise ServiceError(409, "Conflict", IMAGE_CONFLICT)
    if state != ImageState.AVAILABLE:
        raise ServiceError(409, "IncorrectState", f"The image {image_id} is {state}; an export needs AVAILABLE")


def may_change(state: str) -> None:
    """Refuse to change an image that is deleted.

    Raises:
        ServiceError: 404.
    """
    if state == ImageState.DELETED:
        raise not_authorized_or_not_found()


def may_delete(image_id: str, state: str) -> None:
    """Refuse the deletion of an image that is being written or read; PROVISIONING is accepted (2018 recording).

    Raises:
        ServiceError: 404 if deleted already, 409 while EXPORTING or IMPORTING.
    """
    if state == ImageState.DELETED:
        raise not_authorized_or_not_found()
    if state in (ImageState.EXPORTING, ImageState.IMPORTING):
        raise ServiceError(409, "IncorrectState", f"The image {image_id} is {state} and cannot be deleted meanwhile")


def may_move(image_id: str, state: str) -> None:
    """Refuse to move an image to another compartment while it is being made, written or read.

    Raises:
        ServiceError: 404 if deleted, 409 in transition.
    """
    if state == ImageState.DELETED:
        raise not_authorized_or_not_found()
    if state != ImageState.AVAILABLE:
        raise ServiceError(409, "IncorrectState", f"The image {image_id} is {state} and cannot be moved meanwhile")


@dataclass(frozen=True)
class Work:
    """The life of one work request.

    Args:
        accepted: when the call was answered.
        started: when it turns IN_PROGRESS.
        due: when it is planned to end; progress is measured against it.
        finished: when it really ended, or None while that is not known yet.
        outcome: SUCCEEDED or FAILED; holds from `finished` on.
    """

    accepted: float
    started: float
    due: float
    finished: float | None = None
    outcome: WorkStatus = WorkStatus.SUCCEEDED

    @classmethod
    def lasting(cls, now: float, seconds: float) -> Self:
        """Accepted now, planned to take `seconds`: a quarter of it waiting, the rest at work."""
        return cls(now, now + seconds / 4, now + seconds)

    def ended(self, when: float, outcome: WorkStatus) -> Self:
        """The same with its end."""
        return replace(self, finished=when, outcome=outcome)

    def status(self, now: float) -> WorkStatus:
        """ACCEPTED, IN_PROGRESS, then the outcome."""
        if self.finished is not None and now >= self.finished:
            return self.outcome
        return WorkStatus.ACCEPTED if now < self.started else WorkStatus.IN_PROGRESS

    def percent(self, now: float) -> float:
        """Progress from 0 to 100 in whole percents; it never falls and is 100 only after success."""
        if self.status(now) == WorkStatus.SUCCEEDED:
            return 100.0
        until = now if self.finished is None else min(now, self.finished)
        if until <= self.started:
            return 0.0
        share = 1.0 if self.due <= self.started else (until - self.started) / (self.due - self.started)
        return float(int(min(UNFINISHED_PERCENT, 100.0 * share)))

    def expired(self, now: float) -> bool:
        """True once it was finished for 12 hours: OCI answers 404 from then on."""
        return self.finished is not None and now >= self.finished + WORK_REQUEST_KEPT_SECONDS
