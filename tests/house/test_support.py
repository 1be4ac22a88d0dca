"""The support table of the emulator: committed as made, and true to what the SDK sends."""

import importlib
import pathlib
import sys
from types import ModuleType

import pytest

from hypersdk_emulator.routes import ROUTES

ROOT = pathlib.Path(__file__).resolve().parents[2]
OWN_NAMES = {
    f"{verb}Storage{what}" for verb in ("List", "Get", "Cancel") for what in ("WorkRequests", "WorkRequest")
} | {
    "ListStorageWorkRequestErrors",
    "ListStorageWorkRequestLogs",
}
"""Object Storage's work requests have names of their own, as one fault must not mean both services."""
NOT_IN_CLIENTS = {"control", "auth", "s3"}


@pytest.fixture(scope="module")
def support() -> ModuleType:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        return importlib.import_module("support")
    finally:
        sys.path.remove(str(ROOT / "tools"))


def test_the_support_table_is_that_of_the_code(support: ModuleType) -> None:
    """docs/emulator-support.md is what `make docs` writes from today's route table."""
    assert support.PAGE.read_text() == support.render(), "run `make docs` and commit docs/emulator-support.md"


def test_every_operation_is_named_as_in_the_sdk(support: ModuleType) -> None:
    """Each route is reached by the SDK's call of its name, by method and path; PAR and control paths aside."""
    reached, misnamed = set(), []
    for client in support.CLIENTS:
        for operation, route in support.reached(client):
            if route is None:
                continue
            reached.add(route)
            if operation.name != route.operation and route.operation not in OWN_NAMES:
                misnamed.append((route.operation, operation.name))
    assert misnamed == []
    unreached = [
        f"{route.method} {route.pattern} ({route.operation})"
        for route in ROUTES
        if route not in reached and route.service not in NOT_IN_CLIENTS and route.auth != "par" and not route.header
    ]
    assert unreached == []


def test_an_operation_that_differs_says_how(support: ModuleType) -> None:
    """A cell is `full`, `absent`, or `partial` with the difference, in words that fit into a table."""
    for client in support.CLIENTS:
        for operation, route in support.reached(client):
            cell = support.verdict(operation, route)
            assert cell in {"full", "absent"} or cell.removeprefix("partial: ").strip(), operation.name
            assert "|" not in cell, operation.name
            assert "\n" not in cell, operation.name
