"""How long a transient state lasts, in virtual seconds: one rule for all rooms. Pure.

Without `--pace` the seed's `timing.transitionSeconds` rules, alike for every operation. With `--pace P` it is P times
what OCI takes: 1 is true to life, 0 at once. The seed's `timing.paceOf` multiplies either for single operations.

An operation is named as in the SDK. Where one call means different work, a word follows a slash: `InstanceAction/STOP`,
`CreateVolumeBackup/FULL`; a rule or factor for the name alone holds for those that have none of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TRANSITION_SECONDS = 0.4
"""Without `--pace` and without a word in the seed."""
USUAL_SIZE_IN_GBS = 50
"""Boot volume of OCI's own images, taken where an operation's size is not known."""
_MEASURED_GBS = 47_694 / 1024
"""Boot volume of the recordings (oci-cli, 2018): image 16 m 44 s, export 19 m 01 s, import 12 m 36 s."""


@dataclass(frozen=True)
class Span:
    """Seconds that OCI takes: a part of its own, a part for each GB, never more than `most`."""

    fixed: float
    per_gb: float = 0.0
    most: float = float("inf")

    def seconds(self, size_in_gbs: float) -> float:
        """For a thing of this size."""
        return min(self.most, self.fixed + self.per_gb * size_in_gbs)


_MINUTE = 60.0
_FULL_BACKUP = Span(_MINUTE, 10.0)
"""Minutes to hours, says the documentation; the slope is a guess."""
_INCREMENTAL_BACKUP = Span(_MINUTE, 1.0)
_CLONE = Span(10.0)
"""A clone is AVAILABLE within seconds and then copied in the background for up to 30 minutes (documentation)."""
_HYDRATION = Span(_MINUTE, 4.0, most=30 * _MINUTE)
_RESTORE = Span(30.0, 4.0)

SPANS: dict[str, Span] = {
    "CreateImage": Span(0.0, 1004 / _MEASURED_GBS),
    "ExportImage": Span(0.0, 1141 / _MEASURED_GBS),
    "ImportImage": Span(0.0, 756 / _MEASURED_GBS),
    "InstanceAction": Span(_MINUTE),
    # The guest shuts down by itself; one that does not is cut off after 15 minutes: `"paceOf": {...: 7.5}`.
    "InstanceAction/SOFTSTOP": Span(2 * _MINUTE),
    "InstanceAction/SOFTRESET": Span(2 * _MINUTE),
    "UpdateInstance": Span(_MINUTE),
    "LaunchInstance": Span(2 * _MINUTE),
    "TerminateInstance": Span(2 * _MINUTE),
    "CreateVolume": Span(10.0),
    "CreateVolume/CLONE": _CLONE,
    "CreateVolume/HYDRATION": _HYDRATION,
    "CreateVolume/BACKUP": _RESTORE,
    "CreateBootVolume": _CLONE,
    "CreateBootVolume/HYDRATION": _HYDRATION,
    "CreateBootVolume/BACKUP": _RESTORE,
    "CreateVolumeBackup": _FULL_BACKUP,
    "CreateVolumeBackup/INCREMENTAL": _INCREMENTAL_BACKUP,
    "CreateBootVolumeBackup": _FULL_BACKUP,
    "CreateBootVolumeBackup/INCREMENTAL": _INCREMENTAL_BACKUP,
    "CreateVolumeGroupBackup": _FULL_BACKUP,
    "CreateVolumeGroupBackup/INCREMENTAL": _INCREMENTAL_BACKUP,
}
"""What OCI takes. Sources: the recordings above, documentation ('Overview of Boot Volume Cloning', 'Block Volume
Backups', 'Stopping an Instance'); starts and stops are what users see."""

OTHERWISE = Span(10.0)
"""Attaching, detaching, deleting and what else takes a moment."""


def duration(
    operation: str, size_in_gbs: float | None = None, *, timing: Mapping[str, Any], pace: float | None = None
) -> float:
    """How long one transient state of an operation lasts, in virtual seconds.

    Args:
        operation: SDK's name, perhaps with a slash and a word.
        size_in_gbs: Size of the thing that is made or moved; None where it is not known or does not matter.
        timing: The seed's `timing`: `transitionSeconds`, `paceOf`.
        pace: What `--pace` said, or None.
    """
    name = operation.partition("/")[0]
    factors = timing.get("paceOf", {})
    factor = float(factors.get(operation, factors.get(name, 1.0)))
    if pace is None:
        return float(timing.get("transitionSeconds", TRANSITION_SECONDS)) * factor
    span = SPANS.get(operation) or SPANS.get(name) or OTHERWISE
    return pace * factor * span.seconds(USUAL_SIZE_IN_GBS if size_in_gbs is None else size_in_gbs)
