"""The command with its run store in PostgreSQL: the same as with a file, also when the server goes away."""

import functools
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulator import Emulator, make_seed
from hyperexport import Hyperexport, Running
from kills import wait_until
from postgres import Postgres

from hypersdk.exports import landing

PASSWORD = "s3cret-of-the-store"
NAMES = [f"vm-{number}" for number in range(8)]
"""An instance for each test: the cloud makes one image of an instance in twenty minutes."""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("cloud")
    seed = make_seed(folder / "seed", instances=dict.fromkeys(NAMES, "STOPPED"), disks=1)
    emulator = Emulator(seed, folder / "state").start()
    yield emulator
    emulator.stop()


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A server of our own: it is stopped here, and asks one role for its password."""
    with Postgres(durable=True) as server:
        rules = server.folder / "data" / "pg_hba.conf"
        rules.write_text(f"host all asks 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        server.execute("select pg_reload_conf()", f"create role asks login password '{PASSWORD}'")
        yield server


class Command(Hyperexport):
    """The command, an instance of its own, and what it started."""

    def __init__(self, cloud: Emulator, folder: Path, name: str) -> None:
        super().__init__(cloud, folder)
        self.name = name
        self.export = ("export", self.name, "-o", "./", "-bn", "exports")
        self.started: list[Running] = []

    def start_held(self) -> tuple[str, Running]:
        """Start an export and wait until the emulator holds its first byte back; the fault's id, and the command."""
        fault = self.emulator.fault("GetObject", "hold")
        self.started.append(running := self.start(*self.export))
        held = functools.partial(self._is_held, running)
        wait_until(held, "it never fetched anything")
        return str(fault["id"]), running

    def _is_held(self, running: Running) -> bool:
        assert not running.ended(), running.err
        return any(each["holding"] for each in self.emulator.faults())


@pytest.fixture
def hyper(cloud: Emulator, server: Postgres, names: list[str], tmp_path: Path) -> Iterator[Command]:
    hyper = Command(cloud, tmp_path, names.pop())
    hyper.environ["HYPEREXPORT_STATE"] = server.database()
    yield hyper
    for running in hyper.started:
        running.kill()


@pytest.fixture(scope="module")
def names() -> list[str]:
    return list(NAMES)


def with_password(hyper: Command, password: str) -> None:
    url = hyper.environ["HYPEREXPORT_STATE"]
    hyper.environ["HYPEREXPORT_STATE"] = url.replace("postgres@", f"asks:{password}@")


def images(cloud: Emulator) -> int:
    """How many images were made so far."""
    return sum(entry["operation"] == "CreateImage" for entry in cloud.log())


def test_an_export_is_remembered_in_the_database(hyper: Command) -> None:
    """`runs list` on an empty database, `export`, the same again, `runs list`: no store lies in the home."""
    assert "no runs in postgresql://" in hyper.run("runs", "list").err
    first = hyper.run(*hyper.export)
    assert first.code == 0, first.err
    assert "exported this at" in hyper.run(*hyper.export).err
    (run,) = hyper.run("runs", "list", "--json").json["runs"]
    assert (run["instance_name"], run["state"]) == (hyper.name, "done")
    assert not list(hyper.folder.rglob("runs.sqlite*"))


def test_an_export_goes_on_through_an_outage_of_its_store(hyper: Command, server: Postgres, cloud: Emulator) -> None:
    """The server stops while bytes move: they move on, the next step waits and says so, one image, exit 0."""
    before = images(cloud)
    fault, running = hyper.start_held()
    server.stop()
    cloud.control("POST", "release", {"id": fault})
    wait_until(lambda: "waiting: the run store postgresql://postgres@127.0.0.1" in running.err, "it never waited")
    server.start()
    ended = running.wait()
    assert ended.code == 0, ended.err
    assert images(cloud) == before + 1
    assert not any(cloud.control("GET", "leftovers").values())
    assert [run["state"] for run in hyper.run("runs", "list", "--json").json["runs"]] == ["done"]


def test_ctrl_c_ends_an_export_whose_store_is_away(hyper: Command, server: Postgres, cloud: Emulator) -> None:
    """It does not wait for the store then: exit 130, and the same command resumes when it is back."""
    before = images(cloud)
    fault, running = hyper.start_held()
    server.stop()
    cloud.control("POST", "release", {"id": fault})
    wait_until(lambda: "waiting: the run store" in running.err, "it never waited")
    running.signal(signal.SIGINT)
    ended = running.wait()
    assert ended.code == 130, ended.err
    server.start()
    again = hyper.run(*hyper.export)
    assert again.code == 0, again.err
    assert "is resumed" in again.err
    assert images(cloud) == before + 1


