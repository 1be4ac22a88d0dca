"""What every command that talks to a cloud starts with: configuration, rooms joined by wiring, output, signals."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

import click

from hypersdk import events
from hypersdk.cli.options import arguments_of, flags_of
from hypersdk.cli.output import Output
from hypersdk.cli.pasting import shown_command
from hypersdk.config import Config, load_config
from hypersdk.waiting import StopFlag, Waiter
from hypersdk.wiring import Wiring

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class CliContext:
    """What a command works with."""

    config: Config
    wiring: Wiring
    out: Output

    @property
    def interactive(self) -> bool:
        """Whether somebody can answer a question."""
        return sys.stdin.isatty() and sys.stderr.isatty()


@contextmanager
def open_context(ctx: click.Context, reporter: events.Reporter | None = None) -> Iterator[CliContext]:
    """Load the configuration and join the rooms for one command; closes connections afterwards.

    Args:
        ctx: click's context, which holds the shared options.
        reporter: who watches; None = waits are told as notes.

    Raises:
        ConfigError: the configuration is unusable.
    """
    flags = dict(flags_of(ctx))
    debug = flags.pop("debug", False)
    if debug:
        os.environ["HYPEREXPORT_DEBUG"] = "1"
    out = Output(
        as_json=flags.pop("json", False),
        quiet=flags.pop("quiet", False),
        verbose=flags.pop("verbose", False) or debug,
    )
    config = load_config(flags)
    for warning in config.warnings:
        out.note(f"hyperexport: {warning}")
    for line in config.shown if out.verbose else ():
        if line.value is not None and line.source != "default":
            out.detail(f"{line.key}: {line.value} ({line.source})")
    stop = StopFlag()
    _stop_on_signals(stop, out)
    waiter = Waiter(stop=stop, report=reporter or _WaitingNotes(out))
    with Wiring(config, waiter) as wiring:
        wiring.command = shown_command(arguments_of(ctx))
        yield CliContext(config, wiring, out)


class _WaitingNotes:
    """Tells each new reason to wait once, for commands that show no progress."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._last: str | None = None

    def __call__(self, event: events.Event, /) -> None:
        if isinstance(event, events.Waiting) and event.reason not in (None, self._last):
            self._last = event.reason
            self._out.note(f"waiting: {event.reason}")
        elif isinstance(event, events.Note | events.Stalled):
            self._out.note(event.text)
        elif isinstance(event, events.Retried):
            self._out.detail(f"{event.what}: {event.code}: tried again")
        elif isinstance(event, events.Called):
            self._out.called(event.what, event.seconds)


def _stop_on_signals(stop: StopFlag, out: Output) -> None:
    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(130)  # the second time: at once, as design section 3 says
        stop.set()
        if not out.quiet:
            # Past Python's buffers: a handler that interrupts a write to stderr must not write there through them.
            text = f"hyperexport: {signal.Signals(number).name}: stopping; once more to stop at once\n"
            with suppress(OSError):
                os.write(2, text.encode())

    for number in STOP_SIGNALS:
        # `nohup` asks that the end of the terminal be nothing to us.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, on_signal)
