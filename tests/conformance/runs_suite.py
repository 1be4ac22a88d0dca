"""One suite for the run store on every database; a binding subclasses `RunsSuite` and gives the fixture `place`."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from drivers import Child, hold, race

from hypersdk import errors
from hypersdk.runs import enrolment, fleets, history, pruning, schema, slots
from hypersdk.runs.drive import Drive
from hypersdk.runs.records import ACTIVE, CANCELLED, DONE, FAILED, INTERRUPTED, QUEUED, FleetItem, Happening, Intent
from hypersdk.runs.store import RunStore

SECONDS = 15.0
RACERS = 4
KEPT: list[Any] = []
"""What a racing process holds until it is ended."""


def until(true: Callable[[], Any], otherwise: str) -> None:
    """Wait until something is true."""
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end, otherwise
        time.sleep(0.01)


class RunsSuite:
    """What every database must do. Who binds it has a fixture `place`: an empty database, as a path or a URL."""

    @pytest.fixture
    def opened(self, place: str) -> Iterator[Callable[..., RunStore]]:
        """Opens the store anew, as another process would."""
        stores: list[RunStore] = []

        def opened(**more: Any) -> RunStore:
            stores.append(RunStore(place, **{"host": "host", "version": "1", **more}))
            return stores[-1]

        yield opened
        for store in stores:
            store.close()

    @pytest.fixture
    def store(self, opened: Callable[..., RunStore]) -> RunStore:
        """The store, open."""
        return opened()

    @pytest.fixture
    def children(self) -> Iterator[list[Child]]:
        """Processes that the test started."""
        started: list[Child] = []
        yield started
        for child in started:
            child.close()

    def test_what_is_written_is_found_when_it_is_opened_anew(self, store: RunStore, opened: Any) -> None:
        """Run, steps with their host, intents, state and story are there for the next process."""
        run = store.begin("key", 1, "web", {"steps": ["a"]}, options={"x": 1})
        with store.drive(run.run_id) as drive:
            drive.set_state(ACTIVE)
            drive.start_step("a")
            drive.finish_step("a", {"size": 5})
            drive.start_step("b")
            drive.intend(Intent("image", "name", {"region": "r"}))
            drive.know("image", "name", resource_id="ocid", etag="e", size=1 << 40)
            history.note(drive, "note", "told")
        again = opened()
        found = again.latest("key")
        assert (found.run_id, found.plan, found.options, found.state) == (
            run.run_id,
            {"steps": ["a"]},
            {"x": 1},
            ACTIVE,
        )
        steps = [(step.name, step.state, step.result, step.host) for step in again.steps(run.run_id)]
        assert sorted(steps) == [("a", "done", {"size": 5}, "host"), ("b", "started", None, "host")]
        (intent,) = again.intents(run.run_id, open_only=True)
        assert (intent.kind, intent.resource_id, intent.etag, intent.size) == ("image", "ocid", "e", 1 << 40)
        assert intent.place == {"region": "r"}
        assert [each.text for each in history.history(again, run.run_id)] == ["told"]
        with again.drive(run.run_id) as drive:
            assert drive.results() == {"a": {"size": 5}}

    def test_beginning_twice_is_beginning_once(self, store: RunStore, opened: Any) -> None:
        """The same key and generation is the same run, for another host too; another generation is another run."""
        first = store.begin("key", 1, "web", {})
        assert opened().begin("key", 1, "web", {}) == first
        second = store.begin("key", 2, "web", {})
        assert store.latest("key") == second
        assert {run.run_id for run in store.runs()} == {first.run_id, second.run_id}

    def test_runs_are_found_by_state_fleet_and_number(self, store: RunStore) -> None:
        """Newest first, only those in some states, of one fleet, at most so many."""
        for number, state in enumerate((DONE, FAILED, INTERRUPTED)):
            run = store.begin(f"key{number}", 1, "web", {}, fleet_id="f" if number else None)
            with store.drive(run.run_id) as drive:
                drive.set_state(state)
        assert {run.state for run in store.runs(states=[DONE, FAILED])} == {DONE, FAILED}
        assert {run.key for run in store.runs(fleet_id="f")} == {"key1", "key2"}
        assert len(store.runs(limit=2)) == 2
        created = [run.created for run in store.runs()]
        assert created == sorted(created, reverse=True)

    def test_a_run_is_named_by_the_beginning_of_its_id(self, store: RunStore) -> None:
        """A unique beginning is enough; none and several are told apart; % and _ are letters like others."""
        runs = [store.begin(f"key{n}", 1, "web", {}) for n in range(17)]
        assert store.run(runs[0].run_id[:11]) == runs[0]
        for absent in ("zz", "%", "_", ""):
            with pytest.raises(errors.NotFoundError):
                store.run(absent)
        first = [run.run_id[0] for run in runs]
        shared = next(letter for letter in first if first.count(letter) > 1)
        with pytest.raises(errors.UsageError, match="write more of it"):
            store.run(shared)

    def test_a_lost_lease_writes_nothing(self, store: RunStore, opened: Any) -> None:
        """When another process has taken the run over, each write of the first one is refused and changes nothing."""
        run = store.begin("key", 1, "web", {})
        with store.drive(run.run_id) as old:
            old.start_step("a")
        writes: tuple[Callable[[Drive], Any], ...] = (
            lambda drive: drive.start_step("x"),
            lambda drive: drive.finish_step("a", {"size": 1}),
            lambda drive: drive.forget_steps(["a"]),
            lambda drive: drive.intend(Intent("image", "x")),
            lambda drive: drive.know("image", "mine", size=1),
            lambda drive: drive.close_intent("image", "mine"),
            lambda drive: drive.set_state(DONE),
            lambda drive: drive.check(),
            lambda drive: history.note(drive, "note", "x"),
            lambda drive: slots.take_slot(drive, "scope", 1),
            lambda drive: slots.leave_slot(drive, "mine"),
        )
        other = opened()
        with other.drive(run.run_id) as new:
            new.intend(Intent("image", "mine"))
            assert slots.take_slot(new, "mine", 1)
            for write in writes:
                with pytest.raises(errors.LeaseLost, match="is driven by host:"):
                    write(old)
            assert [(step.name, step.result) for step in store.steps(run.run_id)] == [("a", None)]
            ((name, size, removed),) = [(one.name, one.size, one.removed) for one in store.intents(run.run_id)]
            assert (name, size, removed) == ("mine", None, None)
            assert slots.taken(store) == {"mine": [run.run_id]}
            assert store.run(run.run_id).state == INTERRUPTED
            assert history.history(store, run.run_id) == []
            new.check()

    def test_a_lease_that_was_given_back_is_free_at_once(self, store: RunStore, opened: Any) -> None:
        """Whoever asks meanwhile is refused; each holder has the next epoch; who was last is remembered."""
        run = store.begin("key", 1, "web", {})
        assert store.holder(run.run_id) is None
        other = opened()
        for epoch in (1, 2, 3):
            with store.drive(run.run_id) as drive:
                held = other.holder(run.run_id)
                assert (held.epoch, held.alive, held.owner.split(":")[0]) == (epoch, True, "host")
                assert other.is_driven(run.run_id)
                with pytest.raises(errors.RunDriven, match="another process drives"), other.drive(run.run_id):
                    pass
                drive.check()
            left = other.holder(run.run_id)
            assert (left.epoch, left.alive) == (epoch, False)
            assert datetime.now(UTC) - datetime.fromisoformat(left.heartbeat) < timedelta(minutes=1)

    def test_a_beat_tells_how_far_it_is_and_hears_a_cancel(self, opened: Any) -> None:
        """Progress is seen from outside; a request is heard until the run has ended, also after an interruption."""
        store, other = opened(lease_seconds=2.0), opened()
        run = store.begin("key", 1, "web", {})
        with store.drive(run.run_id) as drive:
            assert not drive.beat({"percent": 40})
            until(lambda: (other.holder(run.run_id).progress or {}) == {"percent": 40}, "no progress")
            other.request_cancel(run.run_id)
            until(lambda: drive.beat({"percent": 50}), "never heard of it")
            drive.set_state(INTERRUPTED)
        with store.drive(run.run_id) as drive:
            assert drive.beat()
            drive.set_state(CANCELLED)
            until(lambda: not drive.beat(), "an ended run is still to be cancelled")

    def test_recording_an_intent_again_opens_it_again(self, store: RunStore) -> None:
        """A closed thing that is made once more may exist once more, with an identity yet unknown."""
        run = store.begin("key", 1, "web", {})
        with store.drive(run.run_id) as drive:
            drive.intend(Intent("par", "link"))
            drive.know("par", "link", resource_id="old")
            drive.close_intent("par", "link")
            assert store.intents(run.run_id, open_only=True) == []
            drive.intend(Intent("par", "link"))
        (intent,) = store.intents(run.run_id, open_only=True)
        assert intent.resource_id is None

    def test_images_of_the_last_minutes_are_known_whoever_made_them(self, opened: Any) -> None:
        """The 20-minute lock is told from our own ledger, also after the image is gone."""
        now = datetime(2026, 1, 1, tzinfo=UTC)
        store = opened(now=lambda: now)
        run = store.begin("key", 1, "web", {})
        with store.drive(run.run_id) as drive:
            drive.intend(Intent("image", "x", {"instance_id": "i"}))
            drive.close_intent("image", "x")
        ((found, intent),) = store.intents_of_kind("image", since=now - timedelta(minutes=20))
        assert (found, intent.place) == (run.run_id, {"instance_id": "i"})
        assert store.intents_of_kind("image", since=now + timedelta(seconds=1)) == []

    def test_the_lease_dies_with_its_process(self, store: RunStore, opened: Any, children: list[Child]) -> None:
        """While a process lives nobody else drives its run; killed, its lease is free at once on the same machine."""
        run = store.begin("key", 1, "web", {})
        children.append(holding := hold(opened, run.run_id))
        assert holding.hear() == "drives"
        with pytest.raises(errors.RunDriven), store.drive(run.run_id):
            pass
        holding.signal(signal.SIGKILL)
        # A zombie yet: its parent has not waited for it.
        until(lambda: not store.is_driven(run.run_id), "its lease outlived it")
        with store.drive(run.run_id) as drive:
            drive.check()

    def test_of_two_racers_exactly_one_drives(self, store: RunStore, opened: Any) -> None:
        """Processes that ask for the same run in the same moment: one gets it."""

        def ask(run_id: str) -> Callable[[], str]:
            def inside() -> str:
                entered = opened().drive(run_id)
                KEPT.append(entered)
                try:
                    return f"epoch {entered.__enter__()._lease.epoch}"
                except errors.RunDriven:
                    return "refused"

            return inside

        for number in range(3):
            run = store.begin(f"key{number}", 1, "web", {})
            answers = race([ask(run.run_id) for _ in range(RACERS)])
            assert sorted(answers) == ["epoch 1", *["refused"] * (RACERS - 1)]

    def test_racers_that_begin_the_same_run_get_the_same(self, place: str, store: RunStore) -> None:
        """Two commands with one question, from two processes in the same moment, are one run."""

        def begin() -> str:
            with RunStore(place, host="host", version="1") as own:
                return own.begin("key", 1, "web", {}).run_id

        assert len({*race([begin] * RACERS), store.latest("key").run_id}) == 1

    def test_racers_that_open_an_empty_store_make_it_once(self, place: str) -> None:
        """The first commands of two machines at once: one store, one id."""

        def opened() -> str:
            with RunStore(place, host="host", version="1") as own:
                return own.run_id("key", 1)

        assert len(set(race([opened] * RACERS))) == 1

    def test_a_store_of_a_newer_version_is_left_alone(self, place: str, store: RunStore) -> None:
        """An older program refuses it, and says which version wrote it and what to do; nothing is changed."""
        newer = {"number": 99, "applied": "2031-05-06T07:08:09", "tool_version": "9.8"}
        store.write(lambda connection: connection.execute(schema.MIGRATIONS.insert().values(**newer)))
        with pytest.raises(
            errors.ConfigError, match=r"hypersdk 9\.8 made it version 99 on 2031-05-06.*upgrade hypersdk"
        ):
            RunStore(place, host="host", version="1")
        assert [row["number"] for row in store.rows(sa.select(schema.MIGRATIONS.c.number))] == [1, 2, 99]

    def test_places_are_counted_over_processes(self, store: RunStore, opened: Any) -> None:
        """Of four processes that want one of two places at once, two get it; asking again changes nothing."""
        runs = [store.begin(f"key{number}", 1, "web", {}) for number in range(RACERS)]

        def ask(run_id: str) -> Callable[[], str]:
            def inside() -> str:
                entered = opened().drive(run_id)
                KEPT.append(entered)
                drive = entered.__enter__()
                first = slots.take_slot(drive, "export r", 2)
                assert slots.take_slot(drive, "export r", 2) == first
                return str(first)

            return inside

        assert sorted(race([ask(run.run_id) for run in runs])) == ["False", "False", "True", "True"]

    def test_the_place_of_a_dead_process_is_free(self, store: RunStore, opened: Any, children: list[Child]) -> None:
        """Nobody waits for a worker that was killed; a living one keeps its place, and gives it back."""
        first, second = (store.begin(f"key{number}", 1, "web", {}) for number in range(2))

        def take(me: Child) -> int:
            with opened().drive(first.run_id) as drive:
                me.say(str(slots.take_slot(drive, "s", 1)))
                me.hear()
            return 0

        children.append(child := Child(take))
        assert child.hear() == "True"
        with store.drive(second.run_id) as drive:
            assert not slots.take_slot(drive, "s", 1)
            child.kill()
            assert slots.take_slot(drive, "s", 1)
            assert slots.taken(store) == {"s": [second.run_id]}
            slots.leave_slot(drive, "s")
            slots.leave_slot(drive, "s")
        assert slots.taken(store) == {}

    def test_a_story_is_told_in_its_order_and_once(self, store: RunStore) -> None:
        """What was written at once and again, because the answer got lost, is there once."""
        run = store.begin("key", 1, "web", {})
        lines = [Happening(f"2026-01-0{day}T00:00:00.000+00:00", "note", f"{day}", 1.5, "download") for day in (1, 2)]
        with store.drive(run.run_id) as drive:
            history.write(drive, lines)
            history.write(drive, lines)
            history.write(drive, [])
            history.note(drive, "note", "later")
        assert [each.text for each in history.history(store, run.run_id)] == ["1", "2", "later"]
        assert history.history(store, run.run_id)[0] == lines[0]

    def test_what_people_read_may_quote_any_name(self, store: RunStore) -> None:
        """NUL and bytes that are no UTF-8, from names of the cloud and of files: a run does not end because of them."""
        odd = "a\0b\udc80c\ud800 \U0001f600"
        run = store.begin("key", 1, odd, {"name": odd}, options={"output": odd})
        with store.drive(run.run_id) as drive:
            drive.start_step("a")
            drive.finish_step("a", {"name": odd})
            drive.beat({"waiting": odd})
            drive.set_state(INTERRUPTED, odd)
            history.note(drive, "note", odd)
            history.note(drive, "note", odd)
        found = store.run(run.run_id)
        assert (found.plan, found.options) == ({"name": odd}, {"output": odd})
        assert found.subject == found.detail == "a\ufffdb?c? \U0001f600"
        assert {each.text for each in history.history(store, run.run_id)} == {found.detail}

    def test_what_is_usual_is_learned_from_done_steps(self, store: RunStore) -> None:
        """Three steps of a kind say what is usual, two do not."""
        run = store.begin("key", 1, "web", {})
        with store.drive(run.run_id) as drive:
            for seconds in (10.0, 20.0):
                history.write(drive, [Happening(store.time(), "step", f"{seconds}", seconds, "download")])
            assert history.usual(store, "download") is None
            history.write(drive, [Happening(store.time(), "step", "30", 30.0, "download")])
        found = history.usual(store, "download")
        assert (found.median, found.count) == (20.0, 3)

    def test_an_unknown_run_has_no_lease(self, store: RunStore) -> None:
        """What nobody began nobody drives."""
        assert not store.is_driven("0" * 12)
        assert store.holders(["0" * 12]) == {}
        assert store.driven([]) == set()

    def test_three_hundred_runs_of_a_fleet_begin_together(self, store: RunStore, opened: Any) -> None:
        """Fleet, items and queued runs are there in one piece; the same fleet again goes on, doubled by nobody."""
        entries = fleet_of(store, 300)
        began = time.monotonic()
        fleet = enrolment.enrol(store, "fleet.csv", {"limits": {}}, entries)
        assert time.monotonic() - began < 10  # less than one second where nothing else runs
        runs = store.runs(states=[QUEUED], fleet_id=fleet.fleet_id)
        assert len(runs) == 300
        assert [item.number for item in fleets.items(store, fleet.fleet_id)] == list(range(1, 301))
        again = enrolment.enrol(opened(), "fleet.csv", {"limits": {}}, entries)
        assert again.fleet_id == fleet.fleet_id
        assert len(store.runs()) == 300
        assert set(enrolment.latest_of(store, [run.key for run in runs])) == {run.key for run in runs}

    def test_racers_that_enrol_the_same_fleet_make_it_once(self, place: str, store: RunStore) -> None:
        """The same command on four machines at once: one fleet, its runs begun once."""

        def enrol() -> str:
            with RunStore(place, host="host", version="1") as own:
                return enrolment.enrol(own, "fleet.csv", {}, fleet_of(own, 5)).fleet_id

        assert len(set(race([enrol] * RACERS))) == 1
        assert len(store.runs()) == 5

    def test_how_an_item_ended_is_told_by_who_drove_it(self, store: RunStore) -> None:
        """An outcome that does not fit what the run became meanwhile is not written; a fitting one is."""
        fleet = enrolment.enrol(store, "fleet.csv", {}, fleet_of(store, 2))
        first, second = (item.run_id for item in fleets.items(store, fleet.fleet_id))
        with store.drive(first) as drive:
            drive.set_state(DONE)
        assert not fleets.end_item(store, first, "interrupted", states=[INTERRUPTED])
        assert fleets.end_item(store, first, "done", states=[DONE])
        fleets.cancel_fleet(store, fleet.fleet_id)
        assert [store.run(run_id).cancel for run_id in (first, second)] == [False, True]
        assert [item.outcome for item in fleets.items(store, fleet.fleet_id)] == ["done", None]

    def test_a_run_is_forgotten_whole(self, store: RunStore) -> None:
        """Its steps, ledger, story, lease and places go with it, the fleet with the last of its runs."""
        fleet = enrolment.enrol(store, "fleet.csv", {}, fleet_of(store, 1))
        (item,) = fleets.items(store, fleet.fleet_id)
        with store.drive(item.run_id) as drive:
            drive.start_step("a")
            drive.intend(Intent("image", "x"))
            drive.close_intent("image", "x")
            history.note(drive, "note", "told")
            assert slots.take_slot(drive, "s", 1)
            drive.set_state(DONE)
        fleets.end_item(store, item.run_id, "done")
        long_ago, soon = (datetime.now(UTC) + timedelta(minutes=minutes) for minutes in (-5, 5))
        assert pruning.prunable(store, long_ago) == ([], [])
        ((run,), left) = pruning.prunable(store, soon)
        assert left == []
        with store.drive(run.run_id) as drive:
            pruning.forget(drive)
        store.forget([run.run_id])
        for table in schema.METADATA.sorted_tables:
            if table.name not in {"about", "migrations"}:
                assert store.rows(sa.select(table)) == [], table.name


def fleet_of(store: RunStore, count: int) -> list[enrolment.Entry]:
    """Items and what their runs need."""
    entries = []
    for number in range(1, count + 1):
        key = f"key{number}"
        draft = enrolment.Draft(key, 1, {"run_id": store.run_id(key, 1), "region": "r"}, {})
        entries.append(enrolment.Entry(FleetItem(number, f"ocid{number}", f"vm-{number}", None), draft))
    return entries