def test_a_killed_export_is_resumed_at_once(hyper: Command, cloud: Emulator) -> None:
    """Kill -9, the same command a moment later: on the same machine nobody waits for a lease to end."""
    before = images(cloud)
    _, running = hyper.start_held()
    busy = hyper.run(*hyper.export)
    assert (busy.code, "is driven by" in busy.err) == (6, True)
    running.kill()
    cloud.control("DELETE", "faults")
    again = hyper.run(*hyper.export)
    assert again.code == 0, again.err
    assert images(cloud) == before + 1


def test_a_suspended_export_that_was_replaced_leaves_and_cleans_nothing_up(
    hyper: Command, server: Postgres, cloud: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP, another process goes on, SIGCONT: the first one says who drives it, exit 1; the other ends the run."""
    monkeypatch.setattr(landing, "IN_USE_EVERY", 0.2)
    before = images(cloud)
    fault, first = hyper.start_held()
    first.signal(signal.SIGSTOP)
    database = hyper.environ["HYPEREXPORT_STATE"].rpartition("/")[2]
    server.execute("update leases set held = false", database=database)  # as if its time had passed
    cloud.control("POST", "release", {"id": fault})
    hyper.started.append(second := hyper.start(*hyper.export))
    # The first one still has the partial file open.
    wait_until(lambda: "waiting: " in second.err, "it never waited")
    first.signal(signal.SIGCONT)
    ended = first.wait()
    assert ended.code == 1, ended.err
    assert "is driven by" in ended.err
    ended = second.wait()
    assert ended.code == 0, ended.err
    assert images(cloud) == before + 1
    assert (hyper.folder / f"{hyper.name}.qcow2").exists()
    (run,) = hyper.run("runs", "list", "--json").json["runs"]
    assert run["state"] == "done"


def test_a_store_that_is_away_is_told_before_the_first_call(hyper: Command, server: Postgres) -> None:
    """C082: exit 2, the setting is named, nothing is sent to the cloud, no password is shown, not even by --debug."""
    with_password(hyper, PASSWORD)
    mark = len(hyper.emulator.log())
    server.stop()
    try:
        for line in (hyper.export, ("runs", "list"), (*hyper.export, "--debug")):
            ended = hyper.run(*line)
            assert ended.code == 2, ended.err
            assert "cannot be reached" in ended.err
            assert "HYPEREXPORT_STATE" in ended.err
            assert PASSWORD not in ended.err + ended.out
    finally:
        server.start()
    assert len(hyper.emulator.log()) == mark


def test_a_password_is_shown_nowhere(hyper: Command, server: Postgres) -> None:
    """Right or wrong, in no line of any command, in no row of the database, in no file."""
    server.execute(f"grant all on database {hyper.environ['HYPEREXPORT_STATE'].rpartition('/')[2]} to asks")
    server.execute("grant all on schema public to asks", database=hyper.environ["HYPEREXPORT_STATE"].rpartition("/")[2])
    right = dict(hyper.environ)
    with_password(hyper, PASSWORD)
    for line in (
        ("runs", "list"),
        hyper.export,
        ("runs", "list", "-v"),
        ("config", "show"),
        ("runs", "list", "--debug"),
    ):
        ended = hyper.run(*line)
        assert ended.code == 0, ended.err
        assert PASSWORD not in ended.err + ended.out, line
    database = right["HYPEREXPORT_STATE"].rpartition("/")[2]
    tables = server.execute("select tablename from pg_tables where schemaname = 'public'", database=database)
    assert tables
    for (table,) in tables:
        assert PASSWORD not in json.dumps(server.execute(f"select {table}::text from {table}", database=database))
    for path in hyper.folder.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes()
    hyper.environ.update(right)
    with_password(hyper, "wr0ng-guess")
    ended = hyper.run("runs", "list", "--debug")
    assert (ended.code, "wr0ng-guess" in ended.err) == (2, False)
    assert "password authentication failed" in ended.err


def test_a_role_without_rights_is_told_what_it_needs(hyper: Command, server: Postgres) -> None:
    """No right to make tables: exit 2 and the rights; once somebody else made them, reading and writing is enough."""
    url = hyper.environ["HYPEREXPORT_STATE"]
    database = url.rpartition("/")[2]
    with_password(hyper, PASSWORD)
    ended = hyper.run("runs", "list")
    assert ended.code == 2
    assert "the role needs CREATE on the schema once" in ended.err
    assert hyper.run("runs", "list", environ={"HYPEREXPORT_STATE": url}).code == 0
    granted = "grant select, insert, update, delete on all tables in schema public to asks"
    server.execute(granted, "grant usage on all sequences in schema public to asks", database=database)
    ended = hyper.run(*hyper.export)
    assert ended.code == 0, ended.err
