"""docs/errors.md and docs/troubleshooting.md: committed as made, an entry for every code, a row for every error."""

import importlib
import pathlib
import sys
from types import ModuleType

import pytest

from hypersdk import errors
from hypersdk.wire import failures

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXTS = ("code", "causes", "remedy", "example")


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        return importlib.import_module("errorpages")
    finally:
        sys.path.remove(str(ROOT / "tools"))


def test_the_pages_are_those_of_the_code(pages: ModuleType) -> None:
    """Both pages are what `make docs` writes from today's errors and tables."""
    for path, page in pages.PAGES.items():
        assert path.read_text() == page(), f"run `make docs` and commit {path.name}"


def test_every_kind_of_error_tells_what_to_do(pages: ModuleType) -> None:
    """Each class has a code, causes, a remedy and an example of its own; no code is used twice."""
    lacking = [f"{kind.__name__}.{text}" for kind in pages.kinds() for text in TEXTS if text not in vars(kind)]
    assert lacking == [], "see hypersdk/errors.py; then run `make docs`"
    codes = [kind.code for kind in pages.kinds()]
    assert len(set(codes)) == len(codes)
    for kind in pages.kinds():
        assert kind.causes, kind
        assert all(" " in cause for cause in kind.causes), f"{kind}: causes are sentences, in a tuple"
        assert not kind.remedy.endswith("."), kind
        assert "\n" not in kind.remedy + kind.example, kind


def test_every_error_that_is_told_apart_has_a_row(pages: ModuleType) -> None:
    """Each error number of libcurl that the wire knows, and each kind of errno, is in the table."""
    told_apart = failures._BAD_URL | failures._UNREACHABLE | failures.UNTRUSTED | failures._BAD_BUNDLE
    assert told_apart | set(failures._CUT) | {failures._TIMED_OUT} <= set(pages.CURL_NAMES)
    kinds = {type(row.error) for rows in (pages.services, pages.lines, pages.calls, pages.files) for row in rows()}
    assert {errors.NotAuthenticated, errors.ThrottledError, errors.EndpointUnreachable, errors.DiskFull} <= kinds


def test_no_table_is_broken_by_its_cells(pages: ModuleType) -> None:
    """Every row of the tables has as many cells as its head."""
    for line in pages.errors_page().splitlines():
        if line.startswith("|"):
            assert line.replace("\\|", "").count("|") == 7, line
