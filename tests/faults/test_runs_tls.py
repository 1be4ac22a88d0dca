"""A run store behind TLS: what the URL says of it holds for every connection."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import Postgres
from private_ca import make_private_ca

from hypersdk import errors
from hypersdk.runs.store import RunStore


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ca")
    make_private_ca(folder)
    return folder


@pytest.fixture(scope="module")
def server(authority: Path) -> Iterator[Postgres]:
    """A server with a certificate of a private authority, which takes encrypted connections only."""
    with Postgres() as server:
        data = server.folder / "data"
        for name in ("server.crt", "server.key"):
            target = data / name
            shutil.copy(authority / "server.pem", target)
            target.chmod(0o600)
            shutil.chown(target, data.owner(), data.group())
        server.execute("alter system set ssl = on")
        server.execute("create database runs", "select pg_reload_conf()")
        rules = data / "pg_hba.conf"
        rules.write_text("hostssl runs all 127.0.0.1/32 trust\nhost postgres all 127.0.0.1/32 trust\n")
        server.stop()
        server.start()
        yield server


def test_a_verified_connection_is_used_for_reads_writes_and_beats(server: Postgres, authority: Path) -> None:
    """`sslmode=verify-full` with the authority's certificate: every session of ours is encrypted."""
    url = f"{server.url('runs')}?sslmode=verify-full&sslrootcert={authority}/ca.pem"
    with RunStore(url, host="host", version="1") as store:
        run = store.begin("key", 1, "web", {})
        with store.drive(run.run_id) as drive:
            drive.start_step("a")
            ours = "from pg_stat_ssl join pg_stat_activity using (pid) where application_name = 'hyperexport'"
            assert set(server.execute(f"select ssl {ours}")) == {(True,)}


@pytest.mark.parametrize("parameters", ["sslmode=disable", "sslmode=verify-full&sslrootcert={}"])
def test_a_connection_that_is_not_as_asked_for_is_refused(server: Postgres, parameters: str, tmp_path: Path) -> None:
    """Another authority, or no encryption where the server wants it: exit 2, with what libpq says."""
    make_private_ca(tmp_path)
    url = f"{server.url('runs')}?{parameters.format(tmp_path / 'ca.pem')}"
    with pytest.raises(errors.ConfigError, match=r"cannot be reached: .*(no encryption|SSL error)"):
        RunStore(url, host="host", version="1")
