"""What the outcomes of many items come to: an exit code, rows, counts. Pure (design section 3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

from hypersdk import errors
from hypersdk.model import UNKNOWN_SIZE, ObjectInfo, format_size
from hypersdk.transfer.copies.items import Item, Kind, Outcome

SOME_FAILED = 3
FAILED = 1
PLANNED: Literal["planned"] = "planned"
WELL = frozenset({"done", "skipped"})


def exit_code(outcomes: Sequence[Outcome], *, allow_empty: bool = False) -> int:
    """What the shell is told about copies; see `code_of`."""
    ends = [
        (each.kind, 0 if each.kind in WELL else FAILED if each.error is None else each.error.exit_code)
        for each in outcomes
    ]
    return code_of(ends, allow_empty=allow_empty)


def code_of(ends: Sequence[tuple[str, int]], *, allow_empty: bool = False) -> int:
    """What the shell is told about the ends of many items (design section 3).

    Args:
        ends: how each item ended: "done", "skipped", "refused", "failed", "interrupted" or "cancelled"; and the exit
            code that it would have had alone.
        allow_empty: that nothing was selected is fine.

    Returns:
        0 all is well; 5 nothing was selected; 130 interrupted; of a single item its own error's code; of several 3 if
        some are well, else the one that all errors have in common, else 1.
    """
    if not ends:
        return 0 if allow_empty else errors.NotFoundError.exit_code
    if any(kind == "interrupted" for kind, _ in ends):
        return errors.Interrupted.exit_code
    codes = [code for kind, code in ends if kind not in WELL]
    if not codes:
        return 0
    if len(codes) < len(ends):
        return SOME_FAILED
    return codes[0] if len(set(codes)) == 1 else FAILED


def row(item: Item, outcome: Outcome | None) -> dict[str, Any]:
    """One item as a row of a table or of JSON; `outcome` None = it would be copied."""
    target = outcome.target if outcome else None
    checksums = (*(target.checksums if target else ()), *(outcome.checksums if outcome else ()))
    return {
        "outcome": outcome.kind if outcome else PLANNED,
        "source": str(item.source.ref),
        "target": str(item.target),
        "size": _size(item, target),
        "moved": outcome.moved if outcome else 0,
        "because": _because(outcome) if outcome else None,
        "code": outcome.error.code if outcome and outcome.error else None,
        "etag": (target.etag or None) if target else None,
        "checksums": {each.algorithm: each.value for each in checksums},
    }


def _size(item: Item, target: ObjectInfo | None) -> int | None:
    if item.source.size != UNKNOWN_SIZE:
        return item.source.size
    return target.size if target else None


def _because(outcome: Outcome) -> str | None:
    # An error says more than its message: what to do about it, and the id of the request.
    return str(outcome.error) if outcome.error else outcome.because or None


def counts(rows: Iterable[dict[str, Any]]) -> dict[str, int]:
    """How many items ended how; every kind is named."""
    found = dict.fromkeys((*get_args(Kind), PLANNED), 0)
    for each in rows:
        found[each["outcome"]] += 1
    return found


def summary(rows: Sequence[dict[str, Any]], seconds: float) -> str:
    """All of it in one line for people."""
    said = ", ".join(f"{count} {kind}" for kind, count in counts(rows).items() if count)
    moved = sum(each["moved"] for each in rows)
    if not rows:
        return "nothing was selected"
    if not moved or seconds <= 0:
        return said
    return f"{said}; {format_size(moved)} in {seconds:.1f} s, {format_size(moved / seconds)}/s"
