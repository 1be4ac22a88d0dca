"""State machines of the emulator under hypothesis: what they share, and how long they run."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emulator import Reply, Seed, make_seed
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from inprocess import InProcess

QUICK = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
"""Seconds, and always the same steps."""
MEMORY = Path("/dev/shm")
"""Where states are kept if it exists: a machine opens and closes hundreds of databases."""
LONG = settings(QUICK, max_examples=1500, stateful_step_count=60, derandomize=False, print_blob=True)


class CloudMachine(RuleBasedStateMachine):
    """A machine that drives an in-process cloud; `seed_fields` go to `make_seed`, `options` to the cloud."""

    seed_fields: dict[str, Any] = {}  # noqa: RUF012 - replaced by subclasses, never changed
    options: dict[str, Any] = {}  # noqa: RUF012 - replaced by subclasses, never changed
    seed: Seed

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="machine-", dir=MEMORY if MEMORY.is_dir() else None))
        self.cloud = InProcess(self.folder / "state", self.seed, **self.options)

    def teardown(self) -> None:
        self.cloud.close()
        shutil.rmtree(self.folder)

    def pages(self, path: str, limit: int) -> Iterator[Any]:
        """The entries of a list, page by page."""
        join, token = "&" if "?" in path else "?", None
        while True:
            page = f"&page={token}" if token else ""
            reply = self.ok("GET", f"{path}{join}limit={limit}{page}")
            assert len(reply.json) <= limit
            yield from reply.json
            token = reply.headers.get("opc-next-page")
            if token is None:
                return

    def ok(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """A call that must work."""
        reply = self.cloud.call(method, path, body, {name.replace("_", "-"): each for name, each in headers.items()})
        assert reply.status < 300, (method, path, reply)
        return reply

    def refused(self, status: int, code: str, method: str, path: str, body: Any = None, **headers: str) -> None:
        """A call that must be refused in this way."""
        reply = self.cloud.call(method, path, body, {name.replace("_", "-"): each for name, each in headers.items()})
        assert (reply.status, reply.json["code"]) == (status, code), (method, path, reply)


def run_machine(machine: type[CloudMachine], folder: Path, how: settings) -> None:
    """Run a machine; it fails with the shortest story that shows the mistake."""
    machine.seed = make_seed(folder / "seed", **machine.seed_fields)
    run_state_machine_as_test(machine, settings=how)
