"""The files of fleets that examples and pages show are read, and the example names every key."""

from __future__ import annotations

import pathlib
import re

import pytest

from hypersdk.fleet import windows
from hypersdk.fleet.planning import asked, files, filters

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
FENCE = re.compile(r"^```yaml fleet\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if FENCE.search(page.read_text())]


def test_the_example_in_yaml_is_read_and_names_every_key() -> None:
    """Every key of a file, of an instance and of the limits stands in it, and its values make sense."""
    text = (EXAMPLES / "fleet.yaml").read_text()
    found = files.read(text.encode(), "fleet.yaml")
    keys = {*files.WHICH, *asked.READERS, "tags", *files.LIMITS, "instances", "defaults", "limits", "windows"}
    assert {key for key in (*keys, "compartments", "regions", "filter") if not re.search(rf"\b{key}:", text)} == set()
    assert len(found.wanted) == 3
    assert found.filter is not None
    filters.parse(found.filter)
    assert [str(windows.parse(text)) for text in found.windows]


def test_the_example_in_csv_means_what_the_one_in_yaml_does() -> None:
    """The same three instances; what a cell says is what a key says."""
    table = files.read((EXAMPLES / "fleet.csv").read_bytes(), "fleet.csv").wanted
    tree = files.read((EXAMPLES / "fleet.yaml").read_bytes(), "fleet.yaml").wanted
    assert [(one.name, one.id) for one in table] == [(one.name, one.id) for one in tree]
    assert table[2].asked.format == tree[2].asked.format == ("qcow2", "vmdk")
    assert table[2].asked.priority == tree[2].asked.priority == -1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_shows_are_read(page: pathlib.Path) -> None:
    """Every fleet that the documentation shows is understood."""
    for block in FENCE.findall(page.read_text()):
        assert files.read(block.encode(), "fleet.yaml").wanted
