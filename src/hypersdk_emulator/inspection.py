"""What a test may look at: the requests so far, and what somebody forgot to clean up."""

from collections.abc import Callable, Mapping
from typing import Any

from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.compute.records import images_in
from hypersdk_emulator.compute.state import ImageState
from hypersdk_emulator.errors import invalid_parameter
from hypersdk_emulator.resources import Resource, resources_tagged
from hypersdk_emulator.timeline import Timeline

STAGING = ".hypersdk/"
"""Objects with this in their names are an exporter's own and temporary; any that is left is a leftover."""
RUN_TAG = "hypersdk-run"
"""Free-form tag of everything that a run made."""
GONE = frozenset({"TERMINATED", "TERMINATING", "DELETED", "DELETING", "DETACHED", "DETACHING"})
LOG_FILTERS = ("after", "operation", "method", "status", "path", "fault")

Entry = Mapping[str, Any]


def requests(cloud: Cloud, query: Mapping[str, str]) -> list[Entry]:
    """The requests in the order of their coming, without the control calls.

    Args:
        cloud: Whose log.
        query: `after` = the id of a request; `operation`, `method`, `status` must be equal, `path` is a part of the
            path, `fault` the id of a fault that was met, or `any`.

    Raises:
        ServiceError: 400 for another filter or a value that makes no sense.
    """
    for name in query:
        if name not in LOG_FILTERS:
            raise invalid_parameter(f"{name}: the log is filtered by {', '.join(LOG_FILTERS)}")
    after = query.get("after", "0")
    if not after.isdecimal():
        raise invalid_parameter("after must be the id of a request")
    wanted = [_wanted(name, value) for name, value in query.items() if name != "after"]
    entries = (entry for entry in cloud.log.after(int(after)) if not str(entry["path"]).startswith("/_emulator"))
    return [entry for entry in entries if all(each(entry) for each in wanted)]


def _wanted(name: str, value: str) -> Callable[[Entry], bool]:
    if name == "path":
        return lambda entry: value in str(entry["path"])
    if name == "fault" and value == "any":
        return lambda entry: "fault" in entry
    return lambda entry: str(entry.get(name)) == value


def leftovers(cloud: Cloud) -> dict[str, list[dict[str, Any]]]:
    """What is left of runs by kind: images, links, open uploads, staged objects, whatever carries a run's tag."""
    now = cloud.clock.timestamp()
    customs = [image for image in images_in(cloud.db, None) if image.compartment is not None]
    alive = [image for image in customs if image.state(now) != ImageState.DELETED and not image.doc.get("seeded")]
    staged = "SELECT DISTINCT bucket, name FROM objects WHERE marker = 0 AND instr(name, ?) > 0"
    tagged = [each for each in resources_tagged(cloud.db, RUN_TAG) if each.state(now) not in GONE]
    return {
        "images": [{"id": each.id, "displayName": each.name, "lifecycleState": each.state(now)} for each in alive],
        "preauthenticatedRequests": [dict(row) for row in cloud.db.all("SELECT id, bucket, object FROM pars")],
        "multipartUploads": [dict(row) for row in cloud.db.all("SELECT id, bucket, object FROM uploads")],
        "objects": [dict(row) for row in cloud.db.all(staged, STAGING)],
        "instances": _instances(cloud, now),
        "resources": [_shown(each, now) for each in tagged],
    }


def _shown(resource: Resource, now: float) -> dict[str, Any]:
    state = resource.state(now)
    return {"id": resource.id, "kind": resource.kind, "displayName": resource.name, "lifecycleState": state}


def _instances(cloud: Cloud, now: float) -> list[dict[str, Any]]:
    """Instances that a run launched and did not terminate."""
    tag = f'$.freeformTags."{RUN_TAG}"'
    rows = cloud.db.all("SELECT * FROM instances WHERE json_extract(doc, ?) IS NOT NULL", tag)
    states = [(row, Timeline.load(row["timeline"]).at(now)) for row in rows]
    return [
        {"id": row["id"], "displayName": row["name"], "lifecycleState": state}
        for row, state in states
        if state not in GONE
    ]
