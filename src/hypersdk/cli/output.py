"""What goes to stdout (the result, nothing else) and to stderr (all the rest)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

JSON_VERSION = 1
"""Version of our JSON results; raised when a key changes its meaning or goes away."""


def printable(text: str) -> str:
    """A text that cannot move the terminal's cursor or break a line: control characters are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def moment(when: datetime | str | None) -> str | None:
    """A time in a result: UTC, ISO 8601, whole seconds."""
    if isinstance(when, str):
        when = datetime.fromisoformat(when)
    return None if when is None else when.astimezone(UTC).isoformat(timespec="seconds")


def _lines(value: object) -> Sequence[str]:
    """A fact for people: nothing for None and for what is empty, one line for each item of a list."""
    if value is None:
        return ()
    if isinstance(value, bool):
        return ("yes" if value else "no",)
    if isinstance(value, Mapping):
        return (", ".join(f"{key}={one}" for key, one in sorted(value.items())),) if value else ()
    if isinstance(value, list | tuple):
        return tuple(map(str, value))
    return (str(value),)


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
            label = f"{name.replace('_', ' ')}:"
            for line in _lines(value):
                click.echo(f"{label.ljust(width + 1)} {printable(line)}")
                label = ""

    def called(self, what: str, seconds: float) -> None:
        """Tell of a call to the cloud, to those who asked for more."""
        self.detail(f"{what}: {1000 * seconds:.0f} ms")

    def json(self, payload: Mapping[str, Any]) -> None:
        """Print one JSON document with a version."""
        # In one piece: a document that cannot be made is not begun.
        click.echo(json.dumps({"version": JSON_VERSION, **payload}, indent=2))

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
