"""Waits for the cloud, against a scripted one on a virtual clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from hypersdk import errors, events
from hypersdk.exports.power import change_power, remove_image
from hypersdk.exports.states import (
    LONGEST_CONFLICT,
    Pace,
    act_when_allowed,
    await_image,
    await_instance,
    await_operation,
)
from hypersdk.model import Image, Instance, Operation
from hypersdk.network import NetworkMonitor
from hypersdk.retry import Retrier, RetryPolicy
from hypersdk.waiting import Waiter


class Cloud:
    """Answers each kind of question with the next entry of its script; the last one stays. Errors are raised."""

    def __init__(
        self, instance: Iterable[Any] = (), image: Iterable[Any] = (), operation: Iterable[Any] = (), **acts: Any
    ) -> None:
        self.scripts = {"instance": list(instance), "image": list(image), "operation": list(operation)}
        self.scripts |= {name: list(script) for name, script in acts.items()}
        self.asked: list[str] = []
        self.tokens: list[str | None] = []
        self.now = 0.0
        self.reasons: list[str] = []
        waiter = Waiter(clock=lambda: self.now, sleep=self.sleep, report=self.watch)
        self.retrier = Retrier(RetryPolicy(max_attempts=1, jitter=False), waiter, NetworkMonitor(None))

    def sleep(self, seconds: float) -> bool:
        self.now += seconds
        return False

    def watch(self, event: events.Event, /) -> None:
        if isinstance(event, events.Waiting) and event.reason:
            self.reasons.append(event.reason)

    def _next(self, kind: str) -> Any:
        self.asked.append(kind)
        script = self.scripts[kind]
        entry = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(entry, Exception):
            raise entry
        return entry

    def instance(self, instance_id: str) -> Instance:
        return Instance(instance_id, "web", "c", self._next("instance"), "r")

    def image(self, image_id: str) -> Image:
        return Image(image_id, "img", "c", self._next("image"), etag="e")

    def operation(self, operation_id: str) -> Operation:
        status, percent, *told = self._next("operation")
        return Operation(operation_id, status, percent, tuple(told))

    def instance_action(self, instance_id: str, action: str, *, retry_token: str | None = None) -> Instance:
        self.tokens.append(retry_token)
        return Instance(instance_id, "web", "c", self._next(action), "r")

    def delete_image(self, image_id: str, *, if_match: str | None = None) -> None:
        assert image_id
        self.tokens.append(if_match)
        self._next("delete")


def conflict(message: str = "being modified") -> errors.StateConflict:
    return errors.StateConflict(message)


def test_pace_grows_from_five_seconds_to_thirty() -> None:
    """The cloud is asked after 5 s, then ever more rarely, at least every 30 s."""
    seconds = Pace().seconds()
    drawn = [next(seconds) for _ in range(12)]
    assert drawn[0] == 5
    assert drawn == sorted(drawn)
    assert drawn[-1] == 30


def test_an_instance_is_waited_for_as_long_as_it_takes() -> None:
    """Hours in passing states are no failure, and each wait says why."""
    cloud = Cloud(instance=["CREATING_IMAGE"] * 300 + ["STARTING", "RUNNING"])
    assert await_instance(cloud, cloud.retrier, "i", "RUNNING").lifecycle_state == "RUNNING"
    assert cloud.now > 2 * 3600
    assert set(cloud.reasons) == {"instance web is CREATING_IMAGE", "instance web is STARTING"}


def test_an_instance_that_comes_to_rest_elsewhere_is_an_error() -> None:
    """A resting state that is not the wanted one ends the wait after a minute, but not at the first look."""
    cloud = Cloud(instance=["STOPPED", "STARTING", "STOPPED"])
    with pytest.raises(errors.OperationFailed, match="is STOPPED, not RUNNING"):
        await_instance(cloud, cloud.retrier, "i", "RUNNING")
    assert 60 <= cloud.now <= 180


def test_a_terminated_instance_ends_the_wait_at_once() -> None:
    """What is gone for good is not waited for."""
    cloud = Cloud(instance=["TERMINATED"])
    with pytest.raises(errors.OperationFailed):
        await_instance(cloud, cloud.retrier, "i", "RUNNING")
    assert cloud.now == 0


def test_an_image_shows_the_percent_of_its_operation() -> None:
    """The work request's percent is shown with the state and told to the caller; a forgotten one changes nothing."""
    cloud = Cloud(
        image=["PROVISIONING"] * 3 + ["AVAILABLE"],
        operation=[("IN_PROGRESS", 10.0), ("IN_PROGRESS", None), errors.NotFoundError("gone")],
    )
    told: list[float] = []
    assert await_image(cloud, cloud.retrier, "i", "w", progress=told.append).lifecycle_state == "AVAILABLE"
    assert told == [10.0]
    assert cloud.reasons == [
        "image img is PROVISIONING, 10 %",
        "image img is PROVISIONING",
        "image img is PROVISIONING",
    ]


def test_an_image_may_be_invisible_right_after_its_creation() -> None:
    """A few seconds of 404 after the create are waited out; a lasting 404 is told."""
    cloud = Cloud(image=[errors.NotFoundError("no")] * 3 + ["AVAILABLE"])
    assert await_image(cloud, cloud.retrier, "i").id == "i"
    gone = Cloud(image=[errors.NotFoundError("no")])
    with pytest.raises(errors.NotFoundError):
        await_image(gone, gone.retrier, "i")
    assert gone.now < 60


