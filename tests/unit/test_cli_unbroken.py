"""A standard error whose reader went away ends nothing."""

import os

import pytest

from hypersdk.cli.unbroken import Unbroken


def test_it_passes_on_what_is_written(capfd: pytest.CaptureFixture[str]) -> None:
    """As long as somebody reads, it is the stream itself, with all that it can."""
    with os.fdopen(os.dup(2), "w") as stream:
        error = Unbroken(stream)
        assert error.write("said\n") == 5
        error.flush()
        assert error.fileno() == stream.fileno()
        assert error.encoding == stream.encoding
    assert capfd.readouterr().err == "said\n"


def test_nobody_reads_any_more() -> None:
    """A pipe without a reader: this line and all later ones go nowhere; nothing is raised, at its closing either."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as stream:
        error = Unbroken(stream)
        for _ in range(3):
            assert error.write("a line\n") == 7
            error.flush()
