"""What only a run store in a file has: modes of files, files that are no store (the rest: tests/conformance)."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from hypersdk import errors
from hypersdk.runs.store import RunStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "runs.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[RunStore]:
    with RunStore(path, host="host", version="1") as store:
        yield store


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_for_their_owner_only(store: RunStore, path: Path) -> None:
    """Directory 0700, database and its companions 0600."""
    store.begin("key", 1, "web", {})
    assert mode(path.parent) == 0o700
    assert {mode(file) for file in path.parent.glob("runs.sqlite*") if file.is_file()} == {0o600}


def test_run_ids_differ_between_stores(store: RunStore, tmp_path: Path) -> None:
    """Two machines with the same question never share a run's names, so neither deletes the other's things."""
    with RunStore(tmp_path / "other.sqlite", host="host", version="1") as other:
        assert store.run_id("key", 1) != other.run_id("key", 1)
    assert store.run_id("key", 1) == store.run_id("key", 1)
    assert store.run_id("key", 1) != store.run_id("key", 2)


@pytest.mark.parametrize("content", [b"not a database, but longer than a header has to be" * 20, None])
def test_an_unusable_store_names_the_setting(tmp_path: Path, content: bytes | None) -> None:
    """A file that is no database, or a directory, is a configuration error that names HYPEREXPORT_STATE. (C082)"""
    path = tmp_path / "runs"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(errors.ConfigError, match="HYPEREXPORT_STATE"):
        RunStore(path, host="host", version="1")


def test_an_address_is_not_taken_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database's URL of an unknown kind is refused instead of becoming a directory of that name."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.ConfigError, match="no such kind of database"):
        RunStore("mysql://db/runs", host="host", version="1")
    assert list(tmp_path.iterdir()) == []
