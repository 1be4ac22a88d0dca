"""`hyperexport emulator` as people and programs meet it: what it prints is run, word for word."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from emulator import Seed, make_seed

from hypersdk.cli.emulator import command as emulator_command
from hypersdk_emulator.__main__ import parser

BIN = Path(sys.executable).parent
READY_SECONDS = 30
OURS = re.compile(r"OCI_|HYPEREXPORT_|XDG_|AWS_|RCLONE_|.*proxy$|REQUESTS_CA_BUNDLE$|SSL_CERT_FILE$", re.IGNORECASE)


@dataclass(frozen=True)
class Started:
    """A started emulator: its JSON line, and what it told people."""

    ready: dict[str, str]
    told: str
    process: subprocess.Popen[str]
    environ: dict[str, str]

    def exports(self) -> str:
        """The variables, as printed."""
        return "\n".join(re.findall(r"^  (export .*)$", self.told, re.MULTILINE))

    def tries(self, program: str) -> list[str]:
        """The commands to try that begin with a word."""
        return [line for line in re.findall(r"^  \$ (.*)$", self.told, re.MULTILINE) if line.startswith(program)]

    def run(self, line: str) -> str:
        """Set the variables, run a printed line, and return its output; it must work."""
        script = f"{self.exports()}\n{line}"
        done = subprocess.run(["bash", "-c", script], env=self.environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout


Start = Callable[..., Started]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `hyperexport emulator` with these words, in an environment without any cloud; ended by Ctrl-C."""
    home = tmp_path / "home"
    home.mkdir()
    environ = {name: value for name, value in os.environ.items() if not OURS.match(name)}
    environ |= {"HOME": str(home), "TMPDIR": str(tmp_path), "PATH": f"{BIN}:{os.environ['PATH']}"}
    started: list[Started] = []

    def begin(*words: str) -> Started:
        command = [str(BIN / "hyperexport"), "emulator", *words]
        with (tmp_path / f"told-{len(started)}").open("w+") as told:
            process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=told, text=True)
            assert process.stdout is not None
            line = process.stdout.readline()
            told.seek(0)
            started.append(Started(json.loads(line or "{}"), told.read(), process, environ))
        return started[-1]

    yield begin
    for each in started:
        end(each)


def end(started: Started) -> int:
    """Ctrl-C, and the exit status."""
    process = started.process
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    status = process.wait(READY_SECONDS)
    assert process.stdout is not None
    process.stdout.close()
    return status


def test_a_bare_start_just_works(start: Start, tmp_path: Path) -> None:
    """Without any option: the printed lines lead SDK and hyperexport to a small cloud; after Ctrl-C nothing is left."""
    started = start()
    (sdk,) = started.tries('python -c "import oci')
    assert started.run(sdk).strip() == "rehearsal"
    (ours,) = started.tries("hyperexport")
    assert {"web-01", "web-02"} <= set(started.run(ours).split())
    state = Path(started.ready["state"])
    assert (state / "client" / "env.sh").read_text().splitlines() == started.exports().splitlines()
    assert (state / "client" / "config").stat().st_mode & 0o077 == 0
    assert state.parent == tmp_path
    assert end(started) == 0
    assert not state.exists()


def test_a_program_reads_one_line(start: Start) -> None:
    """With --quiet nothing but the JSON line is printed; it names what a program needs."""
    started = start("--quiet", "--pace", "0")
    assert started.told == ""
    assert started.ready.keys() >= {"endpoint", "token", "ca", "state", "config"}
    assert started.ready["config"] is None


def test_the_configuration_beside_a_seed_is_taken_over_tls(start: Start, tmp_path: Path) -> None:
    """A seed with users whose `config` lies beside it: the printed SDK line works, over TLS with the private CA."""
    seed = make_seed(tmp_path / "seed", instances=("db-01",))
    started = start("--seed", str(seed.path), "--tls", "--pace", "0")
    assert started.ready["endpoint"].startswith("https://")
    (sdk,) = started.tries('python -c "import oci')
    assert started.run(sdk).strip() == seed.namespace
    assert "db-01" in started.run("hyperexport instances list")


def without_users(seed: Seed) -> Seed:
    """The seed as one that names no users, with no configuration beside it."""
    seed.path.write_text(json.dumps({name: value for name, value in seed.value.items() if name != "users"}))
    seed.config_file.unlink()
    return seed


def test_a_key_is_made_where_the_seed_names_no_users(start: Start, tmp_path: Path) -> None:
    """A generated user signs; on the same state it is the same user again, at the new endpoint."""
    seed = without_users(make_seed(tmp_path / "seed", instances=("db-01",)))
    words = ("--seed", str(seed.path), "--state", str(tmp_path / "state"))
    first = start(*words)
    assert "db-01" in first.run("hyperexport instances list")
    config = Path(first.ready["config"]).read_text()
    assert end(first) == 0
    second = start(*words)
    assert Path(second.ready["config"]).read_text() == config
    assert "db-01" in second.run("hyperexport instances list")


def test_users_with_keys_elsewhere_keep_them(start: Start, tmp_path: Path) -> None:
    """Nobody gets a key of ours if the seed's users have their own: the lines then lead to the endpoint only."""
    seed = make_seed(tmp_path / "seed")
    seed.config_file.unlink()
    started = start("--seed", str(seed.path))
    assert started.exports() == f"export OCI_CLI_ENDPOINT={started.ready['endpoint']}"
    assert started.tries("") == []
    assert started.ready["config"] is None


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_what_somebody_else_uses_ends_the_start_with_one_line(start: Start, tmp_path: Path) -> None:
    """A taken port and a state in use are named in one line, with exit status 2."""
    with taken_port() as port:
        refused = start("--port", str(port))
        assert end(refused) == 2
    start("--state", str(tmp_path / "state"))
    twice = start("--state", str(tmp_path / "state"))
    assert end(twice) == 2
    told = [(tmp_path / name).read_text().splitlines() for name in ("told-0", "told-2")]
    assert [len(lines) for lines in told] == [1, 1]
    assert f"address ('127.0.0.1', {port})" in told[0][0]
    assert told[1][0] == f"hypersdk_emulator: another emulator uses {tmp_path / 'state'}"


def test_the_command_has_the_emulators_options() -> None:
    """`hyperexport emulator` has every option of `python -m hypersdk_emulator` that a person needs, and no other."""
    ours = {name for parameter in emulator_command.params for name in parameter.opts}
    theirs = {name for action in parser()._actions for name in action.option_strings}
    for_programs = {"--demo", "--guide", "-h", "--help", "--body-timeout", "--idle-timeout"}
    assert all(isinstance(parameter, click.Option) for parameter in emulator_command.params)
    assert ours - {"-q", "--quiet"} == theirs - for_programs
