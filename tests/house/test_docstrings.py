"""Every test says in one line what it proves, so that a failing one reads as a sentence."""

import ast
import pathlib
from collections.abc import Iterator

TESTS = pathlib.Path(__file__).resolve().parents[1]
NOT_OURS = TESTS / "clients"
SHORTEST = 20
"""A docstring of fewer characters ("It works.") says nothing."""


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Where each test function stands, and its tree."""
    for path in sorted(TESTS.rglob("*.py")):
        if NOT_OURS in path.parents:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield f"{path.relative_to(TESTS)}:{node.lineno} {node.name}", node


def test_every_test_has_one_line_that_says_what_it_proves() -> None:
    """Each test function has a docstring of one line, ended like a sentence."""
    sinners = []
    for place, node in functions():
        said = (ast.get_docstring(node) or "").strip()
        if len(said) < SHORTEST or "\n" in said or not said.endswith((".", ")")):
            sinners.append(place)
    assert sinners == []


def test_test_files_have_unique_names() -> None:
    """Two files of one name would hide each other's results, as tests are no package."""
    names = [path.name for path in TESTS.rglob("test_*.py") if NOT_OURS not in path.parents]
    assert sorted(names) == sorted(set(names))
