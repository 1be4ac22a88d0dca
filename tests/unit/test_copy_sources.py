"""What the two addresses of a copy mean: one object, a tree, a pattern; a name or a directory."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hypersdk import errors, events
from hypersdk.model import ObjectInfo, ObjectRef
from hypersdk.retry import run_once
from hypersdk.storage import destinations
from hypersdk.storage.backends.file import FileStore
from hypersdk.storage.backends.memory import MemoryStore
from hypersdk.storage.destinations import Destination, check_apart, destination, folding_of, make_directory
from hypersdk.storage.naming import EXACT
from hypersdk.storage.selection import Filter
from hypersdk.storage.sources import Selection, base_name, select
from hypersdk.storage.url import local_ref, parse

NAMES = (
    "vm-1.raw",
    "vm-2.raw",
    "vm-[1].raw",
    "vm-9/disk.raw",
    "dir/a",
    "dir/b/c",
    "dir/",
    "both",
    "both/x",
    ".hx-1.tmp",
)


class Cloud(MemoryStore):
    """A store whose objects are addressed as in a cloud, and that counts its lists."""

    def __init__(self) -> None:
        super().__init__()
        self.listed: list[str] = []

    def list(self, ref: ObjectRef, *, recursive: bool = True) -> Iterator[ObjectInfo]:
        self.listed.append(ref.name)
        return super().list(ref, recursive=recursive)


@pytest.fixture
def cloud() -> Cloud:
    """The objects of `NAMES` in one bucket."""
    store = Cloud()
    for name in NAMES:
        store.put(at(name), b"" if name.endswith("/") else b"x")
    return store


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same names as files in the current directory."""
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        if name not in ("dir/", "both"):
            (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
            (tmp_path / name).write_bytes(b"x")
    return tmp_path


def at(name: str) -> ObjectRef:
    """An address in the bucket."""
    return ObjectRef("oci", "ns", "b", name)


def picked(store: Cloud, name: str, *, recursive: bool = False, chosen: Filter | None = None) -> Selection:
    """What an address in the cloud means."""
    return select(store, at(name), call=run_once, recursive=recursive, chosen=chosen or Filter())


def names(found: Selection) -> list[str]:
    """Names relative to the root of the copy."""
    return [entry.name for entry in found.entries]


def local(path: str, *, recursive: bool = False, chosen: Filter | None = None) -> Selection:
    """What a path means."""
    left_out: list[events.LeftOut] = []
    store = FileStore(lambda event: left_out.append(event) if isinstance(event, events.LeftOut) else None)
    wanted = local_ref(path)
    return select(store, wanted, call=run_once, left_out=left_out, recursive=recursive, chosen=chosen or Filter())


def test_one_object(cloud: Cloud, here: Path) -> None:
    """An exact name means that object, even if it could be a pattern; nothing is listed."""
    for found in (picked(cloud, "vm-[1].raw"), local("vm-[1].raw"), local(str(here / "vm-[1].raw"))):
        assert (names(found), found.many) == (["vm-[1].raw"], False)
    assert names(picked(cloud, "dir/b/c")) == names(local("dir/b/c")) == ["c"]
    assert cloud.listed == []


def test_a_tree_must_be_asked_for(cloud: Cloud, here: Path) -> None:
    """A bucket, a prefix and a directory are refused without -r, and the hint names it."""
    for found in (lambda: picked(cloud, ""), lambda: picked(cloud, "dir/"), lambda: local("dir"), lambda: local(".")):
        with pytest.raises(errors.UsageError) as refused:
            found()
        assert "-r" in str(refused.value)
    with pytest.raises(errors.NotFoundError, match="add -r to copy them") as absent:
        picked(cloud, "dir")
    assert "oci://ns/b/dir/" in str(absent.value)


@pytest.mark.parametrize("written", ["dir", "dir/"])
def test_a_tree(cloud: Cloud, here: Path, written: str) -> None:
    """With -r the same with and without a slash: all below, relative to it; its own marker is no item."""
    assert names(picked(cloud, written, recursive=True)) == ["a", "b/c"]
    assert names(local(written, recursive=True)) == ["a", "b/c"]
    assert picked(cloud, written, recursive=True).many


def test_our_own_files_are_invisible(cloud: Cloud, here: Path) -> None:
    """Partial files and journals are no part of a tree, wherever they lie."""
    assert sorted({*NAMES} - {*names(picked(cloud, "", recursive=True))}) == [".hx-1.tmp"]
    assert ".hx-1.tmp" not in names(local(".", recursive=True))


def test_an_object_that_is_a_directory_too(cloud: Cloud) -> None:
    """C029: without -r the object; with -r what is under it, and the object is refused, not forgotten."""
    assert names(picked(cloud, "both")) == ["both"]
    found = picked(cloud, "both", recursive=True)
    assert names(found) == ["x"]
    assert [str(entry.info.ref) for entry, _ in found.refused] == ["oci://ns/b/both"]
    assert names(picked(cloud, "vm-1.raw", recursive=True)) == ["vm-1.raw"]


def test_patterns(cloud: Cloud, here: Path) -> None:
    """The same names on both sides; a list goes no further than the fixed start of the pattern."""
    for found in (picked(cloud, "vm-?.raw"), local("vm-?.raw"), local(f"{here}/vm-?.raw")):
        assert (names(found), found.many) == (["vm-1.raw", "vm-2.raw"], True)
    assert cloud.listed == ["vm-"]
    assert names(picked(cloud, "vm-*")) == names(local("vm-*")) == ["vm-1.raw", "vm-2.raw", "vm-[1].raw"]
    below = ["vm-1.raw", "vm-2.raw", "vm-9/disk.raw", "vm-[1].raw"]
    assert names(picked(cloud, "vm-*", recursive=True)) == names(local("vm-*", recursive=True)) == below
    assert names(picked(cloud, "dir/**/c")) == names(local("dir/**/c")) == ["b/c"]
    assert names(picked(cloud, "d*/?")) == names(local("d*/?")) == ["dir/a"]
    assert names(picked(cloud, "no-*")) == names(local("no-*")) == []


def test_filters_choose_among_what_is_found(cloud: Cloud, here: Path) -> None:
    """C036: relative to the root of the copy on both sides, for one object too."""
    some = Filter(include=("*.raw", "/b/*"), exclude=("vm-2*",))
    expected = ["vm-1.raw", "vm-9/disk.raw", "vm-[1].raw"]
    assert names(picked(cloud, "", recursive=True, chosen=some)) == expected
    assert names(local(".", recursive=True, chosen=some)) == expected
    assert names(picked(cloud, "dir", recursive=True, chosen=some)) == ["b/c"]
    assert names(picked(cloud, "vm-2.raw", chosen=some)) == []


def test_what_is_absent_is_said(cloud: Cloud, here: Path) -> None:
    """Nothing of that name, with and without -r: not found."""
    for recursive in (False, True):
        with pytest.raises(errors.NotFoundError):
            picked(cloud, "absent", recursive=recursive)
        with pytest.raises(errors.NotFoundError):
            local("absent", recursive=recursive)


def test_links_and_sockets_come_back_with_a_reason(here: Path) -> None:
    """A link named itself is followed under its own name; in a tree links and sockets are refused, unless excluded."""
    (here / "link").symlink_to("vm-1.raw")
    assert [(entry.name, str(entry.info.ref)) for entry in local("link").entries] == [("link", f"{here}/vm-1.raw")]
    (here / "dir" / "to").symlink_to(here)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("dir/socket")
        found = local("dir", recursive=True)
    assert names(found) == ["a", "b/c"]
    assert [entry.name for entry, _ in found.refused] == ["socket", "to"]
    assert "symbolic links are not followed" in str(found.refused[1][1])
    assert local("dir", recursive=True, chosen=Filter(exclude=("to", "socket"))).refused == ()
    with pytest.raises(errors.FileError, match="neither a file nor a directory"):
        local("/dev/null")


def test_a_tree_that_cannot_be_read_to_its_end(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Design rule 9: the directory that could not be read is named, and there is no half of a list."""
    opened = os.open

    def refuse(path: object, *arguments: object, **named: object) -> int:
        if path == "b":
            raise PermissionError(13, "Permission denied", path)
        return opened(path, *arguments, **named)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(errors.FileError, match=r"dir/b.*Permission denied"):
        local("dir", recursive=True)


def test_web_addresses_name_one_object() -> None:
    """The name of a copy is the last component of the path, decoded."""
    assert base_name(parse("https://host/a/b%20c.iso?sig=x%2Fy").ref) == "b c.iso"
    assert base_name(parse("https://host/").ref) == ""
    assert base_name(parse("https://host/bucket/a%2Fb.iso").ref) == "b.iso"
    assert base_name(at("a/b%20c")) == "b%20c"


def test_targets_in_a_cloud() -> None:
    """A bucket or a "/" at the end takes copies in, any other name is the copy's; many always go in."""
    assert destination(at(""), many=False) == Destination(at(""))
    assert destination(at("in/"), many=False) == Destination(at("in/"))
    assert destination(at("in/vm.raw"), many=False) == Destination(at("in/"), "vm.raw")
    assert destination(at("in"), many=True) == destination(at("in/"), many=True) == Destination(at("in/"))
    assert destination(at(""), many=True) == Destination(at(""))
    with pytest.raises(errors.UsageError, match="one object"):
        destination(parse("https://host/up?sig").ref, many=True)


def test_local_targets(here: Path) -> None:
    """A directory, or a "/" at the end, takes copies in; the directory above must be there; a file takes none."""
    directory = ObjectRef("file", "", "dir", "")
    assert destination(local_ref("dir"), many=False) == destination(local_ref("dir/"), many=True)
    assert destination(local_ref("dir"), many=False) == Destination(directory)
    assert destination(local_ref("dir/new"), many=False) == Destination(directory, "new")
    assert destination(local_ref("."), many=True) == Destination(ObjectRef("file", "", ".", ""))
    assert destination(local_ref("new/"), many=False) == Destination(ObjectRef("file", "", "new", ""))
    assert destination(local_ref("new"), many=True) == Destination(ObjectRef("file", "", "new", ""))
    assert not (here / "new").exists()
    for absent in ("no/such", "no/such/"):
        with pytest.raises(errors.NotFoundError, match="no such directory"):
            destination(local_ref(absent), many=False)
    with pytest.raises(errors.DestinationExists):
        destination(local_ref("vm-1.raw"), many=True)
    make_directory(ObjectRef("file", "", "new", ""))
    make_directory(ObjectRef("file", "", "new", ""))
    assert (here / "new").is_dir()


def test_a_tree_is_not_copied_into_itself(here: Path) -> None:
    """The same tree, or below it, under any spelling; a neighbour whose name begins alike is another."""
    check_apart(at("dir/"), at("dir2/"))
    check_apart(ObjectRef("file", "", "dir", ""), ObjectRef("file", "", "dir2", ""))
    check_apart(ObjectRef("file", "", "dir", ""), at("dir/"))
    check_apart(at("dir/"), ObjectRef("oci", "ns", "other", "dir/"))
    (here / "alias").symlink_to("dir")
    for source, target in (("dir", "dir"), (".", "dir/b"), ("dir", "alias/b"), (str(here), "dir")):
        with pytest.raises(errors.UsageError, match="into itself"):
            check_apart(ObjectRef("file", "", source, ""), ObjectRef("file", "", target, ""))
    with pytest.raises(errors.UsageError, match="into itself"):
        check_apart(at(""), at("dir/"))


def test_a_file_system_is_asked_what_it_takes_for_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a file of ours that is gone afterwards; one that folds is noticed."""
    assert folding_of(ObjectRef("file", "", str(tmp_path), "")) == EXACT
    assert folding_of(ObjectRef("file", "", str(tmp_path / "new"), "")) == EXACT
    exists = Path.exists
    monkeypatch.setattr(destinations.Path, "exists", lambda path: "probe" in path.name.lower() or exists(path))
    folding = folding_of(ObjectRef("file", "", str(tmp_path), ""))
    assert (folding.case, folding.form) == (True, True)
    assert list(tmp_path.iterdir()) == []
