"""`monitor=` of everything that programs call: it is taken, and it is what decides."""

import inspect
import io
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from emulator import instance_id, make_seed

import hypersdk
from hypersdk import errors
from hypersdk.config import Config, load_config
from hypersdk.storage import url

ADDRESS = "oci://testns/exports/x"

CALLS: dict[str, Callable[..., object]] = {
    "connect": lambda _, **given: list(hypersdk.connect("oci", **given).instances(instance_id("main"))),
    "open_store": lambda _, **given: list(hypersdk.open_store(ADDRESS, **given).list(url.parse(ADDRESS).ref)),
    "upload": lambda path, **given: hypersdk.upload(str(path), ADDRESS, **given),
    "download": lambda path, **given: hypersdk.download(ADDRESS, str(path) + ".back", **given),
    "copy": lambda path, **given: hypersdk.copy(str(path), ADDRESS, **given),
    "copy_tree": lambda path, **given: list(hypersdk.copy_tree(ADDRESS, str(path.parent / "back"), **given)),
    "upload_stream": lambda _, **given: hypersdk.upload_stream(io.BytesIO(b"x"), ADDRESS, **given),
    "download_stream": lambda _, **given: hypersdk.download_stream(ADDRESS, io.BytesIO(), **given),
    "plan_export": lambda _, **given: hypersdk.plan_export(instance_id("web-01"), **given),
    "plan_fleet": lambda _, **given: hypersdk.plan_fleet("name=web-01", **given),
    "export_instance": lambda _, **given: hypersdk.export_instance(instance_id("web-01"), **given),
}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Credentials for a place where nobody is."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    flags = {"config_file": str(make_seed(tmp_path / "seed").config_file), "endpoint": f"http://127.0.0.1:{port}"}
    environ = {"HYPEREXPORT_RETRY_MAX_ATTEMPTS": "1", "HYPEREXPORT_STATE": str(tmp_path / "runs.sqlite")}
    return load_config(flags, environ, cwd=str(tmp_path), home=str(tmp_path))


@pytest.mark.parametrize("name", CALLS)
def test_the_monitor_that_is_given_decides(config: Config, tmp_path: Path, name: str) -> None:
    """A monitor that says "up" of a dead endpoint makes the call fail, instead of waiting for ever as our own would."""
    path, asked = tmp_path / "disk", []
    path.write_bytes(b"bytes")
    up = lambda: asked.append(name) is None  # noqa: E731 - a probe
    # A tree gives an outcome per object, everything else raises.
    with hypersdk.NetworkMonitor(up) as monitor, suppress(errors.EndpointUnreachable):
        CALLS[name](path, config=config, monitor=monitor)
    assert asked


def test_every_call_takes_a_monitor() -> None:
    """Whatever takes a configuration and talks to a cloud can share a monitor with the rest of a program."""
    named = [name for name in hypersdk.__all__ if inspect.isfunction(getattr(hypersdk, name))]
    takes = {name for name in named if "monitor" in inspect.signature(getattr(hypersdk, name)).parameters}
    talks = {name for name in named if "config" in inspect.signature(getattr(hypersdk, name)).parameters}
    assert talks - takes == set()
    assert set(CALLS) <= takes
