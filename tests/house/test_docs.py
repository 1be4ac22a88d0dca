"""The documentation is run: its commands against a rehearsal cloud, its settings through the reader, its API by pdoc.

A page's commands stand in fenced blocks:

    ```console exec      every `$ ` line is run, in order, in one directory; each must end with 0 (or what `# exit N`
                         behind it says), and each line shown below it must appear in its output, `...` standing for
                         any text
    ```console           only read: commands and options must exist
    ```yaml              a hypersdk.yaml that must be readable
    ```python pytest     a file of tests, run by pytest
    ```python            a program, run like the commands; `/backup` stands for a directory
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import click
import pytest
from emulator import Emulator, Seed

import hypersdk
from hypersdk.cli import cli
from hypersdk_emulator.assumptions import Assumptions
from hypersdk_emulator.faultrules import EFFECTS
from hypersdk_emulator.seeds.demo_seed import write_demo

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^( *)```(console exec|console|yaml|python pytest|python)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
EXIT = re.compile(r"\s+# exit (\d+)$")


@dataclass(frozen=True)
class Command:
    """A command of a page, the exit status that it must have, and the lines shown below it."""

    line: str
    status: int
    shown: tuple[str, ...]


def name_of(page: pathlib.Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: pathlib.Path, kind: str) -> Iterator[str]:
    for indent, found, text in FENCE.findall(page.read_text()):
        if found == kind:
            yield re.sub(f"^{indent}", "", text, flags=re.MULTILINE)


def commands(page: pathlib.Path, kind: str) -> Iterator[Command]:
    for block in blocks(page, kind):
        for part in re.split(r"^\$ ", block.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
            line, *shown = part.splitlines()
            status = EXIT.search(line)
            yield Command(EXIT.sub("", line), int(status[1]) if status else 0, tuple(filter(None, shown)))


def pattern_of(line: str) -> str:
    """What output must hold for a shown line: `...` is any text, and columns may be wider or narrower."""
    pieces = re.split(r"\s*\.\.\.\s*", line.strip())
    return ".*".join(r"\s+".join(re.escape(word) for word in piece.split()) for piece in pieces)


def with_blocks(*kinds: str) -> list[pathlib.Path]:
    return [page for page in PAGES if any(True for kind in kinds for _ in blocks(page, kind))]


@pytest.fixture
def rehearsal(tmp_path: pathlib.Path) -> Iterator[dict[str, str]]:
    """The environment of a user whose OCI configuration leads to a rehearsal cloud."""
    cloud, home = tmp_path / "cloud", tmp_path / "home"
    seed = json.loads(write_demo(cloud).read_text())
    # As in a real cloud, only without its waiting: nobody learns anything from that in a test.
    seed |= {"timing": {"transitionSeconds": 0.2}, "assume": {"lock-minutes": 0}}
    (cloud / "seed.json").write_text(json.dumps(seed))
    (home / ".oci").mkdir(parents=True)
    (cloud / "config").rename(home / ".oci" / "config")
    emulator = Emulator(Seed(cloud, seed), tmp_path / "state").start()
    ours = re.compile(r"OCI_|HYPEREXPORT_|XDG_|.*proxy$|REQUESTS_CA_BUNDLE$|SSL_CERT_FILE$", re.IGNORECASE)
    yield {
        **{name: value for name, value in os.environ.items() if not ours.match(name)},
        "HOME": str(home),
        "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
        "OCI_CLI_ENDPOINT": emulator.endpoint,
        "OCI_METADATA_BASE_URL": emulator.metadata,
        "HYPEREXPORT_RETRY_INITIAL_DELAY": "0.1s",
    }
    end_all_of(home)
    emulator.stop()


def end_all_of(home: pathlib.Path) -> None:
    """End what a page left in the background because one of its commands failed."""
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)


@pytest.mark.parametrize("page", with_blocks("console exec"), ids=name_of)
def test_commands_of_a_page_do_what_it_shows(
    page: pathlib.Path, tmp_path: pathlib.Path, rehearsal: dict[str, str]
) -> None:
    """Every executable command of the documentation ends as it says and prints what it shows."""
    folder = tmp_path / "work"
    folder.mkdir()
    for command in commands(page, "console exec"):
        done = subprocess.run(
            ["bash", "-c", command.line], cwd=folder, env=rehearsal, capture_output=True, text=True, check=False
        )
        output = done.stdout + done.stderr
        assert done.returncode == command.status, f"{command.line}\n{output}"
        for line in command.shown:
            assert re.search(pattern_of(line), output), f"{command.line}\ndoes not print {line!r} but\n{output}"


@pytest.mark.parametrize("page", with_blocks("python"), ids=name_of)
def test_programs_of_a_page_run(page: pathlib.Path, tmp_path: pathlib.Path, rehearsal: dict[str, str]) -> None:
    """Every Python program of the documentation does its work without an error or a warning."""
    folder = tmp_path / "work"
    folder.mkdir()
    for block in blocks(page, "python"):
        program = block.replace("/backup", str(folder))
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            cwd=folder, env=rehearsal, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", with_blocks("python pytest"), ids=name_of)
def test_tests_of_a_page_pass(page: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Every test file that the documentation shows passes."""
    for number, block in enumerate(blocks(page, "python pytest")):
        (tmp_path / f"test_{number}.py").write_text(block)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def parse(words: list[str]) -> None:
    """Follow a command line through the command tree; fails on a command or option that is not there."""
    command: click.Command = cli
    context = click.Context(cli)
    for word in words:
        if isinstance(command, click.Group) and not word.startswith("-"):
            found = command.get_command(context, word)
            assert found is not None, f"no command {word!r}"
            command = found
        elif word.startswith("-") and word != "-":
            known = {name for parameter in command.get_params(context) for name in parameter.opts}
            assert word.split("=")[0] in known, f"{command.name} has no option {word}"


