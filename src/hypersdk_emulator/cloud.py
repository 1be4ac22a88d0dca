"""The emulated cloud as one object: what every handler works on."""

import asyncio
import hmac
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from hypersdk_emulator.assumptions import Assumptions
from hypersdk_emulator.bodies import BodyStore
from hypersdk_emulator.clock import Clock
from hypersdk_emulator.database import Database
from hypersdk_emulator.faultrules import Operation
from hypersdk_emulator.faults import Fault, FaultBook
from hypersdk_emulator.randomness import Randomness
from hypersdk_emulator.signatures import TokenIssuer

LOG_BYTES = 32 << 20  # of memory for the request log, which keeps the newest ones: about 25,000 plain requests
_ENTRY_BYTES = 1000  # of an entry without its texts of any length, measured

_LASTING_SETTINGS = ("control-token", "session-signing-key", "instance-authority", "metadata-port", "runs")
"""What outlives `Cloud.reset`: those who hold a token or a certificate go on."""


@dataclass(frozen=True)
class Options:
    """How the emulator was started.

    Args:
        state: Directory of its data.
        seed_root: Where files named in a seed sent over HTTP must lie.
        body_timeout: Wait for a request body, in seconds of real time.
        pace: Length of transitions as a share of OCI's (see `durations`); None: as the seed says.
        assume: Assumptions as `NAME=VALUE`.
        random_seed: Makes ids, etags, tokens and chances the same in every run; None: they differ.
    """

    state: Path
    seed_root: Path | None = None
    body_timeout: float = 60.0
    idle_timeout: float = 75.0
    pace: float | None = None
    assume: tuple[str, ...] = ()
    random_seed: str | None = None


@dataclass
class Settings:
    """What the seed says about the cloud as a whole; kept in the database."""

    region: str = "us-ashburn-1"
    namespace: str = "emulated"
    tenancy_id: str = "ocid1.tenancy.oc1..emulated"
    tenancy_name: str = "emulated"
    availability_domains: list[str] = field(default_factory=list)
    timing: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    policies_rule: bool = False


@dataclass(frozen=True)
class Cluster:
    """Where the stand-in of an OKE cluster listens, and the file of its CA."""

    host: str
    ca: Path


class Holds:
    """Calls that wait until released, by the fault that holds them."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}
        self._holding: Counter[str] = Counter()

    async def wait(self, fault: Fault, seconds: float | None = None) -> bool:
        """Wait for the release; False if this many real seconds passed first."""
        event = self._events.setdefault(fault.id, asyncio.Event())
        self._holding[fault.id] += 1
        fault.holding += 1
        try:
            await asyncio.wait_for(event.wait(), seconds)
        except TimeoutError:
            return False
        finally:
            self._holding[fault.id] -= 1
            fault.holding -= 1
        return True

    def release(self, fault_id: str | None = None) -> int:
        """Let those waiting on one fault (None: on any) go on; returns how many."""
        ids = list(self._events) if fault_id is None else [fault_id]
        count = 0
        for each in ids:
            count += self._holding[each]
            if event := self._events.pop(each, None):
                event.set()
        return count


class RequestLog:
    """Requests in the order in which they arrived; an entry fills up as its call goes on."""

    def __init__(self) -> None:
        self._entries: deque[dict[str, Any]] = deque()
        self._bytes = 0
        self._next = 1

    def begin(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Note a request that has arrived; the returned entry may be filled later."""
        entry["id"] = self._next
        self._next += 1
        self._entries.append(entry)
        self._bytes += _weight(entry)
        while self._bytes > LOG_BYTES:
            self._bytes -= _weight(self._entries.popleft())
        return entry

    def clear(self) -> None:
        """Forget all of them; ids go on."""
        self._entries.clear()
        self._bytes = 0

    def after(self, last: int = 0) -> list[dict[str, Any]]:
        """Entries with a greater id."""
        return [entry for entry in self._entries if entry["id"] > last]


def _weight(entry: dict[str, Any]) -> int:
    """Bytes of memory that an entry takes; the same at its beginning and later."""
    return _ENTRY_BYTES + len(entry["path"]) + len(entry.get("client") or "")


