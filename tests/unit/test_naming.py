"""Names at the target: computed before the first byte; what cannot be is said of each item, the rest goes on."""

from __future__ import annotations

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk.model import ObjectInfo, ObjectRef
from hypersdk.storage.naming import EXACT, LOOSE, Entry, Folding, Named, may_collide, name_targets
from hypersdk.storage.url import object_name

DIRECTORY = ObjectRef("file", "", "/backup", "")
BUCKET = ObjectRef("oci", "ns", "b", "in/")
COMPONENT = st.text("abAB.é" + chr(0x301), min_size=1, max_size=3)
NAME = st.lists(COMPONENT, min_size=1, max_size=3).map("/".join)


def entry(name: str, size: int = 1, scheme: str = "oci") -> Entry:
    """An object of this name."""
    ref = ObjectRef("file", "", "/src", name) if scheme == "file" else ObjectRef(scheme, "ns", "src", name)
    return Entry(ObjectInfo(ref, size), name)


def named(*names: str, base: ObjectRef = DIRECTORY, folding: Folding = EXACT, scheme: str = "oci") -> Named:
    """What becomes of objects of these names; a marker has no bytes."""
    entries = [entry(name, 0 if name.endswith("/") else 1, scheme) for name in names]
    return name_targets(entries, base, folding)


def taken(found: Named) -> list[str]:
    """The names of the objects that are copied."""
    return [one.name for one, _ in found.targets]


def refused(found: Named) -> dict[str, str]:
    """The names of those that are not, and why."""
    return {one.entry.name: one.because for one in found.refusals}


def test_names_are_taken_as_they_are() -> None:
    """A legal name is the same on both sides, byte for byte (C028)."""
    names = ("a", "b/c.qcow2", "x\x01\x7f", "ü", "u\u0308", " b ", "-rf", "a:b", "...")
    into_files = named(*names)
    assert [str(ref) for _, ref in into_files.targets] == [f"/backup/{name}" for name in names]
    into_bucket = named(*names, base=BUCKET, scheme="file")
    assert [ref.name for _, ref in into_bucket.targets] == [f"in/{name}" for name in names]
    assert not into_files.refusals + into_bucket.refusals


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../x", "a/../x", "a//b", "./a", "a/.", "/", "nul\0", "cr\r", "lf\nx", "x" * 256, "ä" * 128, "a//"],
)
def test_what_no_file_can_be_called_is_refused(name: str) -> None:
    """C024, C028: never outside of the root, never another name than the object's, and the rest is done."""
    found = named("before", name, "behind")
    assert taken(found) == ["before", "behind"]
    assert list(refused(found)) == [name]


@pytest.mark.parametrize("name", ["lf\n", "bad\udcff", "x" * 1022, "cr\r/y"])
def test_what_no_object_can_be_called_is_refused(name: str) -> None:
    """C028: control characters, invalid UTF-8, 1024 bytes with the prefix; the others are taken."""
    found = named("before", name, "behind", base=BUCKET, scheme="file")
    assert taken(found) == ["before", "behind"]
    assert list(refused(found)) == [name]


def test_files_are_copied_to_files_under_any_name() -> None:
    """What one file system can call a file another can: no rule of object names is asked."""
    names = ("lf\n", "bad\udcff", "x" * 255)
    assert taken(named(*names, scheme="file")) == list(names)


def test_our_own_names_are_never_given_away() -> None:
    """A copy that would be called like a partial file, a journal or an upload of ours is refused; in a cloud it may."""
    assert list(refused(named("a/.hx-1.partial", ".hx-2", "fine"))) == ["a/.hx-1.partial", ".hx-2"]
    assert taken(named(".hx-2", base=BUCKET, scheme="file")) == [".hx-2"]


def test_markers_are_directories() -> None:
    """C029: `a/` without bytes makes a directory and conflicts with nothing below it; with bytes it is refused."""
    found = named("a/", "a/b", "d/")
    assert taken(found) == ["a/b"]
    assert [str(ref) for _, ref in found.directories] == ["/backup/a", "/backup/d"]
    full = name_targets([entry("d/", 5), entry("d/x")], DIRECTORY)
    assert list(refused(full)) == ["d/"]
    assert "5 bytes" in refused(full)["d/"]
    assert taken(named("a", "a/", "a/b", base=BUCKET)) == ["a", "a/", "a/b"]


@pytest.mark.parametrize("names", [("a", "a/b"), ("a", "a/"), ("a", "a/", "a/b"), ("x/a", "x/a/b/c")])
def test_an_object_where_a_directory_must_be(names: tuple[str, ...]) -> None:
    """C029: `a` beside `a/b` is refused with both names in the reason; `a/b` and all others are taken."""
    found = named(*names, "other")
    assert list(refused(found)) == [names[0]]
    assert repr(names[1]) in refused(found)[names[0]]
    assert taken(found) == [name for name in (*names[1:], "other") if not name.endswith("/")]


def test_names_that_a_file_system_takes_for_one() -> None:
    """C027: case and Unicode form, of files and of directories; none of them is taken, each names another."""
    nfc, nfd = (unicodedata.normalize(form, "ü") for form in ("NFC", "NFD"))
    names = ("A", "a", nfc, nfd, "D/x", "d/y", "sole")
    assert taken(named(*names)) == list(names)
    by_case = named(*names, folding=Folding(case=True))
    assert taken(by_case) == [nfc, nfd, "sole"]
    assert "'A'" in refused(by_case)["a"]
    assert "'d/y'" in refused(by_case)["D/x"]
    by_form = named(*names, folding=Folding(form=True))
    assert taken(by_form) == ["A", "a", "D/x", "d/y", "sole"]
    assert list(refused(named(*names, folding=LOOSE))) == ["A", "a", nfc, nfd, "D/x", "d/y"]
    assert may_collide([entry(name) for name in names])
    assert not may_collide([entry(name) for name in ("a", "a/b", "c")])


def test_the_same_name_twice() -> None:
    """Two objects that would become one file or one object: neither is copied, whatever their order."""
    assert list(refused(named("a", "b", "a"))) == ["a"]
    assert taken(named("a", "b", "a", base=BUCKET)) == ["b"]


@given(st.lists(NAME, unique=True, max_size=8), st.sampled_from([EXACT, Folding(case=True), LOOSE]), st.integers())
def test_what_is_taken_can_stand_side_by_side(names: list[str], folding: Folding, seed: int) -> None:
    """All that is taken goes into one directory without clash, nothing is lost, in any order of the listing."""
    found = named(*names, folding=folding)
    assert sorted(taken(found) + list(refused(found))) == sorted(names)
    files = {folding.fold(name) for name in taken(found)}
    assert len(files) == len(found.targets)
    for name in taken(found):
        parts = name.split("/")
        assert not any(folding.fold("/".join(parts[:end])) in files for end in range(1, len(parts)))
    shuffled = list(names)
    random.Random(seed).shuffle(shuffled)
    assert sorted(taken(named(*shuffled, folding=folding))) == sorted(taken(found))
    assert refused(named(*shuffled, folding=folding)).keys() == refused(found).keys()


@given(st.lists(NAME, unique=True, max_size=6))
def test_there_and_back_is_the_same_name(names: list[str]) -> None:
    """An object's name becomes a path and the path that name again."""
    for one, ref in named(*names).targets:
        assert object_name(ref.name) == one.name == one.info.ref.name
