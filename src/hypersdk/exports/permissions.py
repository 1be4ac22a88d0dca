"""What a step that waits or moves bytes must be allowed to do: said when it no longer is.

Preflight has proven the permissions of a run, and the steps that create name their own; so a refusal here comes from a
policy that was removed on the way, or from somebody who deleted the thing. The run stays resumable either way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from hypersdk import errors
from hypersdk.exports.context import Context
from hypersdk.exports.plan import Step

IMAGES, OBJECTS = "manage instance-images", ("read buckets", "manage objects")

NEEDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "await-image": ((IMAGES, "use instances"), ()),
    "await-object": ((IMAGES,), OBJECTS),
    "download": ((), OBJECTS),
    "verify-object": ((), OBJECTS),
    "rename": ((), OBJECTS),
    "write-manifest": ((), OBJECTS),
}
"""Kind of step -> verbs and resources in the compartment of the instance, and in that of the bucket (reference:
docs.oracle.com, "Policy Reference"; docs/authentication.md has the sentences)."""


@contextmanager
def still_permitted(ctx: Context, step: Step) -> Iterator[None]:
    """What happens inside has been allowed before: a refusal by the service says which sentences to ask for."""
    try:
        yield
    except (errors.NotFoundError, errors.PermissionDenied) as error:
        if step.kind in NEEDS and error.status is not None:
            instances, bucket = NEEDS[step.kind]
            allow = ctx.rooms.provider.allow
            sentences = [*(allow(what, "C") for what in instances), *(allow(what, "B") for what in bucket)]
            error.hint = (
                f"it answered before: a policy was removed, or it was deleted; ask for: {'; '.join(sentences)}; "
                "the same command resumes"
            )
        raise