class Cloud:
    """State, clock, bodies and faults of one emulated cloud.

    Args:
        options: How it was started; its state directory is made if absent and continued if not.
        operations: Every operation that a fault may name.
        wall: Source of real time, seconds since the epoch.
    """

    def __init__(
        self, options: Options, operations: Mapping[str, Operation], wall: Callable[[], float] = time.time
    ) -> None:
        self.options = options
        options.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.db = Database(options.state / "cloud.sqlite")
        self.clock = Clock(self.db, wall)
        self.random = Randomness(self._run_seed())
        self.bodies = BodyStore(options.state / "bodies")
        self.bodies.sweep(
            {row["file"] for row in self.db.all("SELECT file FROM segments UNION SELECT file FROM parts")}
        )
        self.faults = FaultBook(operations)
        self.holds = Holds()
        self.log = RequestLog()
        self.assumptions = Assumptions()
        self.assume({})
        self.settings = Settings(**(self.db.setting("cloud") or {}))
        self.token = self._kept_secret("control-token", lambda: self.random.hex("control-token", 24))
        self.network_away: Callable[[Callable[[], bool]], Coroutine[Any, Any, None]] | None = None
        self.oke: Cluster | None = None
        self.metadata_port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._lasting: set[asyncio.Task[None]] = set()

    @cached_property
    def tokens(self) -> TokenIssuer:
        """What issues tokens; its key takes a moment to make and to read, and most clouds need none."""
        return TokenIssuer(self._kept_secret("session-signing-key", TokenIssuer.new_key))

    def assume(self, values: Mapping[str, Any]) -> None:
        """Take over a seed's assumptions, kept over a restart; those of the command line win.

        Raises:
            AssumptionError: There is no such assumption or value; nothing is kept.
        """
        seeded = {**(self.db.setting("assume") or {}), **values}
        self.assumptions = Assumptions().assume_all(seeded)
        for text in self.options.assume:
            self.assumptions = self.assumptions.assume_text(text)
        self.db.set_setting("assume", seeded)

    def save_settings(self) -> None:
        """Keep `settings` over a restart."""
        self.db.set_setting("cloud", asdict(self.settings))

    def is_control_token(self, token: str) -> bool:
        """True for the token that the emulator printed at its start."""
        return hmac.compare_digest(token.encode(), self.token.encode())

    def begin_outage(self, fault: Fault) -> None:
        """From now on no connection is taken and no call answered, until the fault's real time is over."""
        self.faults.start_outage(fault, self.clock.wall())
        if self.network_away:
            self.start_task(self.network_away(lambda: self.faults.in_outage(self.clock.wall())), lasting=True)

    def start_task(self, work: Coroutine[Any, Any, None], *, lasting: bool = False) -> None:
        """Run a coroutine beside the calls (an export, for one).

        Args:
            work: What to run; it is cancelled when the emulator ends.
            lasting: It belongs to the emulator and not to what is in the cloud: it outlives `reset`.
        """
        task = asyncio.get_running_loop().create_task(work)
        tasks = self._lasting if lasting else self._tasks
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def reset(self) -> None:
        """Empty the cloud: all is as after a start on a new state, but for keys, tokens and the endpoint."""
        self.faults.clear()
        self.holds.release()
        await _cancel(self._tasks)
        self.db.clear(keep=_LASTING_SETTINGS)
        self.bodies.sweep(())
        for path in (self.options.state / "volumes").glob("*"):
            path.unlink(missing_ok=True)
        self.settings = Settings()
        self.assume({})
        self.clock.restart()
        self.log.clear()

    async def close(self) -> None:
        """End background work and close the files."""
        await _cancel(self._tasks | self._lasting)
        self.bodies.close()
        self.db.close()

    def _run_seed(self) -> str | None:
        """The seed of this run: one that goes on with an earlier run's state must not hand out its ids again."""
        run = int(self.db.setting("runs") or 0) + 1
        self.db.set_setting("runs", run)
        return None if self.options.random_seed is None else f"{self.options.random_seed}/{run}"

    def _kept_secret(self, name: str, make: Callable[[], str]) -> str:
        stored = self.db.setting(name)
        if stored is None:
            stored = make()
            self.db.set_setting(name, stored)
        return str(stored)


async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
