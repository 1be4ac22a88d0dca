"""Start and stop an instance, and delete an image: one act each, and the waits around it."""

from __future__ import annotations

import uuid

from hypersdk import errors
from hypersdk.exports.states import PACE, PASSING_INSTANCE_STATES, Pace, act_when_allowed, await_instance, poll_until
from hypersdk.model import Image, Instance
from hypersdk.providers.protocol import Provider
from hypersdk.retry import Retrier

TARGETS = {"START": "RUNNING", "STOP": "STOPPED", "SOFTSTOP": "STOPPED"}
"""Power action of OCI -> the lifecycle state that it leads to."""


def change_power(
    provider: Provider, retrier: Retrier, instance_id: str, action: str, *, wait: bool = True, pace: Pace = PACE
) -> Instance:
    """Start or stop an instance; one that is there already is left alone.

    Args:
        provider: the cloud.
        retrier: repeats the calls.
        instance_id: which.
        action: START, STOP (power cut) or SOFTSTOP (asks the guest, cut after 15 minutes).
        wait: wait for a passing state to pass first, and for the new state afterwards.
        pace: how often the cloud is asked.

    Returns:
        The instance as last seen.

    Raises:
        PreflightRefused: the instance is gone for good.
        StateConflict: its state forbids it for now, and `wait` is off.
        OperationFailed: it came to rest in another state.
    """
    target = TARGETS[action]
    token = uuid.uuid4().hex

    def look() -> tuple[tuple[Instance, bool] | None, str]:
        instance = retrier.call("get instance", lambda: provider.instance(instance_id))
        state = instance.lifecycle_state
        if state == target:
            return (instance, True), ""
        if state == "TERMINATED":
            raise errors.PreflightRefused(f"instance {instance.name} is {state}", resource=instance.id)
        if state in PASSING_INSTANCE_STATES and wait:
            return None, f"instance {instance.name} is {state}"
        try:
            acted = retrier.call(
                f"{action} instance", lambda: provider.instance_action(instance_id, action, retry_token=token)
            )
        except errors.StateConflict as conflict:
            if not wait:
                raise
            return None, conflict.message
        return (acted, False), ""

    instance, there = poll_until(retrier, look, pace)
    return instance if there or not wait else await_instance(provider, retrier, instance_id, target, pace=pace)


def remove_image(provider: Provider, retrier: Retrier, image: Image, *, wait: bool = True, pace: Pace = PACE) -> None:
    """Delete an image, exactly the one that was looked at; absent is fine.

    Args:
        provider: the cloud.
        retrier: repeats the calls.
        image: with its etag, if it was got by id.
        wait: wait for an export to end first, and for the image to be gone afterwards.
        pace: how often the cloud is asked.

    Raises:
        PermissionDenied: we may see but not delete it.
        StateConflict: it is being exported, and `wait` is off or the export does not end.
    """
    if not wait:
        retrier.call("delete image", lambda: provider.delete_image(image.id, if_match=image.etag))
        return
    # No If-Match here: the end of an export changes the etag, and an OCID never means another image.
    act_when_allowed(retrier, "delete image", lambda: provider.delete_image(image.id), pace=pace)

    def look() -> tuple[bool | None, str]:
        try:
            state = retrier.call("get image", lambda: provider.image(image.id)).lifecycle_state
        except errors.NotFoundError:
            return True, ""
        return (True if state == "DELETED" else None), f"image {image.name} is {state}"

    poll_until(retrier, look, pace)
