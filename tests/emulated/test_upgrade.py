"""A newer hypersdk and the run store of an older one, with a run that was under way (tests/data/runs/record.py)."""

import sqlite3
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest
from emulator import NAMESPACE, REGION, TENANCY, Emulator, instance_id, make_seed
from hyperexport import Hyperexport

from hypersdk.exports.options import ExportOptions
from hypersdk.exports.plan import Surroundings, run_key
from hypersdk.runs import schema
from hypersdk.runs.store import RunStore

VERSION_1 = Path(__file__).parents[1] / "data" / "runs" / "version-1.sql"
RECORDED_IN = "/srv/exports"
"""Where the older program exported to."""

UNFINISHED, FINISHED = "d9f9ad2ec58a", "291126d0d652"


def make_old(path: Path, folder: str = RECORDED_IN) -> None:
    """The older store, as if its program had run in another folder."""
    text = VERSION_1.read_text().replace(key("web-01", RECORDED_IN), key("web-01", folder))
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with closing(sqlite3.connect(path)) as database:
        database.executescript(text.replace(RECORDED_IN, folder))


def key(name: str, folder: str) -> str:
    around = Surroundings(TENANCY, REGION, NAMESPACE, "exports", folder, date(2026, 1, 1), "host")
    return run_key(instance_id(name), ExportOptions(output_dir="./", bucket="exports"), around)


def shape(path: Path) -> dict[str, set[str]]:
    """Tables and indexes, and what they have."""
    with closing(sqlite3.connect(path)) as database:
        names = database.execute("select name from sqlite_master where name not like 'sqlite_%'").fetchall()
        return {name: {row[1] for row in database.execute(f"pragma table_info({name})")} for (name,) in names}


def test_the_same_command_is_the_same_run_as_in_the_older_version() -> None:
    """What makes two commands the same export has not changed: else a run under way would be begun anew."""
    assert key("web-01", RECORDED_IN) in VERSION_1.read_text()


def test_an_older_store_becomes_what_a_new_one_is(tmp_path: Path) -> None:
    """The same tables, columns and indexes; what was in it is there; it happens once."""
    make_old(tmp_path / "old.sqlite")
    for _ in range(2):
        with RunStore(tmp_path / "old.sqlite", host="vm", version="9") as store:
            assert {run.run_id for run in store.runs()} == {UNFINISHED, FINISHED}
            assert len(store.steps(FINISHED)) == 10
            assert store.intents(FINISHED, open_only=True) == []
            (intent,) = store.intents(UNFINISHED, open_only=True)
            assert (intent.kind, intent.resource_id) == ("image", None)
            assert store.run(UNFINISHED).options == {}
    RunStore(tmp_path / "new.sqlite", host="vm", version="9").close()
    assert shape(tmp_path / "old.sqlite") == shape(tmp_path / "new.sqlite")
    with closing(sqlite3.connect(tmp_path / "old.sqlite")) as database:
        rows = database.execute("select number, tool_version from migrations order by number").fetchall()
    assert rows == [(1, None), (schema.VERSION, "9")]


def test_a_migration_that_is_cut_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the middle, the older store is the older store, and the next command brings it up to date."""
    make_old(tmp_path / "old.sqlite")
    before = shape(tmp_path / "old.sqlite")

    def cut(connection: object) -> None:
        schema._fleets(connection)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(schema, "STEPS_TO_NOW", (schema._first, cut))
        with pytest.raises(KeyboardInterrupt):
            RunStore(tmp_path / "old.sqlite", host="vm", version="9")
    assert shape(tmp_path / "old.sqlite") == before
    with RunStore(tmp_path / "old.sqlite", host="vm", version="9") as store:
        assert len(store.runs()) == 2


def test_a_run_under_way_goes_on_after_the_upgrade(tmp_path: Path) -> None:
    """The older program was killed while it made the image: the same command ends the run under its id, one image."""
    cloud = Emulator(make_seed(tmp_path / "seed", instances=["web-01", "web-02"], disks=1), tmp_path / "cloud").start()
    try:
        hyper = Hyperexport(cloud, tmp_path)
        make_old(tmp_path / "state" / "runs.sqlite", str(tmp_path))
        before = hyper.run("runs", "list", "--json").json["runs"]
        assert {run["run_id"]: run["state"] for run in before} == {UNFINISHED: "interrupted", FINISHED: "done"}
        ended = hyper.run("export", "web-01", "-o", "./", "-bn", "exports")
        assert ended.code == 0, ended.err
        assert f"run {UNFINISHED}" in ended.err
        after = hyper.run("runs", "list", "--json").json["runs"]
        assert {run["run_id"]: run["state"] for run in after} == {UNFINISHED: "done", FINISHED: "done"}
        assert hyper.run("runs", "show", UNFINISHED).code == 0
        assert sum(entry["operation"] == "CreateImage" for entry in cloud.log()) == 1
        assert not any(cloud.control("GET", "leftovers").values())
    finally:
        cloud.stop()
