"""A model of lease and epoch that hypothesis holds against real stores: one drives, and only he writes."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hypersdk import errors
from hypersdk.runs.drive import Drive
from hypersdk.runs.records import Intent
from hypersdk.runs.store import RunStore

ACTORS = 3
ACTOR = st.integers(0, ACTORS - 1)
NAME = st.sampled_from(["a", "b"])


class LeaseMachine(RuleBasedStateMachine):
    """Three processes and one run. `place` is where the store is, `drop` lets a lease fall without a word."""

    place: str
    drop: Callable[[Drive], None]

    @initialize()
    def open(self) -> None:
        """Three stores on one place, a run of its own; nobody drives it."""
        self.stores = [RunStore(self.place, host=f"host{number}", version="1") for number in range(ACTORS)]
        self.run_id = self.stores[0].begin(secrets.token_hex(8), 1, "web", {}).run_id
        self.entered: dict[int, Any] = {}
        self.drives: dict[int, tuple[Drive, int]] = {}
        self.epoch = 0
        self.holder: int | None = None
        self.steps: set[str] = set()
        self.intents: dict[str, str | None] = {}

    def teardown(self) -> None:
        """Close the stores."""
        for entered in self.entered.values():
            entered.__exit__(None, None, None)
        for store in self.stores:
            store.close()

    @rule(actor=ACTOR)
    def take(self, actor: int) -> None:
        """Somebody asks for the lease: he gets it with the next epoch, unless somebody holds it."""
        entered = self.stores[actor].drive(self.run_id)
        if self.holder is not None:
            try:
                entered.__enter__()
            except errors.RunDriven:
                return
            raise AssertionError("two drive it")
        drive = entered.__enter__()
        self.epoch += 1
        assert drive._lease.epoch == self.epoch
        if actor in self.entered:
            self.entered.pop(actor).__exit__(None, None, None)
        self.entered[actor], self.drives[actor], self.holder = entered, (drive, self.epoch), actor

    @precondition(lambda self: self.holder is not None)
    @rule()
    def leave(self) -> None:
        """The holder gives the lease back; what he kept of it may still write until somebody else takes it."""
        self.entered.pop(self.holder).__exit__(None, None, None)
        self.holder = None

    @precondition(lambda self: self.holder is not None)
    @rule()
    def fall(self) -> None:
        """The holder is not heard of any more."""
        type(self).drop(self.drives[self.holder][0])
        self.holder = None

    @rule(actor=ACTOR, name=NAME)
    def write_step(self, actor: int, name: str) -> None:
        """A step is written if and only if nobody has taken the run over since."""
        if self._may(actor, lambda drive: drive.start_step(name)):
            self.steps.add(name)

    @rule(actor=ACTOR, name=NAME, etag=st.sampled_from(["1", "2"]))
    def write_intent(self, actor: int, name: str, etag: str) -> None:
        """So is an intent."""
        if self._may(actor, lambda drive: (drive.intend(Intent("image", name)), drive.know("image", name, etag=etag))):
            self.intents[name] = etag

    @rule(actor=ACTOR)
    def look(self, actor: int) -> None:
        """So is the look before a delete."""
        self._may(actor, lambda drive: drive.check())

    @invariant()
    def all_see_the_same(self) -> None:
        """Every process, one after the other, sees who drives, and what was written."""
        self.stores = [*self.stores[1:], self.stores[0]]
        store = self.stores[0]
        assert {step.name for step in store.steps(self.run_id)} == self.steps
        assert {one.name: one.etag for one in store.intents(self.run_id)} == self.intents
        held = store.holder(self.run_id)
        assert ((held.epoch, held.alive) if held else (0, False)) == (self.epoch, self.holder is not None)

    def _may(self, actor: int, write: Callable[[Drive], object]) -> bool:
        if actor not in self.drives:
            return False
        drive, epoch = self.drives[actor]
        try:
            write(drive)
        except errors.LeaseLost:
            assert epoch != self.epoch, "refused although nobody took it over"
            return False
        assert epoch == self.epoch, "a lost lease has written"
        return True
