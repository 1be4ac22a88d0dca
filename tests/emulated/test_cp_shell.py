"""`hyperexport cp` as a shell meets it: pipes, readers that go away, a terminal, slips."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from emulator import Emulator, make_seed
from hyperexport import Hyperexport

COMMAND = (sys.executable, "-m", "hypersdk.cli")
Shell = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for this file."""
    folder = tmp_path_factory.mktemp("shell")
    emulator = Emulator(make_seed(folder / "seed", disk_size=4 << 20), folder / "state").start()
    yield emulator
    emulator.stop()


@pytest.fixture
def bucket(cloud: Emulator, request: pytest.FixtureRequest) -> str:
    """The address of an empty bucket, with a "/"."""
    name = f"shell-{zlib.crc32(request.node.name.encode()):08x}"
    body = {"name": name, "compartmentId": cloud.seed.compartment}
    assert cloud.call("POST", f"/n/{cloud.namespace}/b", body).status == 200
    return f"oci://{cloud.namespace}/{name}/"


@pytest.fixture
def shell(cloud: Emulator, tmp_path: Path) -> Shell:
    """Runs a line of shell; `cp` is the command at the emulator, `hx` the bare one."""

    def run(script: str) -> subprocess.CompletedProcess[bytes]:
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
        options = f"--config-file {cloud.config_file} --endpoint {cloud.endpoint}"
        hx = f'hx() {{ {" ".join(COMMAND)} "$@"; }}; cp() {{ hx cp "$@" {options}; }}'
        line = ["bash", "-c", f"set -o pipefail; {hx}; {script}"]
        return subprocess.run(line, env=environ, cwd=tmp_path, timeout=60, check=False, capture_output=True)

    return run


def test_tar_goes_up_and_down_through_pipes(shell: Shell, bucket: str, tmp_path: Path) -> None:
    """`tar c | cp - oci://` and `cp oci:// - | tar x` need no file between, and say on stderr what they did."""
    (tmp_path / "tree" / "a").mkdir(parents=True)
    for name in ("a/one", "two"):
        (tmp_path / "tree" / name).write_bytes(os.urandom(3_000_000))
    up = shell(f"tar c tree | cp - {bucket}backup.tar")
    assert up.returncode == 0, up.stderr
    assert b"done" in up.stdout
    down = shell(f"mkdir back; cp {bucket}backup.tar - | tar x -C back; diff -r tree back/tree")
    assert (down.returncode, down.stdout) == (0, b""), down.stderr
    assert b"1 done; 5.7 MiB" in down.stderr
    assert shell(f"cp -q {bucket}backup.tar - >x").stderr == b""


def test_an_empty_stream_is_an_empty_object(shell: Shell, bucket: str, cloud: Emulator, tmp_path: Path) -> None:
    """Nothing on standard input is an object of no bytes; and none on standard output."""
    assert shell(f"cp - {bucket}empty </dev/null").returncode == 0
    back = shell(f"cp {bucket}empty -")
    assert (back.returncode, back.stdout) == (0, b"")


def test_a_reader_that_goes_away_ends_it(shell: Shell, bucket: str, tmp_path: Path) -> None:
    """141 without a word, as for every program whose reader has enough."""
    (tmp_path / "big").write_bytes(bytes(8_000_000))
    shell(f"cp big {bucket}")
    gone = shell(f"cp -q {bucket}big - | head -c 1000 | wc -c; exit ${{PIPESTATUS[0]}}")
    assert (gone.returncode, gone.stdout.strip(), gone.stderr) == (141, b"1000", b"")


