"""What the outcomes of a copy come to: the exit code is a function of them alone (design section 3)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk import errors
from hypersdk.cli.outcomes import counts, exit_code, row, summary
from hypersdk.model import Checksum, ObjectInfo, ObjectRef
from hypersdk.transfer.copies.items import Item, Outcome, done, ended_by, skipped

ITEM = Item(ObjectInfo(ObjectRef("oci", "ns", "b", "x"), 10), ObjectRef("file", "", "/d", "x"))
DONE = done(ITEM, ObjectInfo(ITEM.target, 10), (Checksum("crc32c", "00000001"),), 10)
SKIPPED = skipped(ITEM, "the same size and md5", ObjectInfo(ITEM.target, 10))
EXISTS = ended_by(ITEM, errors.DestinationExists("taken", hint="use --overwrite"))
ABSENT = ended_by(ITEM, errors.NotFoundError("gone"))
BAD = ended_by(ITEM, errors.VerificationError("other bytes"))
DENIED = ended_by(ITEM, errors.PermissionDenied("no"))
PASSING = ended_by(ITEM, errors.ServiceError("later"), 4)
STOPPED = ended_by(ITEM, errors.Interrupted("interrupted"))
ALL = (DONE, SKIPPED, EXISTS, ABSENT, BAD, DENIED, PASSING, STOPPED)


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ((), 5),
        ((DONE,), 0),
        ((SKIPPED,), 0),
        ((DONE, SKIPPED), 0),
        ((EXISTS,), 6),
        ((ABSENT,), 5),
        ((BAD,), 7),
        ((DENIED,), 4),
        ((PASSING,), 8),
        ((DONE, EXISTS), 3),
        ((SKIPPED, BAD), 3),
        ((EXISTS, EXISTS), 6),
        ((PASSING, PASSING), 8),
        ((EXISTS, BAD), 1),
        ((DONE, BAD, STOPPED), 130),
        ((STOPPED,), 130),
    ],
)
def test_exit_codes(outcomes: tuple[Outcome, ...], code: int) -> None:
    """C080: of one item its own, of several 3 unless all are well, or none is and for one reason."""
    assert exit_code(outcomes) == code


def test_an_empty_selection_may_be_fine() -> None:
    """5, unless it was said that nothing is fine; that says nothing of failures."""
    assert exit_code((), allow_empty=True) == 0
    assert exit_code((BAD,), allow_empty=True) == 7


@given(st.lists(st.sampled_from(ALL), max_size=8), st.integers())
def test_the_order_of_outcomes_is_no_matter(outcomes: list[Outcome], seed: int) -> None:
    """The same outcomes in any order: the same code, and 0 exactly if every item is well."""
    shuffled = list(outcomes)
    random.Random(seed).shuffle(shuffled)
    assert exit_code(outcomes) == exit_code(shuffled)
    assert (exit_code(outcomes) == 0) == (bool(outcomes) and all(each in (DONE, SKIPPED) for each in outcomes))


def test_rows_say_all_that_is_known() -> None:
    """What failed with its code and hint; what is done with its checksums; what is only foreseen as planned."""
    failed = row(ITEM, EXISTS)
    assert (failed["outcome"], failed["code"], failed["because"]) == (
        "refused",
        "destination-exists",
        "taken - use --overwrite",
    )
    assert row(ITEM, DONE)["checksums"] == {"crc32c": "00000001"}
    assert row(ITEM, SKIPPED)["because"] == "the same size and md5"
    assert row(ITEM, None) | {"outcome": "planned", "moved": 0, "because": None, "code": None} == row(ITEM, None)
    rows = [row(ITEM, each) for each in ALL]
    assert counts(rows) == {"done": 1, "skipped": 1, "refused": 1, "failed": 4, "interrupted": 1, "planned": 0}
    assert sum(counts(rows).values()) == len(ALL)


def test_the_summary_is_one_line() -> None:
    """Every kind that occurred, what moved and how fast; no speed of nothing."""
    rows = [row(ITEM, DONE), row(ITEM, DONE), row(ITEM, SKIPPED)]
    assert summary(rows, 2.0) == "2 done, 1 skipped; 20 B in 2.0 s, 10 B/s"
    assert summary([row(ITEM, SKIPPED)], 2.0) == "1 skipped"
    assert summary([], 0.0) == "nothing was selected"
