"""How listings of the cloud's resources are printed: with what could not be read (design rule 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypersdk.cli.output import Output
from hypersdk.providers.lookup import Listing


def print_listing(
    out: Output, kind: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], listing: Listing[Any]
) -> None:
    """Print a table, or JSON that says whether it is complete and names what could not be read.

    Args:
        out: where to.
        kind: key of the rows in JSON.
        rows: what was read.
        columns: keys that the table shows.
        listing: where the rows come from.
    """
    if not out.as_json:
        out.table(kind, rows, columns)
        return
    unread = [
        {"compartment": each.compartment.path, "compartment_id": each.compartment.id, "why": each.why.message}
        for each in listing.unread
    ]
    out.json({kind: list(rows), "complete": not unread, "unread": unread})
