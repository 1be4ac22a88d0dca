"""Streams of the command whose peers sleep: longer than any time-out in the soak test, a moment in the quick one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pytest

from hypersdk_emulator.for_tests import OciEmulator

MIB = 1 << 20
BODY = random.Random(15).randbytes(16 * MIB)
QUICK = {"HYPEREXPORT_NETWORK_READ_TIMEOUT": "1s", "HYPEREXPORT_RETRY_MAX_ATTEMPTS": "1"}


class Command:
    """`hyperexport cp` with pipes on both ends."""

    def __init__(self, emulator: OciEmulator, home: str, *arguments: str, **environ: str) -> None:
        where = ("--config-file", str(emulator.config_file), "--endpoint", emulator.endpoint)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hypersdk.cli", "cp", *arguments, *where],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"HOME": home, "PATH": os.environ["PATH"], **environ},
        )

    @property
    def pipes(self) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
        """Standard input, output and error."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        return self.process.stdin, self.process.stdout, self.process.stderr


@contextmanager
def running(*arguments, **environ) -> Iterator[Command]:
    command = Command(*arguments, **environ)
    try:
        yield command
    finally:
        command.process.kill()
        command.process.wait(30)
        for pipe in command.pipes:
            pipe.close()


SLEEPS = pytest.mark.parametrize(
    ("seconds", "environ"), [(3, QUICK), pytest.param(90, {}, marks=pytest.mark.soak)], ids=["quick", "soak"]
)


@SLEEPS
def test_writer_that_sleeps(oci_emulator, tmp_path, seconds, environ):
    """C020: a pipe whose writer sleeps is uploaded, although every attempt but the first is forbidden."""
    bucket = oci_emulator.bucket()
    address = f"oci://{oci_emulator.namespace}/{bucket}/x"
    with running(oci_emulator, str(tmp_path), "-", address, **environ) as command:
        given, out, said = command.pipes

        def write() -> None:
            given.write(BODY[: 8 * MIB])
            given.flush()
            time.sleep(seconds)
            given.write(BODY[8 * MIB :])
            given.close()

        thread = threading.Thread(target=write)
        thread.start()
        told = said.read().decode()
        thread.join(30)
        assert command.process.wait(30) == 0, told
        assert b"done" in out.read()
    assert "the input gives nothing" in told
    with running(oci_emulator, str(tmp_path), address, "-", **environ) as command:
        assert command.pipes[1].read() == BODY


@SLEEPS
def test_reader_that_sleeps(oci_emulator, tmp_path, seconds, environ):
    """C020: a reader that sleeps gets every byte, although every attempt but the first is forbidden."""
    bucket = oci_emulator.bucket()
    address = f"oci://{oci_emulator.namespace}/{bucket}/x"
    with running(oci_emulator, str(tmp_path), "-", address) as command:
        command.pipes[0].write(BODY)
        command.pipes[0].close()
        assert command.process.wait(30) == 0
    with running(oci_emulator, str(tmp_path), address, "-", **environ) as command:
        _, out, said = command.pipes
        got = out.read(MIB)
        time.sleep(seconds)
        got += out.read()
        told = said.read().decode()
        assert command.process.wait(30) == 0, told
    assert got == BODY
    assert "nobody takes the output" in told


def test_reader_that_leaves_and_ctrl_c(oci_emulator, tmp_path):
    """A reader that goes away is 141 without a word; Ctrl-C into silence is 130 at once, and says what to do."""
    bucket = oci_emulator.bucket()
    address = f"oci://{oci_emulator.namespace}/{bucket}/x"
    with running(oci_emulator, str(tmp_path), "-", address) as command:
        command.pipes[0].write(BODY)
        command.pipes[0].close()
        assert command.process.wait(30) == 0
    with running(oci_emulator, str(tmp_path), address, "-") as command:
        _, out, said = command.pipes
        assert out.read(10) == BODY[:10]
        out.close()
        assert command.process.wait(30) == 141
        assert said.read() == b""
    with running(oci_emulator, str(tmp_path), "-", address, "--overwrite") as command:
        given, _, said = command.pipes
        given.write(BODY[: 9 * MIB])
        given.flush()
        while b"the input gives nothing" not in said.readline():
            assert command.process.poll() is None
        command.process.send_signal(signal.SIGINT)
        assert command.process.wait(30) == 130
        assert b"a stream cannot be resumed" in said.read()
    assert oci_emulator.leftovers()["multipartUploads"] == []
