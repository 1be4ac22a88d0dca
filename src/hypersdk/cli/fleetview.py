"""A fleet as it runs, for people and for programs: a live table, plain lines, or JSON lines."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hypersdk import events
from hypersdk.cli.fleetboard import Board, Row, outcome_line, state_of
from hypersdk.cli.output import Output, printable
from hypersdk.cli.progress import LINE_EVERY
from hypersdk.fleet.crew import Watch
from hypersdk.fleet.nouns import Outcome
from hypersdk.fleet.queue import Turn
from hypersdk.model import format_size

REFRESH = 4
"""Pictures of the table per second."""

BAR = 10
"""Cells of an export's bar."""

NAME = 24
"""Columns of an instance's name; longer ones are cut."""

NARROW = 80
"""A terminal that is not asked, or says nothing, has so many columns."""


class FleetWatch:
    """Tells several watchers, and lets them look at the time.

    Args:
        board: follows the fleet.
        told: further ones, each told everything.
        looked: called whenever the crew looks around, several times a second.
    """

    def __init__(self, board: Board, told: tuple[Watch, ...], looked: tuple[Callable[[], None], ...] = ()) -> None:
        self._all: tuple[Watch, ...] = (board, *told)
        self._looked = looked

    def begins(self, turn: Turn, /) -> events.Reporter:
        """An export begins."""
        return events.several(*(each.begins(turn) for each in self._all))

    def ends(self, outcome: Outcome, /) -> None:
        """An item has its outcome."""
        for each in self._all:
            each.ends(outcome)

    def waits(self, waiting: int, reason: str | None, /) -> None:
        """So many wait for their turn."""
        for each in self._all:
            each.waits(waiting, reason)
        for look in self._looked:
            look()


class Notes:
    """Lines for people: a fleet's beginnings and ends, and what a person must see of each export.

    Args:
        board: follows the fleet.
        write: takes a line.
        begins: whether beginnings are told, too; the live table shows them anyway.
        called: takes each call to the cloud and its seconds.
    """

    def __init__(
        self, board: Board, write: Callable[[str], None], called: Callable[[str, float], None], *, begins: bool
    ) -> None:
        self._board = board
        self._write = write
        self._called = called
        self._begins = begins
        self._why: str | None = None
        self._asked: str | None = None

    def begins(self, turn: Turn, /) -> events.Reporter:
        """An export begins."""
        if self._begins:
            self._write(printable(f"[{turn.number}/{self._board.total}] {turn.name}: begins, run {turn.run_id}"))

        def report(event: events.Event, /) -> None:
            if isinstance(event, events.Note):
                for line in event.text.splitlines():
                    self._write(printable(f"{turn.name}: {line}"))
            elif isinstance(event, events.Waiting) and event.kind == events.LOGIN and event.reason:
                if event.reason != self._asked:  # one login is enough for all, and told once
                    self._asked = event.reason
                    self._write(printable(f"waiting: {event.reason}"))
            elif isinstance(event, events.Stalled):
                self._write(printable(f"{turn.name}: {event.text}"))
            elif isinstance(event, events.Called):
                self._called(printable(f"{turn.name}: {event.what}"), event.seconds)

        return report

    def ends(self, outcome: Outcome, /) -> None:
        """An item has its outcome."""
        self._write(printable(outcome_line(outcome, self._board.total)))

    def waits(self, waiting: int, reason: str | None, /) -> None:
        """Told when nothing runs: a window that is closed is what a person must know."""
        idle = reason if waiting and not self._board.rows() else None
        if self._begins and idle not in {None, self._why}:
            self._write(printable(f"{waiting} waiting: {idle}"))
        self._why = idle or self._why


class Summaries:
    """A line about all of it every 30 seconds.

    Args:
        board: follows the fleet.
        write: takes a line.
    """

    def __init__(self, board: Board, write: Callable[[str], None]) -> None:
        self._board = board
        self._write = write
        self._last = board.clock()

    def __call__(self) -> None:
        """Look at the time."""
        self._board.measure()
        if self._board.clock() - self._last < LINE_EVERY:
            return
        self._last = self._board.clock()
        reasons = self._board.reasons()
        self._write(printable("; ".join([self._board.line(), *(f"waiting: {reason}" for reason in reasons)])))


@contextmanager
def shown(board: Board, out: Output, *, terminal: bool, told: tuple[Watch, ...] = ()) -> Iterator[FleetWatch]:
    """Show a fleet on stderr while it runs.

    Args:
        board: follows it.
        out: where notes go; a quiet output shows nothing.
        terminal: whether stderr can show a table that moves.
        told: further watchers, such as one that writes JSON lines.
    """
    if out.quiet:
        yield FleetWatch(board, told, (board.measure,))
    elif terminal:
        with _live(board) as write:
            notes = Notes(board, write, out.called, begins=False)
            yield FleetWatch(board, (notes, *told), (board.measure,))
    else:
        notes = Notes(board, out.note, out.called, begins=True)
        yield FleetWatch(board, (notes, *told), (Summaries(board, out.note),))


@contextmanager
def _live(board: Board) -> Iterator[Callable[[str], None]]:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    # Rich honours NO_COLOR and a dumb TERM by itself.
    console = Console(stderr=True)

    def picture() -> Text:
        return Text("\n".join(table(board, console.width or NARROW, console.height)), no_wrap=True, overflow="crop")

    def write(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    with Live(console=console, get_renderable=picture, refresh_per_second=REFRESH, transient=True):
        yield write


def table(board: Board, width: int, height: int) -> list[str]:
    """The picture of a fleet: a row for each export that runs, and below them all of it. Pure but for the clock.

    Args:
        board: what is known.
        width: columns of the terminal.
        height: its lines; rows that do not fit are counted.
    """
    rows = board.rows()
    room = max(1, height - 3)
    shown_rows = rows if len(rows) <= room else rows[: room - 1]
    regions = len({row.turn.region for row in rows}) > 1
    names = min(NAME, max((len(printable(row.turn.name)) for row in shown_rows), default=0))
    lines = [_row(board, row, width, names, regions=regions) for row in shown_rows]
    if len(shown_rows) < len(rows):
        lines.append(f"... and {len(rows) - len(shown_rows)} more")
    return [*lines, *_wrapped(printable(board.line()), width)]


def _row(board: Board, row: Row, width: int, names: int, *, regions: bool) -> str:
    share = row.facts.percent / 100
    filled = int(BAR * share)
    bar = "\u2501" * filled + "\u2500" * (BAR - filled)
    rate = board.rate_of(row)
    moving = row.facts.unit == "bytes" and row.facts.done is not None and row.facts.waiting is None
    state = state_of(row) + (f", {format_size(rate)}/s" if moving and rate is not None else "")
    cells = [_cut(row.turn.name, names).ljust(names)]
    if regions:
        cells.append(_cut(row.turn.region, 14).ljust(14))
    cells += [_cut(row.facts.step or "begins", 13).ljust(13), f"{bar} {row.facts.percent:3.0f} %", printable(state)]
    return _cut("  ".join(cells), width)


def _cut(text: str, width: int) -> str:
    text = printable(text)
    return text if len(text) <= width else text[: max(0, width - 1)] + "\u2026"


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(20, width), break_on_hyphens=False) or [""]
