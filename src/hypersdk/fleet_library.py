"""What programs call for many exports: plan a fleet, carry it out; as `library.py` for everything else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hypersdk.config import Config, load_config
from hypersdk.fleet.nouns import Limits
from hypersdk.network import NetworkMonitor
from hypersdk.waiting import StopFlag, Waiter
from hypersdk.wiring import Wiring

if TYPE_CHECKING:
    from hypersdk.fleet.crew import Watch
    from hypersdk.fleet.nouns import FleetPlan, Outcome


def plan_fleet(
    expression: str | None = None,
    config: Config | None = None,
    *,
    file: str | None = None,
    output: str | None = None,
    to: str | None = None,
    formats: Sequence[str] = (),
    allow_shutdown: bool = False,
    overwrite: bool = False,
    limits: Limits | None = None,
    windows: Sequence[str] = (),
    regions: Sequence[str] = (),
    compartments: Sequence[str] = (),
    stop: StopFlag | None = None,
    monitor: NetworkMonitor | None = None,
) -> FleetPlan:
    """Plan many exports, as `hyperexport fleet --dry-run` does; nothing is created.

    Args:
        expression: selects instances: "tag:env=prod and shape~VM.Standard".
        config: None = loaded as the command does.
        file: path of a file that names instances: YAML, CSV or lines. It may be given with or without an expression.
        output: local files or a directory, a template: "/backup/{compartment}/{name}.{format}".
        to: URL in Object Storage, a template: the disks stay there.
        formats: formats to export; none = the configured one.
        allow_shutdown: running instances may go down while their images are made.
        overwrite: disks that are there are replaced.
        limits: how many at once, 4 on one machine unless they say otherwise; None = as the file says.
        windows: when exports may begin: "mon-fri 22:00-06:00 Europe/Berlin"; none = as the file says, else always.
        regions: where to look; none = the configured one.
        compartments: paths or OCIDs; none = the configured one, else all that can be listed.
        stop: ends every wait.
        monitor: knows whether the network is down; None = our own.

    Raises:
        UsageError: names, windows or options that make no sense.
        HypersdkError: something could not be read to its end, so that the plan would be short.
    """
    from hypersdk.fleet.planning import filters
    from hypersdk.fleet.planning.asked import Asked
    from hypersdk.fleet.planning.plan import Order
    from hypersdk.fleet.planning.preparing import EMPTY_FILE, Wish, load_file, prepare
    from hypersdk.vendors.oci.regions import expand

    named = EMPTY_FILE if file is None else load_file(file)
    subject = file or expression or "nothing"
    text = expression or named.filter
    asked = Asked(
        output=output,
        to=to,
        format=tuple(formats) or None,
        allow_shutdown=allow_shutdown or None,
        overwrite=overwrite or None,
    )
    with Wiring(config or load_config(), Waiter(stop=stop or StopFlag()), monitor) as wiring:
        oci = wiring.config.oci
        known = tuple(compartments) or named.compartments or tuple(filter(None, (oci.compartment_ocid,)))
        wish = Wish(
            subject=subject,
            file=named,
            filter=None if text is None else filters.parse(text),
            asked=asked,
            beneath=Asked(format=(oci.export_format,), tags=dict(oci.tags) or None),
            order=Order(subject, limits or Limits(**(named.limits or {})), tuple(windows) or named.windows),
            regions=tuple(expand(one) for one in (tuple(regions) or named.regions)),
            compartments=known,
            bucket=oci.bucket,
            namespace=oci.namespace,
            directory=str(Path.cwd()),
            region_of=expand,
        )
        return prepare(wish, wiring, datetime.now(UTC))


def export_fleet(
    plan: FleetPlan,
    config: Config | None = None,
    *,
    watch: Watch | None = None,
    stop: StopFlag | None = None,
    monitor: NetworkMonitor | None = None,
) -> list[Outcome]:
    """Carry out many exports on this machine, as `hyperexport fleet` does; the same call goes on with what is left.

    One that fails ends no other. What an earlier call exported, and what still is there, is skipped.

    Args:
        plan: from `plan_fleet`.
        config: None = loaded as the command does.
        watch: told what happens, from several threads; None = nobody is.
        stop: ends all of it cleanly; the same call goes on.
        monitor: knows whether the network is down; None = our own.

    Returns:
        How each instance ended, in the order of the plan.

    Raises:
        HypersdkError: nothing could begin, or the run store cannot be used any more.
    """
    from hypersdk.fleet.crew import unwatched
    from hypersdk.fleet.local import begin, go_on

    with Wiring(config or load_config(), Waiter(stop=stop or StopFlag()), monitor) as wiring:
        return go_on(begin(plan, wiring), wiring, watch or unwatched())
