"""Rules of the emulator's house: one clock, one source of what is random."""

import ast
import pathlib
from collections.abc import Iterator

SRC = pathlib.Path(__file__).resolve().parents[2] / "src" / "hypersdk_emulator"
RANDOM_MODULES = {"secrets", "random"}
RANDOM_CALLS = {"uuid.uuid4", "os.urandom"}
MAY_DRAW = {
    "randomness.py",
    "faults.py",  # a fault's own chances, by the seed in its declaration
    "compute/bootlog.py",  # times in a log, by the instance's id
    "bodies.py",  # names of files that no client sees
    "blockstorage/layers.py",  # likewise
    "signatures.py",  # the id of a session token, which is signed and dated anyway
    "seeds/demo_seed.py",  # keys of a cloud that is written once
}
TIMES = ("time.time", "time.monotonic", "datetime.now", "datetime.datetime.now", "time.localtime")
MAY_LOOK = {
    "clock.py",
    "remote.py",  # waits for a process, on the side of a test
}


def nodes() -> Iterator[tuple[str, ast.AST]]:
    for path in sorted(SRC.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            yield path.relative_to(SRC).as_posix(), node


def is_random(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name in RANDOM_MODULES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return node.module in RANDOM_MODULES
    return isinstance(node, ast.Call) and ast.unparse(node.func) in RANDOM_CALLS


def test_what_is_random_comes_from_one_source() -> None:
    """Whatever a client may see is drawn from `cloud.random`, so that --random-seed repeats it."""
    assert {name for name, node in nodes() if is_random(node)} - MAY_DRAW == set()


def test_time_comes_from_the_clock() -> None:
    """Nobody but the clock asks the machine for the time: rules follow the virtual one, signatures `clock.wall`."""
    asked = {name for name, node in nodes() if isinstance(node, ast.Call) and ast.unparse(node.func) in TIMES}
    assert asked - MAY_LOOK == set()