def test_what_stands_there_is_refused_before_it_is_read(shell: Shell, bucket: str, cloud: Emulator) -> None:
    """A stream that cannot be written is not consumed: exit 6 at once; --overwrite replaces it."""
    assert shell(f"echo one | cp - {bucket}x").returncode == 0
    refused = shell(f"(cp - {bucket}x; echo $?; cat) <<< two")
    assert refused.stdout.splitlines()[-2:] == [b"6", b"two"]
    assert b"--overwrite" in refused.stderr
    assert shell(f"echo two | cp - {bucket}x --overwrite").returncode == 0
    assert shell(f"cp {bucket}x -").stdout == b"two\n"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("cp - -", "both a stream"),
        ("cp - BUCKET", "has no name"),
        ("cp - .", "has no name"),
        ("cp -r - BUCKETx", "--recursive is for many objects"),
        ("cp BUCKETx - --json", "carries the object"),
        ("cp BUCKETx - --metadata a=b", "keeps no metadata"),
        ("cp BUCKET -", "add -r"),
        ("cp", "missing arguments 'SRC DST' - see hyperexport cp --help"),
        ("cp BUCKETx", "missing argument 'DST'"),
        ("cp a b c BUCKET", "put a pattern in quotes"),
        ("cp https://127.0.0.1:1/ .", "give DST a name"),
        ("cp BUCKETx out --include '[a'", "not a pattern"),
        ("cp BUCKETx ftp://host/x", "unknown kind of address"),
        ("cp oci://b out", "a namespace and a bucket are needed"),
        ("cp -r https://127.0.0.1:1/x out --bwlimit 3x", "--bwlimit"),
    ],
)
def test_a_slip_costs_one_line(cloud: Emulator, tmp_path: Path, line: str, says: str) -> None:
    """Exit 2, one line that names the slip, nothing on stdout, nothing read or made."""
    arguments = shlex.split(line.replace("BUCKET", f"oci://{cloud.namespace}/exports/"))
    ended = Hyperexport(cloud, tmp_path).run(*arguments)
    assert (ended.code, ended.out) == (2, ""), ended.err
    assert says in ended.err
    assert len(ended.err.splitlines()) == 1
    assert cloud.names("exports") == []


def test_a_terminal_sees_a_bar(cloud: Emulator, bucket: str, tmp_path: Path) -> None:
    """Counts, rate, wire and disk while it runs, without colours if asked; the table is all that stays on stdout."""
    (tmp_path / "disk").write_bytes(os.urandom(2_500_000))
    ours, theirs = pty.openpty()
    line = [*COMMAND, "cp", "disk", bucket, "--bwlimit", "800K"]
    line += ["--config-file", str(cloud.config_file), "--endpoint", cloud.endpoint]
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "100"}
    with subprocess.Popen(line, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, cwd=tmp_path, env=environ) as run:
        os.close(theirs)
        shown = b""
        while chunk := read(ours):
            shown += chunk
        assert run.stdout is not None
        result = run.stdout.read().decode()
    os.close(ours)
    assert run.returncode == 0, shown
    text = shown.decode()
    assert re.search(r"━+─+ +\d+ %", text)
    assert re.search(r"0 of 1, \S+ MiB of 2\.4 MiB, \S+ [KM]iB/s, ETA 0:0\d, wire \S+ MiB", text)
    assert "1 done; 2.4 MiB in" in text.rstrip().splitlines()[-1]
    assert "\x1b[3" not in text, "colours despite NO_COLOR"
    assert [row.split()[0] for row in result.splitlines()] == ["OUTCOME", "done"]


def read(terminal: int) -> bytes:
    """What the terminal shows next; nothing at its end."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def test_a_link_that_only_writes(shell: Shell, bucket: str, cloud: Emulator, tmp_path: Path) -> None:
    """What cannot be looked at is written if the name is free, and replaced only with --overwrite; from pipes, too."""
    name = bucket.split("/")[3]
    details = {"name": "in", "accessType": "ObjectWrite", "objectName": "x", "timeExpires": "2999-01-01T00:00:00Z"}
    link = cloud.call("POST", f"/n/{cloud.namespace}/b/{name}/p", details).json["fullPath"]
    (tmp_path / "one").write_bytes(b"one")
    assert shell(f"hx cp one {link}").returncode == 0
    for again in (f"hx cp one {link}", f"echo two | hx cp - {link}"):
        refused = shell(again)
        assert (refused.returncode, link.encode() in refused.stdout + refused.stderr) == (6, False)
    assert cloud.get(name, "x").body == b"one"
    for line, body in ((f"hx cp one {link} --overwrite", b"one"), (f"echo 3 | hx cp - {link} --overwrite", b"3\n")):
        assert shell(line).returncode == 0
        assert cloud.get(name, "x").body == body
