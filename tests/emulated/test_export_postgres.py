"""The command with its run store in PostgreSQL: the same as with a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from emulator import Emulator, make_seed
from hyperexport import Hyperexport
from postgres import Postgres


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("cloud")
    seed = make_seed(folder / "seed", instances={"web": "STOPPED", "db": "STOPPED"}, disks=1)
    emulator = Emulator(seed, folder / "state").start()
    yield emulator
    emulator.stop()


@pytest.fixture
def hyper(cloud: Emulator, postgres: Postgres, tmp_path: Path) -> Hyperexport:
    hyper = Hyperexport(cloud, tmp_path)
    hyper.environ["HYPEREXPORT_STATE"] = postgres.database()
    return hyper


def test_an_export_is_remembered_in_the_database(hyper: Hyperexport) -> None:
    """`runs list` on an empty database, `export`, the same again, `runs list`: nothing lies in the home but the disk."""
    assert "no runs in postgresql://" in hyper.run("runs", "list").err
    first = hyper.run("export", "web", "-o", "./", "-bn", "exports")
    assert first.code == 0, first.err
    assert "exported this at" in hyper.run("export", "web", "-o", "./", "-bn", "exports").err
    (run,) = hyper.run("runs", "list", "--json").json["runs"]
    assert (run["instance_name"], run["state"]) == ("web", "done")
    assert not list(hyper.folder.rglob("runs.sqlite*"))
