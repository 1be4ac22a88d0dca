"""Checked by mypy, never run: the types that users of the library rely on."""

from collections.abc import Iterable
from pathlib import Path

import hypersdk
from hypersdk import ExportOptions, ExportResult, Instance, StopFlag


def names_of(instances: Iterable[Instance]) -> list[str]:
    return [instance.name for instance in instances]


def show(done: int, total: int | None) -> None:
    print(done, total)


def export(instance_id: str) -> str | None:
    config = hypersdk.load_config()
    options = ExportOptions(output_dir="/backup", formats=("qcow2",))
    plan = hypersdk.plan_export(instance_id, options, config)
    result: ExportResult = hypersdk.export_instance(
        instance_id, options, config, reporter=hypersdk.callback_reporter(show), stop=StopFlag()
    )
    hypersdk.PercentReporter(plan, print)
    return result.local_path if plan.steps else None


def move(source: str, target: str) -> int:
    config = hypersdk.load_config()
    copied: hypersdk.ObjectInfo = hypersdk.copy(source, target, config, overwrite=True, progress=show, stop=StopFlag())
    with Path("in").open("rb") as file:
        streamed: hypersdk.ObjectInfo = hypersdk.upload_stream(file, target, config, overwrite=True, progress=show)
    with Path("out").open("wb") as file:
        found: tuple[hypersdk.Checksum, ...] = hypersdk.download_stream(source, file, config, progress=show)
    return copied.size + streamed.size + len(found)


def move_all(source: str, target: str) -> list[str]:
    outcomes: Iterable[hypersdk.Outcome] = hypersdk.copy_tree(source, target, include=["*.raw"], progress=show)
    return [outcome.because for outcome in outcomes if outcome.kind == "failed"]


def stat(address: str) -> int:
    store = hypersdk.open_store(address, hypersdk.load_config())
    return store.size if isinstance(store, hypersdk.ObjectInfo) else 0


def export_many(stop: StopFlag, watch: hypersdk.FleetWatch) -> dict[str, str]:
    limits = hypersdk.FleetLimits(parallel=8, per_region=4)
    plan: hypersdk.FleetPlan = hypersdk.plan_fleet("tag:env=prod", output="/backup/{name}.{format}", limits=limits)
    outcomes: list[hypersdk.FleetOutcome] = hypersdk.export_fleet(plan, stop=stop, watch=watch)
    return {outcome.name: outcome.kind for outcome in outcomes}
