"""Write the support table of the emulator: its route table held against the clients of Oracle's SDK.

An operation is found by the method and path that the SDK sends, so a row means that the SDK reaches a handler.
Usage: support.py [--check]; with --check nothing is written and the exit status is 1 if the page is out of date.
"""

from __future__ import annotations

import importlib
import inspect
import pathlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from hypersdk_emulator.routes import ROUTES
from hypersdk_emulator.routing import Route

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "emulator-support.md"
INTRODUCTION = """# What the emulator supports

Made by `make docs` from the emulator's route table and the clients of Oracle's Python SDK ({version}); do not edit.

- **full**: the request, its checks, its effect and its reply are those of OCI, as far as anybody outside of Oracle
  knows. Tags, compartments and rights are part of it, see [the emulator](emulator.md) for the limits of all.
- **partial**: as said behind it.
- **absent**: answered with 404 `NotFound`.
"""
_METHOD = re.compile(
    r'^        resource_path = "(?P<path>[^"]*)"\n        method = "(?P<method>[A-Z]+)"\n'
    r'        operation_name = "(?P<name>\w+)"$',
    re.MULTILINE,
)
_BASE = re.compile(r"'base_path': '([^']*)'")


@dataclass(frozen=True)
class Client:
    """A client of the SDK.

    Args:
        name: its class, in the module of its service.
        module: that module.
        services: the services, as routes name them, that it speaks to.
        whole: its absent operations get a row each; else they are only counted.
    """

    name: str
    module: str
    services: tuple[str, ...]
    whole: bool = True


CORE = ("compute", "blockstorage", "network")
CLIENTS = (
    Client("ObjectStorageClient", "oci.object_storage", ("objectstorage",)),
    Client("ComputeClient", "oci.core", CORE),
    Client("BlockstorageClient", "oci.core", CORE),
    Client("WorkRequestClient", "oci.work_requests", ("workrequests",)),
    Client("VirtualNetworkClient", "oci.core", CORE, whole=False),
    Client("IdentityClient", "oci.identity", ("identity",), whole=False),
    Client("LimitsClient", "oci.limits", ("limits",), whole=False),
)


@dataclass(frozen=True)
class Operation:
    """One call of the SDK: its name in camel case, and what it sends."""

    name: str
    method: str
    path: str


def operations(client: Client) -> list[Operation]:
    """The calls of a client, in alphabetical order."""
    source = inspect.getsource(inspect.getmodule(getattr(importlib.import_module(client.module), client.name)))
    base = _BASE.search(source)
    assert base is not None, f"{client.name}: no base path"
    found = [
        Operation(camel(m["name"]), m["method"], base[1].rstrip("/") + m["path"]) for m in _METHOD.finditer(source)
    ]
    assert found, f"{client.name}: no operations"
    return sorted(found, key=lambda operation: operation.name)


def camel(name: str) -> str:
    """The name as routes and faults have it."""
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


def shape(path: str) -> str:
    """A path without the names of its parameters."""
    return re.sub(r"\{[^}]*\}", "{}", path)


def reached(client: Client) -> list[tuple[Operation, Route | None]]:
    """Each call of a client with the route that it reaches."""
    routes = {
        (route.method, shape(route.pattern)): route
        for route in ROUTES
        if route.service in client.services and not route.header
    }
    return [(each, routes.get((each.method, shape(each.path)))) for each in operations(client)]


def verdict(route: Route | None) -> str:
    """The cell of the table."""
    if route is None:
        return "absent"
    return f"partial: {route.differs}" if route.differs else "full"


def sections() -> Iterator[str]:
    """The tables, a summary first."""
    counts, tables = [], []
    for client in CLIENTS:
        rows = reached(client)
        verdicts = [verdict(route).partition(":")[0] for _, route in rows]
        counted = " | ".join(str(verdicts.count(word)) for word in ("full", "partial", "absent"))
        counts.append(f"| [{client.name}](#{client.name.lower()}) | {counted} |")
        shown = [row for row in rows if client.whole or row[1] is not None]
        tables.append(f"## {client.name}\n\n| Operation | Support |\n|---|---|")
        tables[-1] += "".join(f"\n| {operation.name} | {verdict(route)} |" for operation, route in shown)
        if not client.whole:
            tables[-1] += f"\n\nThe other {verdicts.count('absent')} operations are absent."
    yield "| Client | full | partial | absent |\n|---|---|---|---|\n" + "\n".join(counts)
    yield from tables


def render() -> str:
    """The whole page."""
    import oci

    return "\n\n".join([INTRODUCTION.format(version=oci.__version__).strip(), *sections()]) + "\n"


def main() -> int:
    """Write or check."""
    page = render()
    if sys.argv[1:] == ["--check"]:
        current = PAGE.exists() and PAGE.read_text() == page
        print("" if current else f"{PAGE.relative_to(ROOT)} is out of date: run `make docs`", end="")
        return 0 if current else 1
    PAGE.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
