"""The shapes of instances: a small table of real ones, and what a `shapeConfig` makes of them. Pure.

Figures: documentation, 'Compute Shapes' and 'Flexible Shapes', and published answers of ListShapes; those of other
shapes are not needed here. All sizes are GB as OCI counts them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypersdk_emulator.errors import invalid_parameter, missing_parameter

AMD_MILAN = "2.55 GHz AMD EPYC™ 7J13 (Milan)"
AMD_GENOA = "2.4 GHz AMD EPYC™ 9J14 (Genoa)"
AMD_ROME = "2.25 GHz AMD EPYC™ 7742 (Rome)"
AMD_NAPLES = "2.0 GHz AMD EPYC™ 7551 (Naples)"
INTEL_ICE_LAKE = "2.6 GHz Intel® Xeon® Platinum 8358 (Ice Lake)"
INTEL_ICE_LAKE_FAST = "3.0 GHz Intel® Xeon® 6354 (Ice Lake)"
INTEL_SKYLAKE = "2.0 GHz Intel® Xeon® Platinum 8167M (Skylake)"
AMPERE_ALTRA = "3.0 GHz Ampere® Altra™"
BASELINES = ("BASELINE_1_8", "BASELINE_1_2", "BASELINE_1_1")
X86, ARM = "x86_64", "aarch64"
THREADS_PER_OCPU = {X86: 2, ARM: 1}
GBPS_FIGURES = 3


@dataclass(frozen=True)
class Flexible:
    """The ranges of a flexible shape."""

    max_ocpus: int
    max_memory: int
    memory_per_ocpu: int
    max_gbps: int
    gbps_per_ocpu: int = 1
    max_vnics: int = 24
    max_memory_per_ocpu: int = 64
    burstable: bool = False


@dataclass(frozen=True)
class Shape:
    """One shape; a flexible one shows the figures of one OCPU."""

    name: str
    processor: str
    ocpus: float
    memory: float
    gbps: float
    vnics: int = 2
    architecture: str = X86
    flexible: Flexible | None = None
    billing: str = "PAID"
    quota: str = ""

    @property
    def bare_metal(self) -> bool:
        """True for a whole machine."""
        return self.name.startswith("BM.")


@dataclass(frozen=True)
class Config:
    """What an instance of a shape really has."""

    ocpus: float
    memory: float
    gbps: float
    vnics: int
    baseline: str | None = None


def _flex(name: str, processor: str, quota: str, ranges: Flexible, architecture: str = X86, **more: Any) -> Shape:
    memory, gbps = ranges.memory_per_ocpu, ranges.gbps_per_ocpu
    return Shape(name, processor, 1.0, memory, gbps, 2, architecture, ranges, quota=quota, **more)


_TABLE = (
    _flex("VM.Standard.E5.Flex", AMD_GENOA, "standard-e5-core-count", Flexible(94, 1049, 12, 40)),
    _flex("VM.Standard.E4.Flex", AMD_MILAN, "standard-e4-core-count", Flexible(114, 1760, 16, 40, burstable=True)),
    _flex("VM.Standard.E3.Flex", AMD_ROME, "standard-e3-core-ad-count", Flexible(114, 1760, 16, 40, burstable=True)),
    _flex("VM.Standard3.Flex", INTEL_ICE_LAKE, "standard3-core-count", Flexible(56, 896, 16, 32, burstable=True)),
    _flex(
        "VM.Optimized3.Flex",
        INTEL_ICE_LAKE_FAST,
        "optimized3-core-count",
        Flexible(18, 256, 14, 40, gbps_per_ocpu=4, burstable=True),
    ),
    _flex(
        "VM.Standard.A1.Flex",
        AMPERE_ALTRA,
        "standard-a1-core-count",
        Flexible(80, 512, 6, 40),
        ARM,
        billing="LIMITED_FREE",
    ),
    Shape("VM.Standard2.1", INTEL_SKYLAKE, 1, 15, 1, quota="standard2-core-count"),
    Shape("VM.Standard2.2", INTEL_SKYLAKE, 2, 30, 2, quota="standard2-core-count"),
    Shape("VM.Standard2.4", INTEL_SKYLAKE, 4, 60, 4.1, 4, quota="standard2-core-count"),
    Shape("VM.Standard.E2.1", AMD_NAPLES, 1, 8, 0.7, quota="standard-e2-core-count"),
    Shape("VM.Standard.E2.2", AMD_NAPLES, 2, 16, 1.4, quota="standard-e2-core-count"),
    Shape(
        "VM.Standard.E2.1.Micro",
        AMD_NAPLES,
        1,
        1,
        0.48,
        1,
        billing="ALWAYS_FREE",
        quota="standard-e2-micro-core-count",
    ),
    Shape("BM.Standard.E4.128", AMD_MILAN, 128, 2048, 100, 256, quota="standard-e4-core-count"),
)
SHAPES: Mapping[str, Shape] = {shape.name: shape for shape in _TABLE}
"""The shapes of every availability domain, newest first."""


def find_shape(name: str) -> Shape:
    """The shape of a name.

    Raises:
        ServiceError: 400 if there is none.
    """
    if name not in SHAPES:
        raise invalid_parameter(f"Shape {name} is not valid. There are {', '.join(SHAPES)}")
    return SHAPES[name]


def configure(shape: Shape, wanted: Mapping[str, Any] | None) -> Config:
    """What an instance gets by `shapeConfig`.

    Args:
        shape: the instance's.
        wanted: `ocpus` or `vcpus`, `memoryInGBs`, `baselineOcpuUtilization`; None if the call says nothing.

    Raises:
        ServiceError: 400 for what the shape has not; a flexible one must be told its OCPUs.
    """
    ranges = shape.flexible
    if ranges is None:
        if wanted:
            raise invalid_parameter(f"shapeConfig is for flexible shapes; {shape.name} is none")
        return Config(shape.ocpus, shape.memory, shape.gbps, shape.vnics)
    ocpus = _ocpus(shape, ranges, wanted or {})
    return Config(
        ocpus=ocpus,
        memory=_memory(shape, ranges, ocpus, (wanted or {}).get("memoryInGBs")),
        gbps=round(float(min(ranges.max_gbps, ranges.gbps_per_ocpu * ocpus)), GBPS_FIGURES),
        vnics=max(2, min(ranges.max_vnics, int(ocpus))),
        baseline=_baseline(ranges, wanted or {}),
    )


def seeded_config(name: str) -> Config | None:
    """What a seeded instance has, for which nobody gave a `shapeConfig`: the smallest; None for an unknown shape."""
    shape = SHAPES.get(name)
    return None if shape is None else configure(shape, {"ocpus": 1} if shape.flexible else None)


def _number(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise invalid_parameter(f"shapeConfig.{name} must be a number")
    return float(value)


def _ocpus(shape: Shape, ranges: Flexible, wanted: Mapping[str, Any]) -> float:
    ocpus, vcpus = wanted.get("ocpus"), wanted.get("vcpus")
    if ocpus is None and vcpus is None:
        raise missing_parameter("shapeConfig.ocpus")
    if ocpus is not None:
        found = _number("ocpus", ocpus)
    else:
        found = _number("vcpus", vcpus) / THREADS_PER_OCPU[shape.architecture]
    if not 1 <= found <= ranges.max_ocpus or found != int(found):
        raise invalid_parameter(f"shapeConfig.ocpus must be a whole number from 1 to {ranges.max_ocpus}")
    return found


def _memory(shape: Shape, ranges: Flexible, ocpus: float, wanted: Any) -> float:
    least, most = ocpus, min(ranges.max_memory, ocpus * ranges.max_memory_per_ocpu)
    if wanted is None:
        return float(min(most, ocpus * ranges.memory_per_ocpu))
    found = _number("memoryInGBs", wanted)
    if not least <= found <= most:
        raise invalid_parameter(
            f"shapeConfig.memoryInGBs must be from {least:g} to {most:g} for {ocpus:g} OCPUs of {shape.name}"
        )
    return found


def _baseline(ranges: Flexible, wanted: Mapping[str, Any]) -> str | None:
    value = wanted.get("baselineOcpuUtilization")
    if value is not None and value not in (BASELINES if ranges.burstable else BASELINES[-1:]):
        raise invalid_parameter("shapeConfig.baselineOcpuUtilization is not one of this shape's")
    return value


def shape_json(shape: Shape) -> dict[str, Any]:
    """The SDK's model Shape."""
    ranges = shape.flexible
    options: dict[str, Any] = {}
    if ranges is not None:
        options = {
            "ocpuOptions": {"min": 1.0, "max": float(ranges.max_ocpus), "maxPerNumaNode": float(ranges.max_ocpus)},
            "memoryOptions": {
                "minInGBs": 1.0,
                "maxInGBs": float(ranges.max_memory),
                "defaultPerOcpuInGBs": float(ranges.memory_per_ocpu),
                "minPerOcpuInGBs": 1.0,
                "maxPerOcpuInGBs": float(ranges.max_memory_per_ocpu),
                "maxPerNumaNodeInGBs": float(ranges.max_memory),
            },
            "networkingBandwidthOptions": {
                "minInGbps": float(ranges.gbps_per_ocpu),
                "maxInGbps": float(ranges.max_gbps),
                "defaultPerOcpuInGbps": float(ranges.gbps_per_ocpu),
            },
            "maxVnicAttachmentOptions": {"min": 2, "max": float(ranges.max_vnics), "defaultPerOcpu": 1.0},
        }
    burstable = ranges is not None and ranges.burstable
    return {
        "baselineOcpuUtilizations": list(BASELINES) if burstable else None,
        "billingType": shape.billing,
        "gpus": 0,
        "isBilledForStoppedInstance": False,
        "isFlexible": ranges is not None,
        "isLiveMigrationSupported": not shape.bare_metal,
        "isSubcore": burstable,
        "localDisks": 0,
        "maxVnicAttachments": shape.vnics,
        "memoryInGBs": float(shape.memory),
        "networkPorts": 1,
        "networkingBandwidthInGbps": float(shape.gbps),
        "ocpus": float(shape.ocpus),
        "processorDescription": shape.processor,
        "quotaNames": [shape.quota],
        "rdmaBandwidthInGbps": 0,
        "rdmaPorts": 0,
        "resizeCompatibleShapes": [other.name for other in _TABLE if _resizable(shape, other)],
        "shape": shape.name,
        **options,
    }


def _resizable(old: Shape, new: Shape) -> bool:
    """True if an instance can change from one shape to the other: same processor family, and no bare metal."""
    return old.architecture == new.architecture and not old.bare_metal and not new.bare_metal


def may_resize(old_name: str, new: Shape) -> bool:
    """True if an instance of the shape `old_name`, known here or not, can change to another."""
    old = SHAPES.get(old_name)
    return old is None or _resizable(old, new)


def config_json(name: str, config: Config | None) -> dict[str, Any] | None:
    """The SDK's model InstanceShapeConfig."""
    if config is None:
        return None
    shape = SHAPES[name]
    return {
        "baselineOcpuUtilization": config.baseline,
        "gpus": 0,
        "localDisks": 0,
        "maxVnicAttachments": config.vnics,
        "memoryInGBs": config.memory,
        "networkingBandwidthInGbps": config.gbps,
        "ocpus": config.ocpus,
        "processorDescription": shape.processor,
        "vcpus": int(config.ocpus * THREADS_PER_OCPU[shape.architecture]),
    }