def test_a_deleted_image_is_a_failed_one() -> None:
    """OCI deletes what it could not make; the error carries the service's words."""
    cloud = Cloud(image=["PROVISIONING", "DELETED"], operation=[("FAILED", 0.0, "InternalError: no luck")])
    with pytest.raises(errors.OperationFailed, match="ended DELETED: InternalError: no luck"):
        await_image(cloud, cloud.retrier, "i", "w")


@pytest.mark.parametrize("status", ["FAILED", "CANCELED"])
def test_an_operation_that_ends_badly_is_an_error(status: str) -> None:
    """Failed and cancelled work raises with the service's own sentences."""
    cloud = Cloud(operation=[("ACCEPTED", 0.0), ("IN_PROGRESS", 50.0), (status, 60.0, "one", "two")])
    with pytest.raises(errors.OperationFailed, match=f"ended {status}: one: two"):
        await_operation(cloud, cloud.retrier, "w")


def test_an_operation_that_is_forgotten_leaves_the_question_open() -> None:
    """After 12 hours the service knows nothing any more: no success, no failure."""
    cloud = Cloud(operation=[("IN_PROGRESS", 99.0), errors.NotFoundError("gone")])
    assert await_operation(cloud, cloud.retrier, "w") is None


def test_conflicts_are_waited_out_and_cost_no_attempt() -> None:
    """A 409 is a wait: with one attempt in all the act still succeeds after the lock of 20 minutes."""
    cloud = Cloud(act=[conflict("another image operation")] * 40 + ["done"])
    assert act_when_allowed(cloud.retrier, "create image", lambda: cloud._next("act")) == "done"
    assert cloud.now > 15 * 60
    assert set(cloud.reasons) == {"another image operation"}


def test_an_endless_conflict_is_believed_at_last() -> None:
    """After half an hour the refusal is told, with exit code 8: try again later."""
    cloud = Cloud(act=[conflict()])
    with pytest.raises(errors.StateConflict) as caught:
        act_when_allowed(cloud.retrier, "create image", lambda: cloud._next("act"))
    assert caught.value.exit_code == 8
    assert LONGEST_CONFLICT <= cloud.now < LONGEST_CONFLICT + 60


def power(cloud: Cloud, action: str, **options: Any) -> str:
    return change_power(cloud, cloud.retrier, "i", action, **options).lifecycle_state


def test_an_instance_that_is_there_already_is_left_alone() -> None:
    """Starting what runs changes nothing and is no error."""
    cloud = Cloud(instance=["RUNNING"])
    assert power(cloud, "START") == "RUNNING"
    assert cloud.asked == ["instance"]


def test_power_waits_for_a_passing_state_first() -> None:
    """An instance whose image is being made is started afterwards, once."""
    cloud = Cloud(instance=["CREATING_IMAGE", "STOPPING", "STOPPED", "STARTING", "RUNNING"], START=["STARTING"])
    assert power(cloud, "START") == "RUNNING"
    assert cloud.asked.count("START") == 1


def test_repeated_power_actions_carry_one_token() -> None:
    """However often the action is repeated after conflicts, the cloud sees one."""
    cloud = Cloud(instance=["RUNNING"] * 4 + ["STOPPING", "STOPPED"], SOFTSTOP=[conflict()] * 3 + ["STOPPING"])
    assert power(cloud, "SOFTSTOP") == "STOPPED"
    assert len(cloud.tokens) == 4
    assert len(set(cloud.tokens)) == 1
    assert cloud.tokens[0]


def test_no_wait_returns_at_once() -> None:
    """Without waiting the next state is the answer, and a conflict is told."""
    cloud = Cloud(instance=["RUNNING"], STOP=["STOPPING"])
    assert power(cloud, "STOP", wait=False) == "STOPPING"
    busy = Cloud(instance=["CREATING_IMAGE"], STOP=[conflict()])
    with pytest.raises(errors.StateConflict):
        power(busy, "STOP", wait=False)
    assert (cloud.now, busy.now) == (0, 0)


def test_a_terminated_instance_is_not_started() -> None:
    """What is gone for good is refused before anything is done."""
    cloud = Cloud(instance=["TERMINATED"])
    with pytest.raises(errors.PreflightRefused):
        power(cloud, "START")


@pytest.mark.parametrize("last", ["DELETED", errors.NotFoundError("gone")])
def test_an_image_is_deleted_after_its_export(last: Any) -> None:
    """An image that is being exported is deleted when that is over; gone is gone in both of OCI's ways."""
    cloud = Cloud(image=["AVAILABLE", last], delete=[conflict("EXPORTING"), conflict("EXPORTING"), None])
    image = Image("i", "img", "c", "EXPORTING", etag="old")
    remove_image(cloud, cloud.retrier, image)
    assert cloud.asked == ["delete", "delete", "delete", "image", "image"]


def test_no_wait_deletes_exactly_the_image_that_was_seen() -> None:
    """Without waiting the etag is the proof, and an export that is under way is told."""
    cloud = Cloud(delete=[None])
    remove_image(cloud, cloud.retrier, Image("i", "img", "c", "AVAILABLE", etag="e"), wait=False)
    assert cloud.tokens == ["e"]


def test_a_stop_flag_ends_every_wait() -> None:
    """Ctrl-C is noticed while the cloud is waited for."""
    cloud = Cloud(instance=["STARTING"])

    def interrupt() -> None:
        if cloud.now > 100:
            cloud.retrier.waiter.stop.set()

    hooks: list[Callable[[], None]] = cloud.retrier.waiter.hooks
    hooks.append(interrupt)
    with pytest.raises(errors.Interrupted):
        await_instance(cloud, cloud.retrier, "i", "RUNNING")
