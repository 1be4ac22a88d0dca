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
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Self

from hypersdk import errors
from hypersdk.model import ObjectInfo
from hypersdk.storage.protocol import LocalRange
from hypersdk.transfer.crew import Crew
from hypersdk.transfer.engine import start
from hypersdk.transfer.items import Item, Means, Outcome, done, ended_by
from hypersdk.transfer.landing import Cargo, Directories, land, sync
from hypersdk.transfer.loads import Buffers, Load
from hypersdk.transfer.options import MIB, TransferOptions
from hypersdk.transfer.parts import TURN, Part, PartLoop
from hypersdk.transfer.same import expect_readable, settle
from hypersdk.transfer.smallparts import Fetching, Sending
from hypersdk.transfer.tally import Tally

SMALL = 8 * MIB
"""Larger objects are worth a journal and several connections each."""

BUFFERS = 40
"""MiB of objects in memory: those in flight, and as many again that wait for the disk."""

CREW = 8
"""Threads that write: a file system joins the syncs of so many (measured: 8 give 2x the files of one, 16 no more)."""

PATIENCE = 0.02
"""Seconds spent on items that need no request before the loop gets its turn."""


def is_small(item: Item, options: TransferOptions) -> bool:
    """Whether an item is moved by one request, without a journal."""
    return 0 <= item.source.size <= min(SMALL, options.part_size)


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
        self._landed: list[Load] = []
        self._syncing = False
        self._outcomes: deque[Outcome] = deque()
        self._buffers = Buffers(BUFFERS)
        self._directories = Directories()
        self._crew: Crew[Load | tuple[Load, ...]] = Crew(start, CREW)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._crew.close()
        for load in self._open:
            load.leave()
        self._directories.close()

    def run(self) -> Iterator[Outcome]:
        """Copy them all."""
        means = self.means
        means.wire.governor.begin_at(means.options.parallel, means.retrier.waiter.clock())
        loop = PartLoop(means.wire, means.retrier, "copy small objects", means.options.parallel, self._failed)
        try:
            while self._open or self._held or not self._exhausted:
                with closing(loop.turns(self)) as turns:
                    for _ in turns:
                        self._turn(loop.moving)
                        yield from self._told()
                self._turn(0, TURN)
                means.retrier.waiter.tick()
                yield from self._told()
        except errors.HypersdkError as error:
            yield from self._end_all(error)
        if self._broken is not None:
            raise self._broken

    # -- items begin

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Part:
        """The next request to make; StopIteration = none now, perhaps later."""
        clock = self.means.retrier.waiter.clock
        until = clock() + PATIENCE
        while not self.again:
            load = self._admit()
            if load is not None:
                self._begin(load)
            elif self._held or self._exhausted:
                break
            if clock() > until:
                break
        if not self.again:
            raise StopIteration
        return self.again.popleft()

    def _admit(self) -> Load | None:
        """The next item with room for its bytes; None = it ended at once, or there is no room, or no item."""
        self._held = self._held or self._pull()
        if self._held is None or not self._buffers.enough_for(self._held[0].source.size):
            return None
        (item, there), self._held = self._held, None
        load = Load(item, there, self._buffers.take(item.source.size), self.tally.wire)
        self._open.add(load)
        return load

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

    def _begin(self, load: Load) -> None:
        source = load.item.source
        if source.ref.scheme != "file" and (source.size or load.item.target.scheme != "file"):
            self.again.append(Fetching(self, load))
            return
        try:
            if source.size:
                self.read(load)
        except errors.HypersdkError as error:
            self.end(load, self._note(error, ended_by(load.item, error)))
        else:
            self.filled(load)

    # -- bytes go on

    def read(self, load: Load) -> None:
        """Take the bytes of a local source, if it is the file that was listed, before and afterwards."""
        for _ in range(2):
            place = self.means.source.range_request(load.item.source, None)
            assert isinstance(place, LocalRange)
            if load.filled < load.item.source.size:
                load.read(place)

    def filled(self, load: Load) -> None:
        """The bytes are all there: they are written to the disk, or sent."""
        if load.item.target.scheme != "file":
            self.again.append(Sending(self, load))
            return
        try:
            load.spot = self._directories.spot(load.item.target)
        except errors.HypersdkError as error:
            self.end(load, self._note(error, ended_by(load.item, error, load.filled)))
            return
        self._crew.do(load, partial(_land, load, self.means))

    def bad(self, load: Load, error: errors.VerificationError) -> None:
        """The bytes are not the source's: once more."""
        if load.again or load.item.source.ref.scheme == "file":
            self.end(load, ended_by(load.item, error, load.filled))
            return
        load.begin_again()
        self.again.append(Fetching(self, load))

    # -- items end

    def end(self, load: Load, outcome: Outcome) -> None:
        """Tell how it ended, and give back what it held."""
        self._open.discard(load)
        self._give_back(load)
        load.leave()
        self._tell(outcome)

    def _give_back(self, load: Load) -> None:
        self._buffers.give(load.buffers)
        load.buffers = []

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
        for whose, error in self._crew.ended(timeout):
            if isinstance(whose, Load):
                self._note_landing(whose, error)
                continue
            self._syncing = False
            for load in whose:
                self.end(load, ended_by(load.item, error) if error else _stands(load))
        if self._landed and not self._syncing:
            loads, self._landed, self._syncing = tuple(self._landed), [], True
            self._crew.do(loads, partial(sync, [load.spot for load in loads if load.spot]))
        self.tally.turn(moving)

    def _note_landing(self, load: Load, error: errors.HypersdkError | None) -> None:
        if error is None:
            self.tally.disk(load.filled)
            self._landed.append(load)
            self._give_back(load)
        elif isinstance(error, errors.VerificationError):
            self.bad(load, error)
        else:
            self.end(load, self._note(error, ended_by(load.item, error, load.filled)))

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


def _land(load: Load, means: Means) -> None:
    assert load.spot is not None
    pieces = load.pieces()
    try:
        cargo = Cargo(pieces, load.filled, load.crc, load.vouched)
        load.digests = land(cargo, load.spot, means.options, overwrite=means.overwrite)
    finally:
        for piece in pieces:
            piece.release()


def _stands(load: Load) -> Outcome:
    target = ObjectInfo(load.item.target, load.filled, checksums=load.digests)
    return done(load.item, target, load.digests, load.filled)
