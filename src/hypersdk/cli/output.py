"""What goes to stdout (the result, nothing else) and to stderr (all the rest)."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

JSON_VERSION = 1
"""Version of our JSON results; raised when a key changes its meaning or goes away."""


def printable(text: str) -> str:
    """A text that cannot move the terminal's cursor or break a line: control characters are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


class Output:
    """Prints results and notes.

    Args:
        as_json: results as one JSON document.
        quiet: no notes.
        verbose: also details.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.verbose = verbose

    def table(self, kind: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """Print many things: a table of `columns`, or JSON `{"version", kind: [rows]}` with every key."""
        if self.as_json:
            self.json({kind: list(rows)})
            return
        cells = [[name.upper().replace("_", " ") for name in columns]]
        cells += [[printable("" if row.get(name) is None else str(row[name])) for name in columns] for row in rows]
        widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
        for line in cells if rows else []:
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())

    def facts(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Print one thing: lines `name: value`, or JSON `{"version", kind: {...}}`."""
        if self.as_json:
            self.json({kind: dict(facts)})
            return
        width = max((len(name) for name in facts), default=0) + 1
        for name, value in facts.items():
            if value is not None:
                click.echo(f"{(name.replace('_', ' ') + ':').ljust(width + 1)} {printable(str(value))}")

    def json(self, payload: Mapping[str, Any]) -> None:
        """Print one JSON document with a version."""
        json.dump({"version": JSON_VERSION, **payload}, sys.stdout, indent=2, default=str)
        sys.stdout.write("\n")

    def line(self, text: str) -> None:
        """Print one line of result."""
        click.echo(text)

    def note(self, text: str) -> None:
        """Tell a person something, on stderr."""
        if not self.quiet:
            click.echo(text, err=True)

    def detail(self, text: str) -> None:
        """Tell a person something who asked for more."""
        if self.verbose:
            click.echo(text, err=True)
