"""Why an instance cannot be exported as it is: what its own facts tell, without a look at the cloud. Pure.

Preflight asks for one export, the plan of a fleet for many, so that both say the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypersdk.model import Instance, format_size
from hypersdk.storage.protocol import BucketFacts

GIB = 1024**3

MAX_EXPORT_SIZE = 400 * GIB
"""Images above 400 GB are neither exported nor imported (docs.oracle.com, "Image Import/Export", "Size limits")."""

RUNNING, STOPPED = "RUNNING", "STOPPED"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not, and what to do about it."""

    because: str
    hint: str


def of_instance(one: Instance, *, imageable: bool, allow_shutdown: bool) -> Refusal | None:
    """Why no image of an instance can be made; None = it can.

    Args:
        one: the instance.
        imageable: whether images of it are allowed, as far as is known.
        allow_shutdown: it may go down if it runs.
    """
    state = one.lifecycle_state
    if state in {"TERMINATED", "TERMINATING"}:
        return Refusal(f"{one.name} is {state}: its boot volume cannot be imaged", "export another instance")
    if state not in {RUNNING, STOPPED}:
        return Refusal(f"{one.name} is {state}", f"wait until it is {STOPPED} or {RUNNING}, then try again")
    if not imageable:
        return Refusal(
            f"OCI allows no image of {one.name} (a database system, or its Marketplace image forbids it)",
            "export its volumes by another way, such as a clone attached to another instance",
        )
    if state == RUNNING and not allow_shutdown:
        return Refusal(
            f"{one.name} is running: OCI shuts it down while it makes the image, for some minutes, "
            "and starts it again afterwards",
            f"allow that with --allow-shutdown, or stop it first: hyperexport instances stop {one.id} --soft",
        )
    return None


def of_size(size: int | None) -> Refusal | None:
    """Why a boot volume of this many bytes cannot be exported; None = it can, or the size is not known."""
    if size is None or size <= MAX_EXPORT_SIZE:
        return None
    return Refusal(
        f"the boot volume has {format_size(size)}; OCI exports no image above 400 GB",
        "move data to block volumes and shrink the boot volume, or copy the volume from another instance",
    )


def of_bucket(facts: BucketFacts) -> Refusal | None:
    """Why a bucket cannot take exported objects; None = it can."""
    name = f"{facts.namespace}/{facts.name}"
    if facts.storage_tier == "Archive":
        return Refusal(
            f"bucket {name} keeps its objects in the Archive tier: an exported disk could not be read",
            "choose a bucket of the Standard tier with --bucket-name",
        )
    if facts.read_only:
        return Refusal(f"bucket {name} is read-only (a replication target)", "choose another bucket")
    return None
