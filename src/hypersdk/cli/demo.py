"""`hyperexport demo`: the main job, end to end, on a private cloud on this machine; nothing leaves it."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from hypersdk import errors
from hypersdk.cli.emulator import emulator_command, require_emulator

INSTANCE = "web-01"


@dataclass(frozen=True)
class _Cloud:
    """A running emulator with its key and configuration."""

    folder: pathlib.Path
    endpoint: str
    token: str

    def arguments(self) -> list[str]:
        """Options that point hyperexport at it."""
        return [
            "--config-file", str(self.folder / "config"),
            "--endpoint", self.endpoint,
            "--bucket-name", "exports",
        ]  # fmt: skip

    def leftovers(self) -> dict[str, list[object]]:
        """What the cloud still holds of an export, by kind; empty lists are good news."""
        from hypersdk.model import ConnectionSettings, Secret
        from hypersdk.wire.loop import Wire
        from hypersdk.wire.request import Request

        wire = Wire(ConnectionSettings(), connections=1)
        try:
            url = Secret(f"{self.endpoint}/_emulator/leftovers")
            headers = {"authorization": f"Bearer {self.token}"}
            reply = wire.call(Request("GET", url, "the emulator's leftovers", headers))
        finally:
            wire.close()
        found: dict[str, list[object]] = json.loads(reply.body)
        return found


@click.command()
@click.option("-o", "--output", type=click.Path(file_okay=False), help="Directory for the disk; default: a new one.")
@click.option("--format", "disk_format", default="qcow2", show_default=True, type=click.Choice(["qcow2", "vmdk"]))
def command(output: str | None, disk_format: str) -> None:
    """Rehearse the main job: export an instance of a private cloud and show what was proven.

    Builds a small bootable disk, starts the emulator, runs `hyperexport export`, compares the result with the boot
    volume, and runs the same command again.
    """
    require_emulator()
    qemu_img = shutil.which("qemu-img")
    if qemu_img is None:
        raise errors.ToolMissing("qemu-img is not installed", hint="apt-get install qemu-utils")
    began = time.monotonic()
    folder = pathlib.Path(output or tempfile.mkdtemp(prefix="hyperexport-demo-")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    disk = folder / f"{INSTANCE}.{disk_format}"
    environ = {**os.environ, "HYPEREXPORT_STATE": str(folder / "cloud" / "runs.sqlite")}
    with _cloud(folder / "cloud") as cloud:
        export = ["export", INSTANCE, "-o", str(disk), "--format", disk_format]
        _hyperexport(export, cloud, environ)
        _prove(qemu_img, disk, disk_format, cloud)
        click.echo("\nThe same command again:")
        _hyperexport(export, cloud, environ)
    click.echo(f"\nDone in {time.monotonic() - began:.0f} s. The disk: {disk}")


@contextmanager
def _cloud(folder: pathlib.Path) -> Iterator[_Cloud]:
    click.echo("Building a small bootable disk and a private cloud around it ...", err=True)
    subprocess.run(
        [sys.executable, "-m", "hypersdk_emulator.seeds.demo_seed", str(folder)], check=True, stdout=subprocess.PIPE
    )
    command = emulator_command("--port", "0", "--state", str(folder / "state"), "--seed", str(folder / "seed.json"))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise errors.OperationFailed("the emulator did not start; its own message stands above")
            ready = json.loads(line)
            yield _Cloud(folder, ready["endpoint"], ready["token"])
        finally:
            process.terminate()


def _hyperexport(arguments: list[str], cloud: _Cloud, environ: dict[str, str]) -> None:
    # The installed command, as a user would run it; `python -m` where the script is not beside this interpreter.
    script = pathlib.Path(sys.executable).with_name("hyperexport")
    program = [str(script)] if script.exists() else [sys.executable, "-m", "hypersdk.cli"]
    command = [*program, *arguments, *cloud.arguments()]
    click.echo("$ " + " ".join(["hyperexport", *command[len(program) :]]), err=True)
    status = subprocess.run(command, env=environ, check=False).returncode
    if status:
        raise errors.OperationFailed(f"the export ended with exit status {status}; its own message stands above")


def _prove(qemu_img: str, disk: pathlib.Path, disk_format: str, cloud: _Cloud) -> None:
    click.echo("\nWhat a second opinion says:")
    for arguments, verdict in (
        (["check", "-q", "-f", disk_format, str(disk)], "qemu-img check: clean"),
        (
            ["compare", "-q", "-f", disk_format, "-F", "raw", str(disk), str(cloud.folder / "boot.raw")],
            "qemu-img compare: the guest's bytes are those of the boot volume",
        ),
    ):
        if subprocess.run([qemu_img, *arguments], check=False).returncode:
            raise errors.VerificationError(f"qemu-img {arguments[0]} does not agree about {disk}")
        click.echo(f"  {verdict}")
    left = {kind: found for kind, found in cloud.leftovers().items() if found}
    if left:
        raise errors.VerificationError(f"left behind in the tenancy: {left}")
    click.echo("  the tenancy: no temporary image, object, upload or link left")
