"""A real PostgreSQL server on loopback for tests: started by the test process, gone with it."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import psycopg

SECONDS = 30.0
USER = "postgres"
UNSAFE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""Quick, and good enough where the server does not crash."""

PR_SET_PDEATHSIG = 1


class Postgres:
    """A server with a directory of its own; the server refuses root, so root runs it as the user `postgres`.

    Args:
        durable: keep what was committed through a crash of the server.
        settings: further settings of the server.
    """

    def __init__(self, *, durable: bool = False, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hx-pg-", dir="/tmp"))
        self.port = _free_port()
        self._settings = {**({} if durable else UNSAFE), **settings}
        self._owner = pwd.getpwnam(USER) if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        if self._owner:
            os.chown(self.folder, self._owner.pw_uid, self._owner.pw_gid)

    def __enter__(self) -> Self:
        try:
            self._make()
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_details: object) -> None:
        self.remove()

    def start(self) -> None:
        """Start it and wait until it answers."""
        words = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": str(self.folder)}
        options = [f"-c{name}={value}" for name, value in {**words, "max_connections": "200", **self._settings}.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = self._start("postgres", "-D", "data", *options, out=log)
        end = time.monotonic() + SECONDS
        while True:
            try:
                self.admin().close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < end, (self.folder / "log").read_text()
                time.sleep(0.02)
            else:
                return

    def stop(self, *, crash: bool = False) -> None:
        """Stop it and cut every connection; `crash` = without a word to anybody, as a power cut does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if crash else signal.SIGINT)
            self._process.wait(SECONDS)
            self._process = None

    def remove(self) -> None:
        """Stop it and take away its files."""
        self.stop(crash=True)
        shutil.rmtree(self.folder)

    @property
    def pid(self) -> int:
        """The process that accepts connections."""
        assert self._process is not None
        return self._process.pid

    def admin(self, database: str = USER) -> psycopg.Connection[Any]:
        """A connection of the superuser; every statement is a transaction."""
        return psycopg.connect(self.url(database), autocommit=True, connect_timeout=5)

    def execute(self, *statements: str, database: str = USER) -> list[Any]:
        """Run statements as the superuser; answers the rows of the last one."""
        with self.admin(database) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def url(self, database: str, user: str = USER) -> str:
        """Where a database is."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """The URL of a new, empty database."""
        self._databases += 1
        name = f"test_{os.getpid()}_{self._databases}"
        self.execute(f"create database {name}")
        return self.url(name)

    def _make(self) -> None:
        made = self._start("initdb", "-D", "data", "-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C", "--no-sync")
        assert made.wait(SECONDS) == 0, "initdb failed"

    def _start(self, program: str, *arguments: str, out: Any = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        owner = self._owner
        return subprocess.Popen(
            [str(_binaries() / program), *arguments],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the tests
            user=owner and owner.pw_uid,
            group=owner and owner.pw_gid,
            extra_groups=owner and os.getgrouplist(USER, owner.pw_gid),
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, takes no lock
        )


def _free_port() -> int:
    # The server cannot be asked for port 0; nobody gets this number from the kernel again so soon.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    # After setuid, which would clear it. A test process that is killed leaves no server behind.
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    on_path = shutil.which("initdb")
    assert found or on_path, "PostgreSQL is not installed (Debian: postgresql)"
    return found[-1] if found else Path(str(on_path)).parent
