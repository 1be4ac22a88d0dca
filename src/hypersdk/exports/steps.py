"""The steps of an export: for each kind what it says, what it does, and how its result reads.

Rules of this file: one effect each; a step runs at least once, so each is safe to run twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hypersdk.exports import cleanup, imaging, landing, manifests
from hypersdk.exports.context import Context
from hypersdk.exports.plan import Step
from hypersdk.model import format_size

Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of step says and does.

    Attributes:
        title: one line for people; may hold {instance}, {format}, {final}, {staging}.
        run: does it.
        detail: its result in one line.
    """

    title: str
    run: Callable[[Context, Step], Result]
    detail: Callable[[Result], str]


def _size(result: Result) -> str:
    return format_size(result["size"])


def _proof(result: Result) -> str:
    return f"good: {len(result['proof'])} checks passed"


KINDS: Mapping[str, Kind] = {
    "preflight": Kind(
        "check that {instance} can be exported", imaging.run_preflight, lambda result: f"{result['former_state']}, fine"
    ),
    "create-image": Kind(
        "make a custom image of {instance}", imaging.run_create_image, lambda result: result["image_id"]
    ),
    "await-image": Kind(
        "wait for the image",
        imaging.run_await_image,
        lambda result: (
            "it is there" if result["instance_back"] else "it is there, but {instance} is not back as it was"
        ),
    ),
    "export-image": Kind("export the image as {format} to {staging}", imaging.run_export_image, lambda _: "begun"),
    "await-object": Kind("wait for the exported object", imaging.run_await_object, _size),
    "download": Kind("fetch the disk", landing.run_download, _size),
    "verify": Kind("verify the disk", landing.run_verify, _proof),
    "verify-object": Kind("verify the object", landing.run_verify_object, _proof),
    "publish": Kind("name the disk", landing.run_publish, lambda result: result["path"]),
    "rename": Kind("name the object {final}", landing.run_rename, lambda _: "done"),
    "write-manifest": Kind(
        "write down what was done", manifests.run_write_manifest, lambda result: ", ".join(result["manifests"])
    ),
    "clean-up": Kind(
        "clean up",
        cleanup.run_clean_up,
        lambda result: "; ".join((*result["kept"], *result["failed"])) or "nothing is left in the tenancy",
    ),
}


def title(ctx: Context, step: Step) -> str:
    """What a step does, in one line."""
    return KINDS[step.kind].title.format_map(_words(ctx, step))


def detail(ctx: Context, step: Step, result: Result) -> str:
    """What came out of a step, in one line."""
    return KINDS[step.kind].detail(result).replace("{instance}", ctx.plan.instance_name)


def _words(ctx: Context, step: Step) -> Mapping[str, str]:
    words = {"instance": ctx.plan.instance_name}
    if step.format is not None:
        target = ctx.plan.target(step)
        words |= {
            "format": target.format,
            "staging": str(target.staging),
            "final": str(target.final),
        }
    return words
