"""Limits: how many resources of a kind the tenancy may have, and how many of them there are."""

from collections.abc import Mapping

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.compute.records import every_instance, images_in
from hypersdk_emulator.compute.shapes import SHAPES, Config, Shape
from hypersdk_emulator.compute.state import ImageState, InstanceState
from hypersdk_emulator.errors import ServiceError, not_authorized_or_not_found
from hypersdk_emulator.identity.users import is_compartment

IMAGE_LIMIT = "custom-image-count"
CORE_LIMITS = frozenset(shape.quota for shape in SHAPES.values())
"""Cores of one family of shapes, counted for each availability domain."""
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


def check_core_limit(cloud: Cloud, domain: str, shape: Shape, config: Config) -> None:
    """Refuse an instance for which a domain has no cores left; without a word in the seed there is no limit.

    Raises:
        ServiceError: 400 LimitExceeded.
    """
    most = cloud.settings.limits.get(shape.quota)
    if most is not None and _cores(cloud, shape.quota, domain, None) + config.ocpus > most:
        message = f"The following service limits were exceeded: {shape.quota}. Request a service limit increase."
        raise ServiceError(400, "LimitExceeded", message)


async def get_resource_availability(call: Call) -> web.StreamResponse:
    """GetResourceAvailability: what a compartment uses and what is left of custom images, and of cores if limited.

    OCI answers 404 where a limit has no such numbers, and so does this to every other name.
    """
    compartment, limit = call.required("compartmentId"), call.params["limitName"]
    known = limit == IMAGE_LIMIT or (limit in CORE_LIMITS and limit in call.cloud.settings.limits)
    if call.params["serviceName"] != "compute" or not known or not is_compartment(call.cloud, compartment):
        raise not_authorized_or_not_found()
    call.permit(compartment)
    used: float
    everywhere: float
    if limit == IMAGE_LIMIT:
        used, everywhere = _images_used(call.cloud, compartment)
    else:
        domain = call.required("availabilityDomain")
        used = _cores(call.cloud, limit, domain, compartment)
        everywhere = _cores(call.cloud, limit, domain, None)
    most = {**DEFAULTS, **call.cloud.settings.limits}[limit]
    left = max(0, int(most - everywhere))
    return call.reply({"used": int(used), "available": left, "effectiveQuotaValue": float(most)})


def _images_used(cloud: Cloud, compartment: str) -> tuple[int, int]:
    """Custom images in a compartment (in the tenancy itself: everywhere), and everywhere."""
    everywhere = _custom_images(cloud)
    whole = compartment == cloud.settings.tenancy_id
    return len(everywhere) if whole else everywhere.count(compartment), len(everywhere)


def _cores(cloud: Cloud, quota: str, domain: str, compartment: str | None) -> float:
    """OCPUs of the instances that count against a limit, stopped ones included."""
    now, used = cloud.clock.timestamp(), 0.0
    tenancy = cloud.settings.tenancy_id
    for instance in every_instance(cloud.db):
        shape, doc = SHAPES.get(instance.doc["shape"]), instance.doc
        if shape is None or shape.quota != quota or doc["availabilityDomain"] != domain:
            continue
        if compartment in (None, tenancy, instance.compartment) and instance.state(now) != InstanceState.TERMINATED:
            used += (doc.get("shapeConfig") or {}).get("ocpus", shape.ocpus)
    return used


def _most(cloud: Cloud) -> int:
    return {**DEFAULTS, **cloud.settings.limits}[IMAGE_LIMIT]


def _custom_images(cloud: Cloud) -> list[str]:
    """The compartment of each."""
    now = cloud.clock.timestamp()
    every = images_in(cloud.db, None)
    return [one.compartment for one in every if one.compartment is not None and one.state(now) != ImageState.DELETED]
