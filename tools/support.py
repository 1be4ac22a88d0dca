"""Write the support table of the emulator: its route table held against the clients of Oracle's SDK.

An operation is found by the method and path that the SDK sends, so a row means that the SDK reaches a handler. A field
that the SDK may send and whose name stands nowhere in the emulator's source is ignored by it, and the row says so.
Usage: support.py [--check]; with --check nothing is written and the exit status is 1 if the page is out of date.
"""

from __future__ import annotations

import ast
import pathlib
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from sdkfacts import Operation, operations

from hypersdk_emulator.routes import ROUTES
from hypersdk_emulator.routing import Route

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "emulator-support.md"
SOURCE = ROOT / "src" / "hypersdk_emulator"
INTRODUCTION = """# What the emulator supports

Made by `make docs` from the emulator's source and the clients of Oracle's Python SDK ({version}); do not edit.

- **full**: every parameter and field that the SDK may send is known, and no difference to OCI is known, as far as
  anybody outside of Oracle knows OCI. [The emulator](emulator.md) says what holds for all operations.
- **partial**: as said behind it; what is ignored may be sent and has no effect.
- **absent**: answered with 404 `NotFound`.
"""
OTHERS: tuple[tuple[str, str, Callable[[Route], bool]], ...] = (
    (
        "S3 API",
        "What OCI does not offer - access control lists, policies, tags of objects, websites - is refused with 501.",
        lambda route: route.service == "s3",
    ),
    (
        "Pre-authenticated requests",
        "Calls with a token in their path, as any HTTP client makes them.",
        lambda route: route.auth == "par",
    ),
    (
        "Signing in",
        "Calls that the SDK's signers make by themselves; the instance metadata service has a port of its own.",
        lambda route: route.service == "auth",
    ),
)
HARMLESS = {"partsToExclude"}
"""What has no effect on OCI either: parts that are not committed are dropped, excluded or not."""
LITERAL_LENGTH = 10
"""Letters that a name put together in the source must have in one of its pieces to count."""


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
    found = operations(client.name, client.module)
    return [(each, routes.get((each.method, shape(each.path)))) for each in found]


@cache
def _named() -> tuple[frozenset[str], re.Pattern[str]]:
    """The texts in the emulator's source, and a pattern for those that it puts together."""
    texts, pieces = set(), set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = [each.value if isinstance(each, ast.Constant) else None for each in node.values]
                if sum(len(part) for part in parts if part) >= LITERAL_LENGTH:
                    pieces.add("".join(r"\w+" if part is None else re.escape(part) for part in parts))
    return frozenset(texts), re.compile("|".join(sorted(pieces)))


def unknown(names: tuple[str, ...]) -> list[str]:
    """Those that the emulator's source does not name."""
    texts, pattern = _named()
    return [name for name in names if name not in texts and name not in HARMLESS and not pattern.fullmatch(name)]


def verdict(operation: Operation, route: Route | None) -> str:
    """The cell of the table."""
    if route is None:
        return "absent"
    ignored = ", ".join(f"`{name}`" for name in unknown(operation.asked))
    said = [each for each in (route.differs, f"ignores {ignored}" if ignored else "") if each]
    return f"partial: {'; '.join(said)}" if said else "full"


def _lacking(rows: list[tuple[Operation, Route | None]]) -> str:
    """Which fields replies never have."""
    lacks = {op.model: unknown(op.shown) for op, route in rows if route is not None and op.model}
    lines = [f"| {model} | {', '.join(f'`{n}`' for n in names)} |" for model, names in sorted(lacks.items()) if names]
    if not lines:
        return ""
    return "\n\nFields that are in no reply:\n\n| Model | Fields |\n|---|---|\n" + "\n".join(lines)


def sections() -> Iterator[str]:
    """The tables, a summary first."""
    counts, tables = [], []
    for client in CLIENTS:
        rows = reached(client)
        verdicts = [verdict(*row).partition(":")[0] for row in rows]
        counted = " | ".join(str(verdicts.count(word)) for word in ("full", "partial", "absent"))
        counts.append(f"| [{client.name}](#{client.name.lower()}) | {counted} |")
        shown = [row for row in rows if client.whole or row[1] is not None]
        table = f"## {client.name}\n\n| Operation | Support |\n|---|---|"
        table += "".join(f"\n| {operation.name} | {verdict(operation, route)} |" for operation, route in shown)
        if not client.whole:
            table += f"\n\nThe other {verdicts.count('absent')} operations are absent."
        tables.append(table + _lacking(rows))
    yield "| Client | full | partial | absent |\n|---|---|---|---|\n" + "\n".join(counts)
    yield from tables
    yield from (_plain(*each) for each in OTHERS)


def _plain(title: str, says: str, belongs: Callable[[Route], bool]) -> str:
    """The table of calls that no client of the SDK makes."""
    lines = {
        f"| {route.operation.removeprefix('S3')} | {f'partial: {route.differs}' if route.differs else 'full'} |"
        for route in ROUTES
        if belongs(route)
    }
    return f"## {title}\n\n{says}\n\n| Call | Support |\n|---|---|\n" + "\n".join(sorted(lines))


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
