"""What a copy tells: events for programs, the bar for people, a table or one JSON document at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

from hypersdk import errors, events
from hypersdk.cli.context import CliContext
from hypersdk.cli.copying import CopyProgress, shown
from hypersdk.cli.jsonl import error_facts
from hypersdk.cli.metrics import serving, watched
from hypersdk.cli.outcomes import counts, exit_code, row, summary
from hypersdk.cli.output import printable
from hypersdk.model import ObjectRef
from hypersdk.transfer.copies.copyplan import left_behind
from hypersdk.transfer.copies.items import Item, Outcome

STREAM = ObjectRef("file", "", "", "-")
"""Standard input and output, where an address is needed."""

COLUMNS = ("outcome", "size", "source", "target", "because")


class CopyReport:
    """Collects how items ended, and prints it.

    Args:
        context: output and rooms.
        progress: follows the copy.
        source: where from, for people.
        target: where to, for people.
        given: the command's options: dry_run, allow_empty, metrics (an address, or None), lines (takes events for
            programs, or None).
        to_stdout: standard output carries the result; False = it carries the object itself.
    """

    def __init__(
        self,
        context: CliContext,
        progress: CopyProgress,
        source: str,
        target: str,
        given: Mapping[str, Any],
        *,
        to_stdout: bool = True,
    ) -> None:
        self._out = context.out
        self._wiring = context.wiring
        self._progress = progress
        self._dry_run = given["dry_run"]
        self._allow_empty = given["allow_empty"]
        self._addresses = {"source": source, "target": target, "dry_run": self._dry_run}
        self._emit = given["lines"]
        self._metrics = given["metrics"]
        self._to_stdout = to_stdout
        self._began = time.monotonic()
        self._rows: list[dict[str, Any]] = []
        self._outcomes: list[Outcome] = []

    @contextmanager
    def watched(self, take: Callable[[events.Event], None]) -> Iterator[None]:
        """Show progress while the copy runs; `take` gets every event."""
        waiter = self._wiring.waiter
        with (
            serving(self._metrics, self._out.note) as counted,
            shown(self._progress, self._out, terminal=sys.stderr.isatty(), emit=self._emit),
        ):
            waiter.report = watched(take, counted)
            waiter.hooks.append(self._progress.tick)
            try:
                yield
            except errors.HypersdkError as error:
                if self._emit:
                    self._emit("ended", {**self._end(error.exit_code), "error": error_facts(error)})
                raise
            finally:
                waiter.hooks.remove(self._progress.tick)

    def started(self, items: int, size: int | None) -> None:
        """It is known what is to be copied."""
        self._began = time.monotonic()
        self._progress.planned(items, size)
        if self._emit:
            self._emit("started", {**self._addresses, "items": items, "bytes": size})

    def note(self, item: Item, outcome: Outcome | None) -> None:
        """How an item ended; None = it would be copied."""
        if outcome is not None:
            self._wiring.advise(outcome.error)
            self._outcomes.append(outcome)
        self._rows.append(row(item, outcome))
        self._progress.ended()
        if self._emit:
            self._emit("outcome", self._rows[-1])

    def end(self) -> int:
        """Print the result.

        Returns:
            The exit code.
        """
        # They ended in an order of their own; people and programs look for names.
        rows = sorted(self._rows, key=lambda row: row["source"].encode(errors="backslashreplace"))
        seconds = time.monotonic() - self._began
        allow_empty = self._allow_empty or len(rows) > len(self._outcomes)
        code = exit_code(self._outcomes, allow_empty=allow_empty)
        if self._emit:
            bad = [each.error for each in self._outcomes if each.error is not None]
            alone = error_facts(bad[0]) if bad and len(rows) == 1 else None
            self._emit("ended", {**self._end(code), "error": alone})
        elif self._out.as_json:
            self._out.json({"copy": {**self._addresses, "items": rows, **self._end(code)}})
        elif self._to_stdout:
            self._out.table("items", rows, COLUMNS)
        self._tell_people(summary(rows, seconds), left_behind(self._outcomes))
        return code

    def _end(self, code: int) -> dict[str, Any]:
        """What all of it came to."""
        return {
            "counts": counts(self._rows),
            "moved": sum(each["moved"] for each in self._rows),
            "seconds": round(time.monotonic() - self._began, 3),
            "stays": left_behind(self._outcomes),
            "exit_code": code,
        }

    def _tell_people(self, said: str, left: Sequence[str]) -> None:
        bad = [each.error for each in self._outcomes if each.error is not None]
        if len(self._rows) == 1 and bad:
            click.echo(printable(f"hyperexport: {bad[0]}"), err=True)
        elif bad or not self._rows:
            click.echo(f"hyperexport: {said}", err=True)
        else:
            self._out.note(f"{said}; dry run: nothing was copied" if self._dry_run else said)
        for line in left:
            self._out.note(printable(f"stays: {line}"))
        interrupted = [each.item.source.ref for each in self._outcomes if each.kind == "interrupted"]
        if any(source != STREAM for source in interrupted) and self._to_stdout:
            self._out.note("the same command goes on with it")
