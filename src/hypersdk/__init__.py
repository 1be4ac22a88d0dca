"""hypersdk: take virtual machines out of Oracle Cloud into verified disks.

Names resolve on first use (PEP 562): importing this package loads no SDK, no engine, no database.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hypersdk.version import __version__ as __version__

if TYPE_CHECKING:
    from hypersdk import errors
    from hypersdk.config import Config, load_config
    from hypersdk.events import callback_reporter, null_reporter
    from hypersdk.exports.options import ExportOptions
    from hypersdk.exports.plan import ExportPlan
    from hypersdk.exports.result import ExportResult
    from hypersdk.exports.telling.percent import PercentReporter
    from hypersdk.fleet.crew import Watch as FleetWatch
    from hypersdk.fleet.nouns import FleetPlan
    from hypersdk.fleet.nouns import Limits as FleetLimits
    from hypersdk.fleet.nouns import Outcome as FleetOutcome
    from hypersdk.fleet_library import export_fleet, plan_fleet
    from hypersdk.library import (
        connect,
        copy,
        copy_tree,
        download,
        download_stream,
        export_instance,
        open_store,
        plan_export,
        upload,
        upload_stream,
    )
    from hypersdk.model import ByteRange, Checksum, Disk, Image, Instance, ObjectInfo, ObjectRef, Ocid, Proof, Secret
    from hypersdk.network import NetworkMonitor
    from hypersdk.retry import RetryPolicy
    from hypersdk.transfer.copies.items import Outcome
    from hypersdk.waiting import StopFlag

_HOME = {
    "ByteRange": "hypersdk.model",
    "Checksum": "hypersdk.model",
    "Config": "hypersdk.config",
    "Disk": "hypersdk.model",
    "ExportOptions": "hypersdk.exports.options",
    "ExportPlan": "hypersdk.exports.plan",
    "ExportResult": "hypersdk.exports.result",
    "FleetLimits": "hypersdk.fleet.nouns:Limits",
    "FleetOutcome": "hypersdk.fleet.nouns:Outcome",
    "FleetPlan": "hypersdk.fleet.nouns",
    "FleetWatch": "hypersdk.fleet.crew:Watch",
    "Image": "hypersdk.model",
    "Instance": "hypersdk.model",
    "NetworkMonitor": "hypersdk.network",
    "ObjectInfo": "hypersdk.model",
    "ObjectRef": "hypersdk.model",
    "Ocid": "hypersdk.model",
    "Outcome": "hypersdk.transfer.copies.items",
    "PercentReporter": "hypersdk.exports.telling.percent",
    "Proof": "hypersdk.model",
    "RetryPolicy": "hypersdk.retry",
    "Secret": "hypersdk.model",
    "StopFlag": "hypersdk.waiting",
    "callback_reporter": "hypersdk.events",
    "connect": "hypersdk.library",
    "copy": "hypersdk.library",
    "copy_tree": "hypersdk.library",
    "download": "hypersdk.library",
    "download_stream": "hypersdk.library",
    "errors": "",
    "export_fleet": "hypersdk.fleet_library",
    "export_instance": "hypersdk.library",
    "load_config": "hypersdk.config",
    "null_reporter": "hypersdk.events",
    "open_store": "hypersdk.library",
    "plan_export": "hypersdk.library",
    "plan_fleet": "hypersdk.fleet_library",
    "upload": "hypersdk.library",
    "upload_stream": "hypersdk.library",
}
"""Public name -> module that holds it, with ":NAME" if it has another name there; "" = it is a module itself."""

__all__ = [
    "ByteRange",
    "Checksum",
    "Config",
    "Disk",
    "ExportOptions",
    "ExportPlan",
    "ExportResult",
    "FleetLimits",
    "FleetOutcome",
    "FleetPlan",
    "FleetWatch",
    "Image",
    "Instance",
    "NetworkMonitor",
    "ObjectInfo",
    "ObjectRef",
    "Ocid",
    "Outcome",
    "PercentReporter",
    "Proof",
    "RetryPolicy",
    "Secret",
    "StopFlag",
    "callback_reporter",
    "connect",
    "copy",
    "copy_tree",
    "download",
    "download_stream",
    "errors",
    "export_fleet",
    "export_instance",
    "load_config",
    "null_reporter",
    "open_store",
    "plan_export",
    "plan_fleet",
    "upload",
    "upload_stream",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'hypersdk' has no attribute {name!r}")
    module, _, inner = home.partition(":")
    value: Any = importlib.import_module(module or f"hypersdk.{name}")
    if module:
        value = getattr(value, inner or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
