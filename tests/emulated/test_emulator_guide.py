"""`hyperexport emulator` as people and programs meet it: what it prints is run, word for word."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from emulator import Seed, make_seed
from guided import StartGuided, end, start_guided

from hypersdk.cli.emulator import command as emulator_command
from hypersdk_emulator.__main__ import parser

__all__ = ["start_guided"]


def test_a_bare_start_just_works(start_guided: StartGuided, tmp_path: Path) -> None:
    """Without any option: the printed lines lead SDK and hyperexport to a small cloud; after Ctrl-C nothing is left."""
    started = start_guided()
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


def test_a_program_reads_one_line(start_guided: StartGuided) -> None:
    """With --quiet nothing but the JSON line is printed; it names what a program needs."""
    started = start_guided("--quiet", "--pace", "0")
    assert started.told == ""
    assert started.ready.keys() >= {"endpoint", "token", "ca", "state", "config"}
    assert started.ready["config"] is None


def test_the_configuration_beside_a_seed_is_taken_over_tls(start_guided: StartGuided, tmp_path: Path) -> None:
    """A seed with users whose `config` lies beside it: the printed SDK line works, over TLS with the private CA."""
    seed = make_seed(tmp_path / "seed", instances=("db-01",))
    started = start_guided("--seed", str(seed.path), "--tls", "--pace", "0")
    assert started.ready["endpoint"].startswith("https://")
    (sdk,) = started.tries('python -c "import oci')
    assert started.run(sdk).strip() == seed.namespace
    assert "db-01" in started.run("hyperexport instances list")


def without_users(seed: Seed) -> Seed:
    """The seed as one that names no users, with no configuration beside it."""
    seed.path.write_text(json.dumps({name: value for name, value in seed.value.items() if name != "users"}))
    seed.config_file.unlink()
    return seed


def test_a_key_is_made_where_the_seed_names_no_users(start_guided: StartGuided, tmp_path: Path) -> None:
    """A generated user signs; on the same state it is the same user again, at the new endpoint."""
    seed = without_users(make_seed(tmp_path / "seed", instances=("db-01",)))
    words = ("--seed", str(seed.path), "--state", str(tmp_path / "state"))
    first = start_guided(*words)
    assert "db-01" in first.run("hyperexport instances list")
    config = Path(first.ready["config"]).read_text()
    assert end(first) == 0
    second = start_guided(*words)
    assert Path(second.ready["config"]).read_text() == config
    assert "db-01" in second.run("hyperexport instances list")


def test_users_with_keys_elsewhere_keep_them(start_guided: StartGuided, tmp_path: Path) -> None:
    """Nobody gets a key of ours if the seed's users have their own: the lines then lead to the endpoint only."""
    seed = make_seed(tmp_path / "seed")
    seed.config_file.unlink()
    started = start_guided("--seed", str(seed.path))
    endpoint, token = started.ready["endpoint"], started.ready["token"]
    assert started.exports() == f"export OCI_CLI_ENDPOINT={endpoint}\nexport OCI_EMULATOR_TOKEN={token}"
    assert started.tries("") == []
    assert started.ready["config"] is None


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_what_somebody_else_uses_ends_the_start_with_one_line(start_guided: StartGuided, tmp_path: Path) -> None:
    """A taken port and a state in use are named in one line, with exit status 2."""
    with taken_port() as port:
        refused = start_guided("--port", str(port))
        assert end(refused) == 2
    start_guided("--state", str(tmp_path / "state"))
    twice = start_guided("--state", str(tmp_path / "state"))
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
