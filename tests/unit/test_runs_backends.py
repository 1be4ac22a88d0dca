"""What differs between the databases of a run store: names that people see, meanings of errors, who is surely dead."""

import os
import pickle
import signal
import sqlite3
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from hypersdk import errors
from hypersdk.config import load_config
from hypersdk.runs.lease import Keeper, KeptLease, surely_dead, this_process
from hypersdk.runs.postgres import PostgresBackend
from hypersdk.runs.sqlite import SqliteBackend
from hypersdk.runs.store import RunStore

SECRET = "hunter2"


def open_store(place: str) -> None:
    RunStore(place, host="host", version="1").close()


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://u:hunter2@db:5433/runs?sslmode=require", "postgresql://u@db:5433/runs"),
        ("postgresql://u@db/runs?password=hunter2", "postgresql://u@db/runs"),
        ("postgres://db1:1,db2:2/runs?target_session_attrs=read-write", "postgresql://db1,db2:1,2/runs"),
        ("postgresql:///runs?host=/var/run/postgresql", "postgresql:///var/run/postgresql/runs"),
    ],
)
def test_every_url_of_libpq_is_read_and_shown_without_its_password(url: str, place: str) -> None:
    """Several hosts, sockets, parameters: libpq reads them; people see where it is, never the password."""
    backend = PostgresBackend(url)
    assert backend.place == place
    assert SECRET not in repr(backend.engine.url)
    backend.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@db:port/runs",
        "postgresql://u:hunter2@[::1/runs",
        "postgresql://u:hunter2@db/runs?sslmod=require",
        "postgresql://u:hunt%er2@db/runs",
        "postgresql://u:s@hunter2@db/runs",
        "postgresql://u:s/hunter2@db/runs",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_being_quoted(url: str) -> None:
    """One line, exit 2, that says how such a URL looks; the password that may stand in it is not repeated."""
    with pytest.raises(errors.ConfigError, match="postgresql://user:password@host") as caught:
        open_store(url)
    assert "hunt" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("url", ["mysql://u:hunter2@db/runs", "postgresq://u:hunter2@db/runs"])
def test_another_kind_of_database_is_refused(url: str) -> None:
    """What it could be is said."""
    with pytest.raises(errors.ConfigError, match=r"no such kind of database.*a path, or postgresql://") as caught:
        open_store(url)
    assert SECRET not in str(caught.value)


def test_a_missing_psycopg_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package to install is named; nothing of the URL is."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(errors.ConfigError, match=r"pip install 'hypersdk\[fleet\]'") as caught:
        open_store("postgresql://u:hunter2@db/runs")
    assert SECRET not in str(caught.value)


def test_config_show_hides_the_url_of_the_store() -> None:
    """`config show` says that it is a database, and nothing more."""
    config = load_config(environ={"HYPEREXPORT_STATE": "postgresql://u:hunter2@db/runs"}, home="/nowhere")
    assert [line.value for line in config.shown if line.key == "state"] == ["postgresql://***"]


def sqlite_error(code: int) -> sa.exc.OperationalError:
    cause = sqlite3.OperationalError("said so")
    cause.sqlite_errorcode = code
    error = sa.exc.OperationalError("select", {}, cause)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_FULL, errors.DiskFull),
        (sqlite3.SQLITE_BUSY, errors.StoreUnreachable),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, errors.StoreUnreachable),
        (sqlite3.SQLITE_READONLY, errors.ConfigError),
        (sqlite3.SQLITE_IOERR_LOCK, errors.ConfigError),
        (sqlite3.SQLITE_CORRUPT, errors.ConfigError),
    ],
)
def test_errors_of_sqlite_are_told_by_their_number(
    tmp_path: object, code: int, kind: type[errors.HypersdkError]
) -> None:
    """Never by their text: what passes, what needs room, what cannot be used."""
    backend = SqliteBackend(f"{tmp_path}/runs.sqlite")
    assert type(backend.explain(sqlite_error(code))) is kind
    backend.close()


class FromServer(Exception):
    """As psycopg's."""

    sqlstate: str | None = None


def postgres_error(state: str | None, *, cut: bool = False) -> sa.exc.DBAPIError:
    cause = FromServer("said so")
    cause.sqlstate = state
    kind = sa.exc.OperationalError if state is None else sa.exc.DBAPIError
    error = kind("select", {}, cause, connection_invalidated=cut)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (None, errors.StoreUnreachable),
        ("57P01", errors.StoreUnreachable),
        ("57P03", errors.StoreUnreachable),
        ("08006", errors.StoreUnreachable),
        ("40001", errors.StoreUnreachable),
        ("40P01", errors.StoreUnreachable),
        ("53300", errors.StoreUnreachable),
        ("55P03", errors.StoreUnreachable),
        ("25006", errors.StoreUnreachable),
        ("25P03", errors.StoreUnreachable),
        ("53100", errors.DiskFull),
        ("42501", errors.ConfigError),
        ("42P01", errors.ConfigError),
        ("22P02", errors.ConfigError),
    ],
)
def test_errors_of_postgres_are_told_by_their_state(state: str | None, kind: type[errors.HypersdkError]) -> None:
    """What passes is waited for, also a standby, a deadlock, too many connections; a missing right is told."""
    backend = PostgresBackend("postgresql://db/runs")
    found = backend.explain(postgres_error(state))
    assert type(found) is kind
    assert type(pickle.loads(pickle.dumps(found))) is kind
    if kind is errors.ConfigError:
        assert type(backend.explain(postgres_error(state, cut=True))) is errors.StoreUnreachable
    backend.close()


def test_a_process_is_surely_dead_only_where_its_kernel_says_so() -> None:
    """A living one is not, nor one of another boot, namespace or unknown origin; one that is gone or a zombie is."""
    mine = this_process("nonce")
    assert not surely_dead(mine)
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    machine, _, _, nonce = mine.rsplit("/", 3)
    started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    child = f"{machine}/{pid}/{started}/{nonce}"
    try:
        assert not surely_dead(child)
        assert surely_dead(f"{machine}/{pid}/1/{nonce}")
    finally:
        os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while not surely_dead(child):
        assert time.monotonic() < end, "a zombie counts as living"
    os.waitpid(pid, 0)
    assert surely_dead(child)
    for other in (child.replace(machine, "other/pid:[1]"), "", "///", f"{machine}//{nonce}"):
        assert not surely_dead(other), other


def test_the_keeper_beats_while_there_are_leases() -> None:
    """It survives a store that is away, says so, beats on when it is back, and ends with the last lease."""
    beats: list[int] = []
    away = [True]

    def beat(kept: object) -> None:
        beats.append(len(kept))
        if away[0]:
            raise (errors.StoreUnreachable if len(beats) % 2 else RuntimeError)("away")

    keeper = Keeper(beat, every=0.005)
    leases = [KeptLease(f"{number}", 1, keeper.remove) for number in range(2)]
    for lease in leases:
        keeper.add(lease)
    wait(lambda: 2 in beats and keeper.trouble is not None)
    away[0] = False
    wait(lambda: keeper.trouble is None)
    assert keeper.silent_for() < 5
    leases[0].lost_to = "somebody"
    with pytest.raises(errors.LeaseLost, match="driven by somebody now"):
        leases[0].beat(None)
    wait(lambda: beats[-1] == 1)
    thread = keeper._thread
    for lease in leases:
        lease.release()
    keeper.close()
    assert not thread.is_alive()
    assert not leases[1].beat({"percent": 1})


def wait(true: object) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)
