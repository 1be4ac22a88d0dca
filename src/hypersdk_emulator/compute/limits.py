"""Limits: how many resources of a kind the tenancy may have, and how many of them there are."""

from collections.abc import Mapping

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.compute.records import images_in
from hypersdk_emulator.compute.state import ImageState
from hypersdk_emulator.errors import ServiceError, not_authorized_or_not_found
from hypersdk_emulator.identity.users import is_compartment

IMAGE_LIMIT = "custom-image-count"
DEFAULTS: Mapping[str, int] = {IMAGE_LIMIT: 100}
"""100 custom images per region with universal credits (docs.oracle.com, "Service Limits", Compute)."""


def check_image_limit(cloud: Cloud) -> None:
    """Refuse one more custom image where the limit is reached.

    Raises:
        ServiceError: 400 LimitExceeded.
    """
    most = _most(cloud)
    if len(_custom_images(cloud)) >= most:
        raise ServiceError(400, "LimitExceeded", f"The limit {IMAGE_LIMIT} ({most}) of this tenancy is reached")


async def get_resource_availability(call: Call) -> web.StreamResponse:
    """GetResourceAvailability: what a compartment uses, and what the region has left. Knows the one limit that counts.

    OCI answers 404 where a limit has no such numbers, and so does this to every other name.
    """
    compartment = call.required("compartmentId")
    known = call.params["serviceName"] == "compute" and call.params["limitName"] == IMAGE_LIMIT
    if not known or not is_compartment(call.cloud, compartment):
        raise not_authorized_or_not_found()
    call.permit(compartment)
    everywhere, most = _custom_images(call.cloud), _most(call.cloud)
    whole = compartment == call.cloud.settings.tenancy_id
    used = len(everywhere) if whole else everywhere.count(compartment)
    return call.reply({"used": used, "available": max(0, most - len(everywhere)), "effectiveQuotaValue": float(most)})


def _most(cloud: Cloud) -> int:
    return {**DEFAULTS, **cloud.settings.limits}[IMAGE_LIMIT]


def _custom_images(cloud: Cloud) -> list[str]:
    """The compartment of each."""
    now = cloud.clock.timestamp()
    every = images_in(cloud.db, None)
    return [one.compartment for one in every if one.compartment is not None and one.state(now) != ImageState.DELETED]
