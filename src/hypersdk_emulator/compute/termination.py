"""TerminateInstance: the instance goes, and with it what it does not preserve."""

from aiohttp import web

from hypersdk_emulator.blockstorage import boot
from hypersdk_emulator.call import Call
from hypersdk_emulator.compute import state
from hypersdk_emulator.compute.access import permitted_instance
from hypersdk_emulator.compute.workrequests import instance_job_header, save_instance_job
from hypersdk_emulator.fields import query_flag
from hypersdk_emulator.network.vnics import release_vnics
from hypersdk_emulator.resources import check_if_match, transition_seconds


async def terminate_instance(call: Call) -> web.StreamResponse:
    """TerminateInstance: 204; TERMINATING, TERMINATED, and after a day as if it had never been."""
    keep_boot = query_flag(call.query, "preserveBootVolume", default=False)
    keep_data = query_flag(call.query, "preserveDataVolumesCreatedAtLaunch", default=True)
    cloud, now = call.cloud, call.cloud.clock.timestamp()
    seconds = transition_seconds(cloud, call.operation)
    with cloud.db.transaction():
        instance = permitted_instance(call, call.params["instanceId"])
        timeline = state.terminate(instance.id, instance.timeline, now=now, seconds=seconds)
        check_if_match(call.header("if-match"), instance.etag(now))
        instance = instance.changed(timeline=timeline)
        instance.save(cloud.db)
        boot.let_go(cloud, instance.id, preserve_boot_volume=keep_boot, preserve_data_volumes=keep_data)
        release_vnics(cloud, instance.id, seconds)
        save_instance_job(call, instance, "DELETED", now=now, due=now + seconds)
    boot.tidy(cloud)
    return call.reply(status=204, headers=instance_job_header(call, instance))
