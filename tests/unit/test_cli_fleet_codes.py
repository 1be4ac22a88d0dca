"""C080: what many outcomes come to for the shell; one function for copies and fleets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk import errors
from hypersdk.cli.outcomes import code_of
from hypersdk.fleet.nouns import OUTCOMES
from hypersdk.fleet.work import outcome_of, recorded
from hypersdk.runs.records import FleetItem

OK, SKIPPED, REFUSED, VERIFY = ("done", 0), ("skipped", 0), ("refused", 6), ("failed", 7)
FAILED, PASSING, CANCELLED, STOPPED = ("failed", 1), ("failed", 8), ("cancelled", 1), ("interrupted", 130)


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ([OK, OK, OK, REFUSED, VERIFY], 3),
        ([FAILED, FAILED], 1),
        ([FAILED, VERIFY], 1),
        ([VERIFY, VERIFY], 7),
        ([PASSING, PASSING], 8),
        ([REFUSED, REFUSED], 6),
        ([REFUSED, FAILED], 1),
        ([], 5),
        ([OK, CANCELLED], 3),
        ([CANCELLED], 1),
        ([CANCELLED, CANCELLED], 1),
        ([OK, SKIPPED], 0),
        ([SKIPPED, FAILED], 3),
        ([OK, FAILED, STOPPED], 130),
        ([STOPPED], 130),
        ([REFUSED], 6),
    ],
)
def test_the_exit_code_of_many(ends: list[tuple[str, int]], code: int) -> None:
    """C080: nothing done is never a success, something done is never only a failure."""
    assert code_of(ends) == code


def test_an_empty_selection_may_be_fine() -> None:
    """Nothing selected is 5, unless that was said to be fine."""
    assert code_of([], allow_empty=True) == 0


@given(st.lists(st.sampled_from([OK, SKIPPED, REFUSED, VERIFY, FAILED, PASSING, CANCELLED, STOPPED])), st.randoms())
def test_the_order_does_not_matter(ends: list[tuple[str, int]], random: object) -> None:
    """However items are ordered the code is the same, and 0 only if all went well."""
    shuffled = list(ends)
    random.shuffle(shuffled)  # type: ignore[attr-defined] - hypothesis' own Random
    assert code_of(ends) == code_of(shuffled)
    assert (code_of(ends) == 0) == (bool(ends) and all(kind in {"done", "skipped"} for kind, _ in ends))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.PreflightRefused("no"), "refused"),
        (errors.DestinationExists("there"), "refused"),
        (errors.ToolMissing("qemu-img"), "refused"),
        (errors.VerificationError("zeros"), "failed"),
        (errors.ThrottledError("later"), "failed"),
        (errors.NotFoundError("gone"), "failed"),
        (errors.PermissionDenied("not you"), "failed"),
        (errors.DiskFull("full"), "failed"),
        (errors.Interrupted("stop"), "interrupted"),
        (errors.Cancelled("cancelled"), "cancelled"),
    ],
)
def test_each_error_is_one_outcome(error: errors.HypersdkError, kind: str) -> None:
    """An error ends its item as exactly one kind, with its own code and exit code, also after it was written down."""
    outcome = outcome_of(3, "vm", "run", error)
    assert (outcome.kind, outcome.code, outcome.exit_code) == (kind, error.code, error.exit_code)
    assert outcome.kind in OUTCOMES
    item = FleetItem(3, "ocid", "vm", "run", 0, outcome.kind, outcome.code, outcome.detail)
    assert recorded(item) == outcome
