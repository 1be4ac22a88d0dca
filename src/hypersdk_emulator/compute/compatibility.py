"""Which shapes an image boots on: its compatibility entries, and ListShapes, which filters by them."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from hypersdk_emulator.call import Call
from hypersdk_emulator.compute.access import own_image, permitted_image
from hypersdk_emulator.compute.records import Image
from hypersdk_emulator.compute.shapes import ARM, SHAPES, X86, Config, Shape, find_shape, shape_json
from hypersdk_emulator.errors import invalid_parameter, not_authorized_or_not_found
from hypersdk_emulator.fields import optional_object, optional_whole
from hypersdk_emulator.identity.domains import check_availability_domain

MOST = 1 << 20
"""Upper end of constraints; far above any shape."""

Entry = Mapping[str, Any]
"""`ocpuConstraints` and `memoryConstraints`, each None if there is none."""
FREE: Entry = {"ocpuConstraints": None, "memoryConstraints": None}


def entries_of(image: Image) -> dict[str, Entry]:
    """Shape -> constraints. An image that nobody gave any boots on all shapes of its architecture.

    Oracle's names of Arm images say aarch64; an imported image counts as x86 until an entry says otherwise.
    """
    given: dict[str, Entry] | None = image.doc.get("shapes")
    if given is not None:
        return given
    architecture = ARM if image.compartment is None and ARM in image.name.lower() else X86
    return {name: FREE for name, shape in SHAPES.items() if shape.architecture == architecture}


def check_compatible(image: Image, shape: Shape, config: Config) -> None:
    """Refuse an instance of a shape on which the image does not boot.

    Raises:
        ServiceError: 400 names shape and image.
    """
    entry = entries_of(image).get(shape.name)
    if entry is None:
        raise invalid_parameter(f"Shape {shape.name} is not valid for image {image.id}.")
    ocpus, memory = entry["ocpuConstraints"] or {}, entry["memoryConstraints"] or {}
    for name, value, least, most in (
        ("ocpus", config.ocpus, ocpus.get("min"), ocpus.get("max")),
        ("memoryInGBs", config.memory, memory.get("minInGBs"), memory.get("maxInGBs")),
    ):
        if value < (least or 0) or value > (most or MOST):
            raise invalid_parameter(f"shapeConfig.{name} {value:g} is outside of what image {image.id} allows")


def read_entry(body: Mapping[str, Any]) -> Entry:
    """Constraints as a call gives them.

    Raises:
        ServiceError: 400 names the field.
    """
    ocpus, memory = optional_object(body, "ocpuConstraints"), optional_object(body, "memoryConstraints")
    return {
        "ocpuConstraints": None if ocpus is None else _ranged(ocpus, "min", "max"),
        "memoryConstraints": None if memory is None else _ranged(memory, "minInGBs", "maxInGBs"),
    }


def _ranged(value: Mapping[str, Any], low: str, high: str) -> dict[str, int | None]:
    least, most = optional_whole(value, low, 1, MOST), optional_whole(value, high, 1, MOST)
    if least is not None and most is not None and least > most:
        raise invalid_parameter(f"{low} is greater than {high}")
    return {low: least, high: most}


def _entry_json(image: Image, shape: str, entry: Entry) -> dict[str, Any]:
    """The SDK's models ImageShapeCompatibilityEntry and -Summary."""
    return {"imageId": image.id, "shape": shape, **entry}


async def list_entries(call: Call) -> web.StreamResponse:
    """ListImageShapeCompatibilityEntries, by name of the shape."""
    image = permitted_image(call, call.params["imageId"])
    rows = [_entry_json(image, shape, entry) for shape, entry in sorted(entries_of(image).items())]
    found, headers = call.page(rows, "shape")
    return call.reply(found, headers=headers)


async def get_entry(call: Call) -> web.StreamResponse:
    """GetImageShapeCompatibilityEntry."""
    image, shape = permitted_image(call, call.params["imageId"]), call.params["shapeName"]
    entry = entries_of(image).get(shape)
    if entry is None:
        raise not_authorized_or_not_found()
    return call.reply(_entry_json(image, shape, entry))


async def add_entry(call: Call) -> web.StreamResponse:
    """AddImageShapeCompatibilityEntry: adds the shape, or sets its constraints anew."""
    entry, shape = read_entry(await call.json()), call.params["shapeName"]
    find_shape(shape)
    with call.cloud.db.transaction():
        image = own_image(call)
        _save(call, image, {**entries_of(image), shape: entry})
    return call.reply(_entry_json(image, shape, entry))


async def remove_entry(call: Call) -> web.StreamResponse:
    """RemoveImageShapeCompatibilityEntry: 204."""
    shape = call.params["shapeName"]
    with call.cloud.db.transaction():
        image = own_image(call)
        entries = dict(entries_of(image))
        if entries.pop(shape, None) is None:
            raise not_authorized_or_not_found()
        _save(call, image, entries)
    return call.reply(status=204)


def _save(call: Call, image: Image, entries: Mapping[str, Entry]) -> None:
    image.changed(doc={**image.doc, "shapes": dict(entries)}).save(call.cloud.db)


async def list_shapes(call: Call) -> web.StreamResponse:
    """ListShapes: the same in every availability domain; `imageId` leaves those on which the image boots."""
    call.permit(call.required("compartmentId"))
    query = call.query
    if domain := query.get("availabilityDomain"):
        check_availability_domain(call.cloud, domain)
    names = set(SHAPES)
    if image_id := query.get("imageId"):
        names &= set(entries_of(permitted_image(call, image_id)))
    names &= {query.get("shape", name) for name in names}
    found, headers = call.page([shape_json(SHAPES[name]) for name in sorted(names)], "shape")
    return call.reply(found, headers=headers)
