"""Compute's instances, as the API shows and takes them."""

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.compute.access import forgotten, permitted_instance
from hypersdk_emulator.compute.attachments import must_have_boot_volume
from hypersdk_emulator.compute.instanceview import instance_json, reply_instance
from hypersdk_emulator.compute.records import Instance, find_instance, instances_in
from hypersdk_emulator.compute.state import BOOTING, act
from hypersdk_emulator.listing import arranged, page
from hypersdk_emulator.once import created_once
from hypersdk_emulator.resources import check_if_match, transition_seconds


async def list_instances(call: Call) -> web.StreamResponse:
    """ListInstances: of one compartment; filters by name, state and availability domain."""
    compartment = call.required("compartmentId")
    call.permit(compartment)
    now, query = call.cloud.clock.timestamp(), call.query

    def keep(instance: Instance) -> bool:
        return (
            not forgotten(call, instance)
            and query.get("displayName", instance.name) == instance.name
            and query.get("availabilityDomain", instance.doc["availabilityDomain"])
            == instance.doc["availabilityDomain"]
            and query.get("lifecycleState", instance.state(now)) == instance.state(now)
        )

    found, headers = page(call, arranged(call, instances_in(call.cloud.db, compartment)), keep)
    return call.reply([instance_json(call, instance) for instance in found], headers=headers)


async def get_instance(call: Call) -> web.StreamResponse:
    """GetInstance."""
    return reply_instance(call, permitted_instance(call, call.params["instanceId"]))


async def instance_action(call: Call) -> web.StreamResponse:
    """InstanceAction: START, STOP and their kin by the state machine; the reply shows the next state already."""
    action = call.required("action")
    cloud, now = call.cloud, call.cloud.clock.timestamp()

    def change() -> Instance:
        instance = permitted_instance(call, call.params["instanceId"])
        check_if_match(call.header("if-match"), instance.etag(now))
        seconds = transition_seconds(cloud, f"{call.operation}/{action}")
        timeline = act(instance.id, instance.timeline, action, now=now, seconds=seconds)
        if action == "START":
            must_have_boot_volume(call, instance)
        boots = instance.doc.get("boots", 1) + (action in BOOTING)
        changed = instance.changed(timeline=timeline, doc={**instance.doc, "boots": boots})
        changed.save(cloud.db)
        return changed

    return reply_instance(call, await created_once(call, change, lambda known: find_instance(cloud.db, known)))
