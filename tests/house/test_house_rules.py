"""Rules of the house that no linter knows."""

import ast
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

SRC = pathlib.Path(__file__).resolve().parents[2] / "src" / "hypersdk"

WAITING_CALLS = {"time.sleep", "asyncio.sleep", "threading.Timer"}
HTTP_MODULES = {"requests", "urllib.request", "urllib3", "http.client", "httpx", "aiohttp", "socket"}
THREADS = {"threading.Thread", "concurrent.futures.ThreadPoolExecutor", "ThreadPoolExecutor", "Thread"}

MAY_WAIT = {"waiting.py"}
MAY_HTTP = {"wire", "vendors"}
MAY_START_THREADS = {"transfer/engine.py", "network", "runs/lease.py", "cli/progress.py", "fleet"}


def files() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SRC.rglob("*.py")):
        yield path.relative_to(SRC).as_posix(), ast.parse(path.read_text())


def allowed(name: str, places: set[str]) -> bool:
    return any(name == place or name.startswith(place + "/") for place in places)


def calls(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def test_nobody_sleeps_outside_waiting() -> None:
    """Every wait goes through waiting.py, so Ctrl-C and heartbeats work in all of them."""
    sinners = [
        (name, call)
        for name, tree in files()
        for call in calls(tree)
        if call in WAITING_CALLS and not allowed(name, MAY_WAIT)
    ]
    assert sinners == []


def test_no_http_outside_wire_and_vendors() -> None:
    """Every connection is made where proxy, CA and time-outs are applied."""
    sinners = [
        (name, module)
        for name, tree in files()
        for module in imports(tree)
        if module in HTTP_MODULES and not allowed(name, MAY_HTTP)
    ]
    assert sinners == []


def test_threads_start_only_in_named_rooms() -> None:
    """Concurrency lives in the files that style.md names."""
    sinners = [
        (name, call)
        for name, tree in files()
        for call in calls(tree)
        if call in THREADS and not allowed(name, MAY_START_THREADS)
    ]
    assert sinners == []


def test_retry_is_decided_in_one_place() -> None:
    """Nobody but retry.py and the transfer engine asks whether an error may be repeated."""
    sinners = [
        name
        for name, tree in files()
        if not allowed(name, {"retry.py", "errors.py", "transfer"})
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "retryable" and isinstance(node.ctx, ast.Load)
    ]
    assert sinners == []


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        (
            "import hypersdk",
            {"oci", "pycurl", "sqlalchemy", "yaml", "click", "rich", "pydantic", "aiohttp", "pyroute2"},
        ),
        (
            "import hypersdk.cli; hypersdk.cli.run(['--help'])",
            {"oci", "pycurl", "sqlalchemy", "yaml", "rich", "aiohttp", "pyroute2", "cryptography"},
        ),
        (
            "import hypersdk.cli; hypersdk.cli.run(['cp', '--help'])",
            {
                "oci",
                "pycurl",
                "sqlalchemy",
                "yaml",
                "rich",
                "aiohttp",
                "pyroute2",
                "cryptography",
                "hypersdk.transfer.copies.copyplan",
            },
        ),
    ],
)
def test_start_up_loads_nothing_heavy(statement: str, absent: set[str]) -> None:
    """Importing the library and asking for help cost no SDK, engine or database."""
    quiet = "import sys, io, contextlib\nwith contextlib.redirect_stdout(io.StringIO()):\n"
    program = f"{quiet}    {statement}\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert absent.isdisjoint(loaded)
