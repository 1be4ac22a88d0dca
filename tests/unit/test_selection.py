"""Patterns over names: what the table in the module says, and nothing else."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hypersdk import errors
from hypersdk.storage.selection import Filter, glob, is_own, is_pattern

NAMES = (
    "vm.qcow2",
    "a/vm.qcow2",
    "a/b/vm.qcow2",
    "keep/x",
    "a/keep/x",
    "keep/deep/x",
    "tmp/",
    "tmp/y",
    "vm.raw",
    "a.md",
)
PLAIN = st.text("abc./-_ é", min_size=1, max_size=12).filter(lambda text: text.strip("/"))


def chosen(*, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> list[str]:
    """The names that such options select."""
    each = Filter(include, exclude)
    return [name for name in NAMES if each.selects(name)]


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("*.qcow2", ["vm.qcow2", "a/vm.qcow2", "a/b/vm.qcow2"]),
        ("/*.qcow2", ["vm.qcow2"]),
        ("/*/*.qcow2", ["a/vm.qcow2"]),
        ("/**/*.qcow2", ["vm.qcow2", "a/vm.qcow2", "a/b/vm.qcow2"]),
        ("/a/**", ["a/vm.qcow2", "a/b/vm.qcow2", "a/keep/x"]),
        ("keep/*", ["keep/x", "a/keep/x"]),
        ("/keep/*", ["keep/x"]),
        ("/keep/", ["keep/x", "keep/deep/x"]),
        ("tmp/", ["tmp/", "tmp/y"]),
        ("vm.{raw,qcow?}", ["vm.qcow2", "a/vm.qcow2", "a/b/vm.qcow2", "vm.raw"]),
        ("[a-c].md", ["a.md"]),
        ("[!a-c].md", []),
        ("a?vm.qcow2", []),
        ("a[!x]vm.qcow2", []),
        ("m.qcow2", []),
    ],
)
def test_patterns_mean_what_the_table_says(pattern: str, meant: list[str]) -> None:
    """C036: every form of pattern against the same names, relative to the root of the copy."""
    assert chosen(include=(pattern,)) == meant
    assert chosen(exclude=(pattern,)) == [name for name in NAMES if name not in meant]


def test_exclusion_wins_in_any_order() -> None:
    """An include and an exclude that both match: not selected; several includes add up; none is everything."""
    assert chosen() == list(NAMES)
    assert chosen(include=("*.qcow2", "*.md"), exclude=("/a/",)) == ["vm.qcow2", "a.md"]
    assert chosen(include=("*.md", "*.qcow2"), exclude=("*",)) == []


@pytest.mark.parametrize("pattern", ["[a", "{a,b", "a{b,{c,d}", "[z-a]", "", "/"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    """One line that names the pattern; never a pattern that silently selects nothing."""
    with pytest.raises(errors.UsageError, match="not a pattern"):
        Filter(include=(pattern,))


@pytest.mark.parametrize(
    ("text", "root", "prefix", "means", "not_means"),
    [
        ("vm-*.qcow2", "", "vm-", ["vm-1.qcow2"], ["vm-1/x.qcow2", "a/vm-1.qcow2", "vm-1.raw"]),
        ("disks/2024-*/boot?.raw", "disks/", "disks/2024-", ["disks/2024-01/boot1.raw"], ["disks/2024-01/x/boot1.raw"]),
        ("disks/**", "disks/", "disks/", ["disks/a", "disks/a/b"], ["disks", "disk/a"]),
        (r"a\*b*", "", "a*b", ["a*b", "a*bc"], ["axb"]),
        ("{a,b/c}/*.x", "", "", ["a/1.x", "b/c/2.x"], ["b/1.x"]),
        ("a+(b)*", "", "a+(b)", ["a+(b)c"], ["aab"]),
    ],
)
def test_globs_of_sources(text: str, root: str, prefix: str, means: list[str], not_means: list[str]) -> None:
    """A source's pattern matches whole names, knows its fixed directory, and how far a listing must go."""
    found = glob(text, recursive=False)
    assert (found.root, found.prefix) == (root, prefix)
    assert all(found.matches(name) for name in means)
    assert not any(found.matches(name) for name in not_means)


def test_a_recursive_glob_takes_what_lies_below() -> None:
    """With -r a directory that matches means all below it, as in a shell; without, only names that match."""
    assert not glob("vm-*", recursive=False).matches("vm-1/disk")
    assert glob("vm-*", recursive=True).matches("vm-1/disk")
    assert glob("vm-*/", recursive=True).matches("vm-1/")
    assert not glob("vm-*", recursive=True).matches("other/vm-1/disk")
    assert glob("{a,a/b}", recursive=False).matches("a/b")


@given(PLAIN)
def test_a_plain_name_is_a_pattern_for_itself_only(name: str) -> None:
    """Without special characters nothing but the name itself matches, and its prefix is all of it."""
    assert not is_pattern(name)
    found = glob(name, recursive=False)
    assert found.matches(name.removesuffix("/"))
    assert found.prefix == name
    assert not found.matches(name + "x")


@given(st.text("ab/*?[]{},!^-\\.|&~é", max_size=12), st.text("ab/.é[]-^\n", max_size=10))
@example("[a--]", "a")
@example("[!--]", "-")
def test_any_pattern_is_read_or_refused(pattern: str, name: str) -> None:
    """No text makes the reader fail in another way, and a match always begins with the glob's prefix and root."""
    try:
        found = glob(pattern, recursive=True)
        Filter((pattern,), ()).selects(name)
    except errors.UsageError:
        return
    assert isinstance(found.expression, re.Pattern)
    if found.matches(name):
        assert name.startswith(found.prefix.removesuffix("/"))
        assert found.prefix.startswith(found.root)


@given(st.text("ab/c", min_size=1, max_size=8), st.text("ab/c", min_size=1, max_size=8))
def test_stars_stop_at_slashes(pattern_text: str, name: str) -> None:
    """`*` is `[^/]*` and `**` is `.*`, checked against regular expressions written the long way."""
    single = re.fullmatch(re.escape(pattern_text) + "[^/]*", name) is not None
    assert glob(pattern_text + "*", recursive=False).matches(name) == single
    double = name.startswith(pattern_text)
    if not pattern_text.endswith("/"):
        assert glob(pattern_text + "**", recursive=False).matches(name) == double


def test_our_own_files_are_known_by_name() -> None:
    """Partial files, journals and uploads, at any depth; names that only contain the letters are others' own."""
    assert is_own(".hx-0123456789ab.partial")
    assert is_own("a/.hx-0123456789ab.upload/00001")
    assert not is_own("a.hx-b")
    assert not is_own("vm.hx-")
