"""How the command behaves in a shell: slips, pipes, closed streams, homes and locales."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from emulator import Emulator, make_seed
from hyperexport import Hyperexport

INSTANCES = {"web-01": "STOPPED", "live": "RUNNING"}
COMMAND = (sys.executable, "-m", "hypersdk.cli")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for this file."""
    folder = tmp_path_factory.mktemp("shell")
    emulator = Emulator(make_seed(folder / "seed", disk_size=4 << 20, instances=INSTANCES), folder / "state").start()
    yield emulator
    emulator.stop()


def shell(
    script: str, folder: Path, cloud: Emulator | None = None, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a line of shell; `hx` is the command, `$CLOUD` are the options that lead to the emulator."""
    known = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8", **(environ or {})}
    if cloud is not None:
        known["CLOUD"] = f"--config-file {cloud.config_file} --endpoint {cloud.endpoint}"
    line = f'set -o pipefail; hx() {{ {" ".join(COMMAND)} "$@"; }}; {script}'
    return subprocess.run(
        ["bash", "-c", line], env=known, cwd=folder, text=True, timeout=60, check=False, capture_output=True
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("exprot web-01", "no command 'exprot'; did you mean 'export'?"),
        ("runs lst", "Did you mean 'list'?"),
        ("export web-01 --overwirte", "Did you mean one of: '--overwrite'"),
        ("export", "missing argument 'INSTANCE' - see hyperexport export --help"),
        ("--profile P", "missing command"),
        ("export web-01 --format qcow3", "'qcow3' is not one of 'qcow2', 'vmdk'"),
        ("export web-01 --to oci://n/b/x --to oci://n/b/y", "one URL"),
        ("export web-01 --object-prefix p --to oci://n/b/x", "exclude each other"),
        ("export web-01 --tag novalue", "--tag KEY=VALUE"),
        ("export web-01 -o web.vmdk", "--format vmdk"),
        ("export web-01 --part-size 3x", "--part-size"),
        ("export web-01 --parallel 0", "--parallel"),
    ],
)
def test_a_slip_costs_one_line(line: str, says: str, cloud: Emulator, tmp_path: Path) -> None:
    """Exit 2, and one line that names the slip and the nearest word or what to read; the cloud hears nothing."""
    before = len(cloud.log())
    done = Hyperexport(cloud, tmp_path).run(*line.split())
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert len(done.err.splitlines()) == 1
    assert len(cloud.log()) == before


def test_without_arguments_it_explains_itself(tmp_path: Path) -> None:
    """All commands on stderr, exit 2; with --help on stdout, exit 0."""
    bare, asked = shell("hx", tmp_path), shell("hx --help", tmp_path)
    assert (bare.returncode, bare.stdout, asked.returncode, asked.stderr) == (2, "", 0, "")
    assert "export " in bare.stderr
    assert "export " in asked.stdout


@pytest.mark.parametrize(
    ("script", "status", "says"),
    [
        ("hx instances list $CLOUD | true", 141, ""),
        ("hx --help | true", 141, ""),
        ("hx instances list --json $CLOUD >/dev/full", 1, "No space left on device"),
        ("hx instances list $CLOUD >&-", 0, ""),
        ("hx instances list $CLOUD 2>&- <&-", 0, ""),
    ],
)
def test_a_reader_that_goes_away(script: str, status: int, says: str, cloud: Emulator, tmp_path: Path) -> None:
    """141 for a broken pipe, without a word; a full disk is said in one line; closed streams harm nothing."""
    # A pipe whose reader has ended before we write: `true` reads nothing, and the command takes longer to start.
    done = shell(script, tmp_path, cloud)
    assert done.returncode == status
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == bool(says)


def test_options_of_the_cloud_stand_on_either_side(cloud: Emulator, tmp_path: Path) -> None:
    """As with the OCI CLI they may come before the command; -v shows on stderr what is in effect, and each call."""
    before = shell("hx $CLOUD -v instances list", tmp_path, cloud)
    behind = shell("hx instances list $CLOUD", tmp_path, cloud)
    assert (before.returncode, behind.returncode) == (0, 0)
    assert before.stdout == behind.stdout
    assert behind.stderr == ""
    assert f"oci.endpoint: {cloud.endpoint} (--endpoint)" in before.stderr
    assert "list instances: " in before.stderr


def test_homes_and_locales_change_nothing(cloud: Emulator, tmp_path: Path) -> None:
    """C069, C082: no HOME, a strange locale, a run store that cannot be used: only commands with runs mind the last."""
    plain = shell("hx instances list --json $CLOUD", tmp_path, cloud)
    for environ in ({"LC_ALL": "C"}, {"LC_ALL": "tr_TR.UTF-8"}, {"LC_ALL": "fr_FR.UTF-8"}):
        assert shell("hx instances list --json $CLOUD", tmp_path, cloud, environ).stdout == plain.stdout
    assert shell("unset HOME; hx instances list --json $CLOUD", tmp_path, cloud).stdout == plain.stdout
    broken = {"HYPEREXPORT_STATE": "/proc/nowhere/runs.sqlite"}
    assert shell("hx ls oci://testns/exports/ $CLOUD", tmp_path, cloud, broken).returncode == 0
    before = len(cloud.log())
    refused = shell("hx export web-01 -bn exports $CLOUD", tmp_path, cloud, broken)
    assert refused.returncode == 2
    assert "/proc/nowhere/runs.sqlite" in refused.stderr
    assert "HYPEREXPORT_STATE" in refused.stderr
    assert len(cloud.log()) == before


@pytest.mark.parametrize("answer", ["n", "y"])
def test_a_running_instance_is_asked_about_on_a_terminal(cloud: Emulator, tmp_path: Path, answer: str) -> None:
    """A no creates nothing and says so; a yes is as good as --allow-shutdown, and shows each step and a bar."""
    before = len(cloud.log())
    ours, theirs = pty.openpty()
    line = ["export", "live", "-bn", "exports", "--config-file", str(cloud.config_file), "--endpoint", cloud.endpoint]
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "xterm", "NO_COLOR": "1"}
    environ |= {"HYPEREXPORT_RETRY_INITIAL_DELAY": "0.01s", "HYPEREXPORT_RETRY_MAX_DELAY": "0.05s"}
    with subprocess.Popen(
        [*COMMAND, *line], stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, cwd=tmp_path, env=environ
    ) as process:
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
            if b"[y/N]" in shown and answer:
                os.write(ours, f"{answer}\n".encode())
                answer, asked = "", answer
        assert process.stdout is not None
        result = process.stdout.read()
    os.close(ours)
    posts = [entry for entry in cloud.log()[before:] if entry["operation"] == "CreateImage"]
    assert b"\x1b[3" not in shown, "colours despite NO_COLOR"
    if asked == "n":
        assert (process.returncode, result, posts) == (130, b"", [])
        assert b"nothing was done" in shown
    else:
        assert (process.returncode, len(posts)) == (0, 1), shown
        assert b"await-object: " in shown
        assert b"sha256:" in result


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says EIO when the last process has closed the other side
        return b""
