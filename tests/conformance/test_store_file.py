"""The local file store keeps the promises of every store, and those of files."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_suite import Bound, StoreSuite

from hypersdk import errors, events
from hypersdk.model import ObjectRef
from hypersdk.storage.backends.file import FileStore
from hypersdk.storage.backends.memory import MemoryStore
from hypersdk.storage.protocol import PutCondition, PutOptions
from hypersdk.storage.url import local_ref


class TestFileStore(StoreSuite):
    @pytest.fixture
    def bound(self, tmp_path: Path) -> Bound:
        return Bound(FileStore(), ObjectRef("file", "", str(tmp_path), ""))


def test_a_path_made_by_hand_is_the_same_file(tmp_path: Path) -> None:
    """A ref that carries a whole path as its name reads and writes that file."""
    store, ref = FileStore(), ObjectRef("file", "", "", str(tmp_path / "x"))
    store.put(ref, b"abc")
    assert store.head(ref).ref == local_ref(str(tmp_path / "x"))
    store.delete(ref)
    assert not store.exists(ref)


def test_links_below_the_root_are_not_followed(tmp_path: Path) -> None:
    """A link in the tree leads no read, write, delete or listing out of it, and a listing names it."""
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    root.mkdir()
    (outside / "precious").write_bytes(b"keep")
    (root / "way").symlink_to(outside)
    (root / "file").symlink_to(outside / "precious")
    told: list[events.Event] = []
    store, place = FileStore(told.append), str(root)
    for act in (store.head, store.delete, lambda ref: store.put(ref, b"x")):
        with pytest.raises(errors.FileError, match="symbolic links are not followed"):
            act(ObjectRef("file", "", place, "way/precious"))
    with pytest.raises(errors.FileError, match="symbolic links are not followed"):
        store.head(ObjectRef("file", "", place, "file"))
    assert list(store.list(ObjectRef("file", "", place, ""))) == []
    assert len(told) == 2
    assert (outside / "precious").read_bytes() == b"keep"
    assert [entry.name for entry in outside.iterdir()] == ["precious"]


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "a//x", "."])
def test_names_that_leave_the_root_are_refused(tmp_path: Path, name: str) -> None:
    """An object's name cannot climb out of its directory."""
    with pytest.raises(errors.UsageError):
        FileStore().put(ObjectRef("file", "", str(tmp_path / "root"), name), b"x")


def test_a_missing_root_is_an_error_and_not_an_empty_listing(tmp_path: Path) -> None:
    """A mistyped directory is said to be absent by listing, exists and head alike; a missing one below is empty."""
    store, gone = FileStore(), str(tmp_path / "gone")
    with pytest.raises(errors.NotFoundError):
        list(store.list(ObjectRef("file", "", gone, "")))
    with pytest.raises(errors.NotFoundError):
        store.exists(ObjectRef("file", "", gone, "x"))
    with pytest.raises(errors.NotFoundError):
        store.head(ObjectRef("file", "", gone, "x"))
    assert list(store.list(ObjectRef("file", "", str(tmp_path), "sub/"))) == []


def test_a_refused_write_leaves_nothing_behind(tmp_path: Path) -> None:
    """After a write that could not get its name the directory holds what it held."""
    store, ref = FileStore(), ObjectRef("file", "", str(tmp_path), "x")
    store.put(ref, b"first")
    with pytest.raises(errors.AlreadyExists):
        store.put(ref, b"second", PutOptions(PutCondition(if_absent=True)))
    (tmp_path / "dir").mkdir()
    with pytest.raises(errors.FileError):
        store.put(ObjectRef("file", "", str(tmp_path), "dir"), b"x")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["dir", "x"]


def test_names_are_reserved_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system has no hard links a write that demands absence still replaces nothing."""

    def no_links(*_args: object, **_kwargs: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    store, ref = FileStore(), ObjectRef("file", "", str(tmp_path), "x")
    only_new = PutOptions(PutCondition(if_absent=True))
    store.put(ref, b"first", only_new)
    with pytest.raises(errors.AlreadyExists):
        store.put(ref, b"second", only_new)
    assert (tmp_path / "x").read_bytes() == b"first"


def test_a_new_file_has_the_users_mode(tmp_path: Path) -> None:
    """Results are readable as the umask says, not as a temporary file's."""
    FileStore().put(ObjectRef("file", "", str(tmp_path), "x"), b"x")
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / "x").stat().st_mode == plain.stat().st_mode


components = st.text("ab-.0é\x01", min_size=1, max_size=3).filter(lambda text: text not in {".", ".."})
object_names = st.lists(components, min_size=1, max_size=3).map("/".join)


@settings(deadline=None, max_examples=60)
@given(st.sets(object_names, max_size=12), st.text("ab/-", max_size=3))
def test_a_directory_lists_like_a_bucket(names: set[str], prefix: str) -> None:
    """Whatever names lie in a directory, its listing is what a bucket of the same names would show."""
    kept = {name for name in names if not any(other.startswith(f"{name}/") for other in names)}
    buckets, files = MemoryStore(), FileStore()
    with tempfile.TemporaryDirectory() as root:
        for name in kept:
            path = Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            buckets.put(ObjectRef("memory", "", "b", name), b"")
        if "//" in prefix or prefix.startswith("/"):
            return
        for recursive in (True, False):
            listed = [info.ref.name for info in files.list(ObjectRef("file", "", root, prefix), recursive=recursive)]
            expected = buckets.list(ObjectRef("memory", "", "b", prefix), recursive=recursive)
            assert listed == [info.ref.name for info in expected]
