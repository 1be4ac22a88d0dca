"""Changes of instances: UpdateInstance and ChangeInstanceCompartment."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.compute import state
from hypersdk_emulator.compute.access import permitted_instance
from hypersdk_emulator.compute.capabilities import check_options, read_options
from hypersdk_emulator.compute.compatibility import check_compatible
from hypersdk_emulator.compute.imageschemas import capabilities_of
from hypersdk_emulator.compute.instanceview import launch_options, reply_instance, shape_config
from hypersdk_emulator.compute.launchdetails import (
    check_fixed_metadata,
    read_fault_domain,
    read_metadata,
    read_settings,
)
from hypersdk_emulator.compute.records import Instance, find_image, find_instance
from hypersdk_emulator.compute.shapes import Config, Shape, config_json, configure, find_shape, may_resize
from hypersdk_emulator.compute.state import InstanceState
from hypersdk_emulator.compute.workrequests import instance_job_header, save_instance_job
from hypersdk_emulator.database import Database
from hypersdk_emulator.errors import ServiceError, invalid_parameter
from hypersdk_emulator.fields import defined_tags, optional_object, optional_text, tags, text
from hypersdk_emulator.once import created_once
from hypersdk_emulator.resources import check_if_match, transition_seconds
from hypersdk_emulator.timeline import Timeline

CONSTRAINTS = ("ALLOW_DOWNTIME", "AVOID_DOWNTIME")
CHANGEABLE_OPTIONS = frozenset({"bootVolumeType", "networkType", "isPvEncryptionInTransitEnabled"})
"""Launch options that an update may name (SDK: models.UpdateLaunchOptions)."""


async def update_instance(call: Call) -> web.StreamResponse:
    """UpdateInstance: name, tags, metadata, agent, shape. A new shape of a running instance reboots it."""
    body = await call.json()
    cloud, now = call.cloud, call.cloud.clock.timestamp()
    seconds = transition_seconds(cloud, call.operation)

    def change() -> Instance:
        instance = _changeable(call, now)
        soft, hard = _soft(instance, body), _hard(cloud.db, instance, body)
        timeline = _life(instance, body, now=now, seconds=seconds) if hard else instance.timeline
        name = optional_text(body, "displayName") or instance.name
        changed = instance.changed(name=name, doc={**instance.doc, **soft, **hard}, timeline=timeline)
        changed.save(cloud.db)
        save_instance_job(call, changed, "UPDATED", now=now, due=max(now, timeline.settled))
        return changed

    instance = await created_once(call, change, lambda known: find_instance(cloud.db, known))
    return reply_instance(call, instance, instance_job_header(call, instance))


def _changeable(call: Call, now: float) -> Instance:
    """The instance of the path, for a write under `if-match`.

    Raises:
        ServiceError: 404, 412, 409 if it is being terminated or is.
    """
    instance = permitted_instance(call, call.params["instanceId"])
    check_if_match(call.header("if-match"), instance.etag(now))
    if instance.state(now) in (InstanceState.TERMINATING, InstanceState.TERMINATED):
        raise ServiceError(409, "IncorrectState", f"The instance {instance.id} is {instance.state(now)}")
    return instance


def _soft(instance: Instance, body: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the record that change without a reboot.

    Raises:
        ServiceError: 400 for what no update can change, or what this emulator cannot.
    """
    if body.get("sourceDetails") is not None:
        raise invalid_parameter("sourceDetails: the emulator does not replace boot volumes")
    metadata = read_metadata({**_metadata_of(instance), **body})
    check_fixed_metadata(instance.doc, metadata)
    changes: dict[str, Any] = {"freeformTags": tags(body), "definedTags": defined_tags(body)}
    given = {key: value for key, value in changes.items() if value is not None}
    return {**given, **metadata, **read_settings(body)}


def _metadata_of(instance: Instance) -> dict[str, Any]:
    """Both kinds of metadata as they are: what the body leaves alone counts against the limit, too."""
    return {key: instance.doc.get(key) or {} for key in ("metadata", "extendedMetadata")}


def _hard(db: Database, instance: Instance, body: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the record that change with a reboot: shape, launch options, fault domain.

    Raises:
        ServiceError: 400 for a shape that is none, that the image does not boot on or that the old one cannot become.
    """
    changes: dict[str, Any] = {}
    image = None if instance.doc["imageId"] is None else find_image(db, instance.doc["imageId"])
    wanted = optional_object(body, "shapeConfig")
    if optional_text(body, "shape") is not None or wanted is not None:
        shape, config = _new_shape(instance, body, wanted)
        if image is not None:
            check_compatible(image, shape, config)
        changes |= {"shape": shape.name, "shapeConfig": config_json(shape.name, config)}
    options = read_options(body.get("launchOptions"))
    if not options.keys() <= CHANGEABLE_OPTIONS:
        raise invalid_parameter(f"launchOptions: an update may name {', '.join(sorted(CHANGEABLE_OPTIONS))} only")
    if options:
        check_options({} if image is None else capabilities_of(db, image), options)
        changes["launchOptions"] = {**launch_options(instance), **options}
    if (domain := read_fault_domain(body)) is not None:
        changes["faultDomain"] = domain
    return changes


def _new_shape(instance: Instance, body: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> tuple[Shape, Config]:
    """The shape that the instance gets; within the same shape, what the call does not say stays."""
    old = instance.doc["shape"]
    shape = find_shape(optional_text(body, "shape") or old)
    if shape.name != old and not may_resize(old, shape):
        raise invalid_parameter(f"An instance of shape {old} cannot change to {shape.name}")
    if shape.name == old and shape.flexible is not None:
        present = shape_config(instance) or {}
        kept = {key: present.get(key) for key in ("ocpus", "memoryInGBs", "baselineOcpuUtilization")}
        if wanted is not None and wanted.get("vcpus") is not None:
            del kept["ocpus"]
        wanted = {**kept, **(wanted or {})}
    return shape, configure(shape, wanted)


def _life(instance: Instance, body: Mapping[str, Any], *, now: float, seconds: float) -> Timeline:
    """A stopped instance stays stopped, a running one reboots.

    Raises:
        ServiceError: 409 `Conflict` in transition, 409 `IncorrectState` where the caller will have no downtime.
    """
    constraint = body.get("updateOperationConstraint")
    if constraint not in (None, *CONSTRAINTS):
        raise invalid_parameter(f"updateOperationConstraint must be one of {', '.join(CONSTRAINTS)}")
    if state.stable_state(instance.id, instance.timeline, now) == InstanceState.STOPPED:
        return instance.timeline
    if constraint == "AVOID_DOWNTIME":
        raise ServiceError(409, "IncorrectState", f"The instance {instance.id} is RUNNING; this update needs a reboot")
    return state.act(instance.id, instance.timeline, "RESET", now=now, seconds=seconds)


async def change_instance_compartment(call: Call) -> web.StreamResponse:
    """ChangeInstanceCompartment: 202, done at once; boot volumes and VNICs stay where they are."""
    compartment = text(await call.json(), "compartmentId")
    call.permit(compartment)
    cloud, now = call.cloud, call.cloud.clock.timestamp()

    def change() -> Instance:
        instance = _changeable(call, now)
        state.stable_state(instance.id, instance.timeline, now)
        moved = instance.changed(compartment=compartment)
        moved.save(cloud.db)
        save_instance_job(call, moved, "UPDATED", now=now, due=now)
        return moved

    instance = await created_once(call, change, lambda known: find_instance(cloud.db, known))
    return call.reply(status=202, headers={"etag": instance.etag(now), **instance_job_header(call, instance)})
