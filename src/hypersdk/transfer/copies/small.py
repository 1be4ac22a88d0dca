"""Many small whole objects at once, in one loop: between a cloud and files, two clouds, two directories.

Rules of this file:
- One request moves one object: a GET without a look before it (the listing told size and etag, which pin it), a PUT
  with its CRC32C that demands absence; what stands there is looked at only when the service refuses.
- Files are written, synced, proven and named by a few threads beside the loop (`landing`); a directory is synced once
  for all files that landed in it meanwhile; nothing is told as done before that.
- Bytes that their checksum proves bad are fetched once more; an object that was replaced since it was listed is looked
  at and fetched once more.
- One item's failure ends no other, unless it would be the failure of all: no credentials, no room, asked to stop. Then
  the rest end with that error, untried. Memory is bounded by the buffers, whatever the number of items.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Self

from hypersdk import errors
from hypersdk.model import ObjectInfo
from hypersdk.transfer.buffers import Buffer
from hypersdk.transfer.copies.crew import Crew
from hypersdk.transfer.copies.items import Item, Means, Outcome, done, ended_by
from hypersdk.transfer.copies.landing import Directories, Landing, sync
from hypersdk.transfer.copies.loads import LARGEST, Arriving, Buffers, Held, Load, Sent, copy_file, finish, write
from hypersdk.transfer.copies.same import expect_readable, settle
from hypersdk.transfer.copies.smallparts import Fetched, Fetching, Sending
from hypersdk.transfer.copies.tally import Tally
from hypersdk.transfer.engine import start
from hypersdk.transfer.options import MIB, TransferOptions
from hypersdk.transfer.parts import TURN, Part, PartLoop

HELD = 8 * MIB
"""Most bytes of an object that goes from store to store through memory."""

SPARE = 16
"""Buffers beyond one per request in flight: what may wait to be written."""

BACKLOG = 64
"""Items beyond one per request in flight that may be under way: those that land, or wait for their directory."""

CREW = 8
"""Threads that write: a file system joins the syncs of so many (measured: 8 give 2x the files of one, 16 no more)."""

PATIENCE = 0.02
"""Seconds spent on items that need no request before the loop gets its turn."""


def is_small(item: Item, options: TransferOptions) -> bool:
    """Whether an item is moved by one request, without a journal: it is no larger than a part.

    From store to store its bytes stand in memory, so less is small there.
    """
    remote = "file" not in {item.source.ref.scheme, item.target.scheme}
    return 0 <= item.source.size <= min(HELD if remote else LARGEST, options.part_size)


def ends_all(error: errors.HypersdkError) -> bool:
    """Whether what befell one item would befall every other, too."""
    all_alike = errors.AuthError | errors.DiskFull | errors.LeaseLost | errors.Stopped
    return isinstance(error, all_alike) and not isinstance(error, errors.PermissionDenied)


def copy_small(items: Iterator[Item], means: Means, tally: Tally) -> Iterator[Outcome]:
    """Copy small objects, many at once.

    Args:
        items: what, and where to; taken one by one, when there is room for them.
        means: the stores, and how bytes move.
        tally: told of all bytes.

    Yields:
        How each item ended, in the order of their ends.

    Raises:
        HypersdkError: `items` raised it; all that were taken have been told before.
    """
    with _Small(items, means, tally) as small:
        yield from small.run()


Ended = Callable[[errors.HypersdkError | None], None]
"""Told of the end of a job, in the loop's thread."""