@pytest.mark.parametrize("page", with_blocks("console", "console exec"), ids=name_of)
def test_commands_and_options_that_a_page_names_exist(page: pathlib.Path) -> None:
    """No page shows a command or an option that hyperexport does not have."""
    for kind in ("console", "console exec"):
        for command in commands(page, kind):
            for one in re.split(r"\s*(?:&&|\|\||[|;])\s*", command.line):
                program, *words = one.split() or [""]
                if program == "hyperexport":
                    parse(words)


@pytest.mark.parametrize("page", with_blocks("yaml"), ids=name_of)
def test_settings_that_a_page_shows_are_read(page: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Every hypersdk.yaml of the documentation has only keys that exist and values that make sense."""
    for number, block in enumerate(blocks(page, "yaml")):
        file = tmp_path / f"{number}.yaml"
        file.write_text(block)
        file.chmod(0o600)
        hypersdk.load_config({}, {"HYPEREXPORT_CONFIG": str(file)}, cwd=tmp_path, home=tmp_path)


def test_the_emulator_pages_name_every_fault_and_assumption() -> None:
    """The pages' tables hold exactly what the emulator takes."""
    page = (ROOT / "docs" / "emulator.md").read_text()
    assumed = {field.name.replace("_", "-") for field in dataclasses.fields(Assumptions)}
    section = page.split("## What it does not know for sure")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z0-9-]+)`", section, re.MULTILINE)) == assumed
    table = (ROOT / "docs" / "emulator-testing.md").read_text().split("| Effect |")[1].split("\n\n")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`([a-z-]+)`", row)} == set(EFFECTS)


def test_links_between_pages_lead_somewhere() -> None:
    """Every relative link of a page names a file that exists."""
    broken = [
        f"{name_of(page)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_the_api_reference_builds_without_a_warning(tmp_path: pathlib.Path) -> None:
    """Pdoc makes a page for the package and for each public name in it, and has nothing to complain about."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pdoc", "-o", str(tmp_path), "hypersdk"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    page = (tmp_path / "hypersdk.html").read_text()
    missing = [name for name in hypersdk.__all__ if f'id="{name}"' not in page and f"hypersdk/{name}.html" not in page]
    assert missing == []
