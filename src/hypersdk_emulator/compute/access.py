"""The instance or image that a call is about: found, and permitted to the caller, or OCI's 404."""

from hypersdk_emulator.call import Call
from hypersdk_emulator.compute.records import Image, Instance, find_image, find_instance
from hypersdk_emulator.compute.state import is_forgotten
from hypersdk_emulator.errors import ServiceError, not_authorized_or_not_found

PLATFORM_IMAGE_REFUSED = "A platform image cannot be changed, deleted or exported"
SECONDS_PER_HOUR = 3600


def permitted_instance(call: Call, instance_id: str) -> Instance:
    """The instance, if the caller may do this operation in its compartment and it is not long gone."""
    instance = find_instance(call.cloud.db, instance_id)
    if forgotten(call, instance):
        raise not_authorized_or_not_found()
    call.permit(instance.compartment)
    return instance


def forgotten(call: Call, instance: Instance) -> bool:
    """True for an instance that was terminated so long ago that nobody sees it any more."""
    hours = call.cloud.assumptions.terminated_hours
    return is_forgotten(instance.timeline, now=call.cloud.clock.timestamp(), seconds=hours * SECONDS_PER_HOUR)


def permitted_image(call: Call, image_id: str) -> Image:
    """The image, deleted or not; platform images are everybody's."""
    image = find_image(call.cloud.db, image_id)
    if image.compartment is not None:
        call.permit(image.compartment)
    return image


def own_image(call: Call) -> Image:
    """The image of the path, if it is a custom image: only those can be changed.

    Raises:
        ServiceError: 404, or 403 for a platform image.
    """
    image = permitted_image(call, call.params["imageId"])
    if image.compartment is None:
        raise ServiceError(403, "NotAllowed", PLATFORM_IMAGE_REFUSED)
    return image