class _Small:
    """What all loads of one call share; the parts of its loop, as an iterator."""

    def __init__(self, items: Iterator[Item], means: Means, tally: Tally) -> None:
        self.means = means
        self.tally = tally
        self.again: deque[Part] = deque()
        self._items = items
        self._exhausted = False
        self._broken: errors.HypersdkError | None = None  # what the items ended with
        self._fatal: errors.HypersdkError | None = None  # what ends all of them
        self._held: tuple[Item, ObjectInfo | None] | None = None
        self._open: set[Load] = set()
        self._landed: list[Arriving] = []
        self._syncing = False
        self._outcomes: deque[Outcome] = deque()
        self._buffers = Buffers(means.options.parallel + SPARE)
        self._directories = Directories()
        self._crew: Crew[Ended] = Crew(start, CREW)
        self._loop = PartLoop(means.wire, means.retrier, "copy small objects", means.options.parallel, self._failed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._crew.close()
        for load in self._open:
            load.leave()
        self._hear()  # closes what was written to until now
        self._directories.close()

    def run(self) -> Iterator[Outcome]:
        """Copy them all."""
        waiter, loop = self.means.retrier.waiter, self._loop
        self.means.wire.governor.begin_at(self.means.options.parallel, waiter.clock())
        try:
            while self._open or self._held or not self._exhausted:
                with closing(loop.turns(self)) as turns:
                    for _ in turns:
                        self._turn(loop.moving)
                        yield from self._told()
                self._turn(0, TURN)
                waiter.tick()
                yield from self._told()
        except errors.HypersdkError as error:
            yield from self._end_all(error)
        if self._broken is not None:
            raise self._broken

    # -- items begin

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Part | None:
        """The next request to make; None = none is ready, StopIteration = there will be none but for what is begun."""
        waiter = self.means.retrier.waiter
        until = waiter.clock() + PATIENCE
        while not self.again and self._admit() and waiter.clock() < until:
            pass
        if self.again:
            return self.again.popleft()
        if self._exhausted and self._held is None:
            raise StopIteration
        if not self._loop.busy and not self._outcomes:
            self._turn(0, TURN)
            waiter.tick()
        return None

    def _admit(self) -> bool:
        """Begin the next item, if there is one and there is room for it."""
        self._held = self._held or self._pull()
        if self._held is None:
            return not self._exhausted
        (item, there) = self._held
        relayed = "file" not in {item.source.ref.scheme, item.target.scheme}
        full = len(self._open) >= self.means.options.parallel + BACKLOG
        if full or (relayed and not self._buffers.enough_for(item.source.size)):
            return False
        self._held = None
        try:
            self._begin(item, there)
        except errors.HypersdkError as error:
            self._tell(self._note(error, ended_by(item, error)))
        return True

    def _pull(self) -> tuple[Item, ObjectInfo | None] | None:
        """The next item that must move, with what stands at its target; None = it ended at once, or there is none."""
        try:
            item = next(self._items, None)
        except errors.HypersdkError as error:
            self._broken, item = error, None
        if item is None:
            self._exhausted = True
            return None
        self.tally.begin(item.source.size)
        try:
            expect_readable(item.source)
            there = self._look(item)
            outcome = settle(item, there, self.means) if there else None
        except errors.HypersdkError as error:
            outcome = self._note(error, ended_by(item, error))
        if outcome is None:
            return item, there
        self._tell(outcome)
        return None

    def _look(self, item: Item) -> ObjectInfo | None:
        if item.target.scheme != "file":
            return item.there
        try:
            return self.means.target.head(item.target)
        except errors.NotFoundError:
            return None

    def _begin(self, item: Item, there: ObjectInfo | None) -> None:
        if item.target.scheme != "file":
            self._begin_sending(item, there)
            return
        load = Arriving(item, there, room=self._room, write=self._write, give=self._buffers.give)
        if item.source.ref.scheme == "file":
            self._expect_listed(item)
            self._open.add(load)
            self._land(load, partial(copy_file, load, self.means))
        elif item.source.size:
            self._open.add(load)
            self.again.append(Fetching(self, load))
        else:
            self._open.add(load)
            self.filled(load)

    def _begin_sending(self, item: Item, there: ObjectInfo | None) -> None:
        if item.source.ref.scheme == "file":
            sent = Sent(item, there)
            self._open.add(sent)
            try:
                self._expect_listed(item)
            except errors.HypersdkError:
                self._open.discard(sent)
                sent.leave()
                raise
            self.again.append(Sending(self, sent))
            return
        held = Held(item, there, self._buffers.hold(item.source.size), self._buffers.give)
        self._open.add(held)
        self.again.append(Fetching(self, held))

    def _expect_listed(self, item: Item) -> None:
        """See that a local source is the file that was listed.

        Raises:
            ObjectChanged: it was replaced or written to.
        """
        self.means.source.range_request(item.source, None)

    # -- bytes go on

    def filled(self, load: Fetched) -> None:
        """The bytes are all there: they are sent on, or what is left of them is written."""
        if isinstance(load, Held):
            self.again.append(Sending(self, load))
            return
        load.whole = True
        if load.landing is None or not load.landing.pending:
            self._land(load, partial(finish, load, self.means))

    def bad(self, load: Fetched, error: errors.VerificationError) -> None:
        """The bytes are not the source's: once more."""
        if load.again or load.item.source.ref.scheme == "file":
            self.end(load, ended_by(load.item, error, load.filled))
            return
        load.begin_again()
        self.again.append(Fetching(self, load))

    def _room(self) -> Buffer:
        """Free memory; a disk that is slower than the network is waited for here."""
        while (buffer := self._buffers.take()) is None:
            self._hear(TURN)
            self.means.retrier.waiter.stop.check()  # no hooks: libcurl called us, and one of them may serve the wire
        return buffer

    def _landing(self, load: Arriving) -> Landing:
        if load.landing is None:
            load.landing = Landing(self._directories.spot(load.item.target))
        return load.landing

    def _write(self, load: Arriving, buffer: Buffer, offset: int) -> None:
        landing = self._landing(load)
        landing.pending += 1
        self._crew.do(partial(self._wrote, load, landing, buffer), partial(write, landing, buffer, offset))

    def _wrote(self, load: Arriving, landing: Landing, buffer: Buffer, error: errors.HypersdkError | None) -> None:
        self._buffers.give([buffer])
        landing.wrote(error)
        if error is not None and ends_all(error):
            self._fatal = self._fatal or error
        if landing is load.landing and load.whole and not landing.pending:
            self._land(load, partial(finish, load, self.means))

    def _land(self, load: Arriving, job: Callable[[], None]) -> None:
        try:
            landing = self._landing(load)
            if landing.error is not None:
                raise landing.error
        except errors.HypersdkError as error:
            self.end(load, self._note(error, ended_by(load.item, error, load.filled)))
        else:
            self._crew.do(partial(self._note_landing, load), job)

    def _note_landing(self, load: Arriving, error: errors.HypersdkError | None) -> None:
        if error is None:
            self.tally.disk(load.landing.written if load.landing else 0)
            self._buffers.give(load.last)
            self._landed.append(load)
        elif isinstance(error, errors.VerificationError):
            self.bad(load, error)
        else:
            self.end(load, self._note(error, ended_by(load.item, error, load.filled)))

    def _sync(self) -> None:
        """Make durable what has landed since the last time, each directory once."""
        loads, self._landed, self._syncing = self._landed, [], True
        spots = [load.landing.spot for load in loads if load.landing]
        self._crew.do(partial(self._note_sync, loads), partial(sync, spots))

    def _note_sync(self, loads: list[Arriving], error: errors.HypersdkError | None) -> None:
        self._syncing = False
        for load in loads:
            self.end(load, self._note(error, ended_by(load.item, error)) if error else _stands(load))

    # -- items end

    def end(self, load: Load, outcome: Outcome) -> None:
        """Tell how it ended, and give back what it held."""
        self._open.discard(load)
        load.leave()
        self._tell(outcome)

    def _tell(self, outcome: Outcome) -> None:
        self.tally.settle(outcome.item.source.size)
        self._outcomes.append(outcome)

    def _note(self, error: errors.HypersdkError, outcome: Outcome) -> Outcome:
        if ends_all(error):
            self._fatal = self._fatal or error
        return outcome

    def _told(self) -> Iterator[Outcome]:
        while self._outcomes:
            yield self._outcomes.popleft()
        if self._fatal is not None:
            raise self._fatal

    def _turn(self, moving: int, timeout: float | None = None) -> None:
        self._hear(timeout)
        if self._landed and not self._syncing:
            self._sync()
        self.tally.turn(moving)

    def _hear(self, timeout: float | None = None) -> None:
        for told, error in self._crew.ended(timeout):
            told(error)

    def _failed(self, part: Part, error: errors.HypersdkError) -> bool:
        """A request failed for good: perhaps another one helps, else its item ends; the others go on."""
        assert isinstance(part, Fetching | Sending)
        if ends_all(error):
            return False
        try:
            part.recover(error)
        except errors.HypersdkError as final:
            if ends_all(final):
                raise
            self.end(part.load, ended_by(part.load.item, final, part.load.filled))
        return True

    def _end_all(self, error: errors.HypersdkError) -> Iterator[Outcome]:
        """All that is not whole yet, or was not begun, ends with this error."""
        self.again.clear()
        while self._crew.pending or self._landed:
            self._turn(0, TURN)
        for load in list(self._open):
            self.end(load, ended_by(load.item, error, load.filled))
        if self._held is not None:
            self._tell(ended_by(self._held[0], error))
        self._fatal = None
        yield from self._told()
        for item in self._items:
            yield ended_by(item, error)


def _stands(load: Arriving) -> Outcome:
    target = ObjectInfo(load.item.target, load.filled, checksums=load.digests)
    return done(load.item, target, load.digests, load.filled)
