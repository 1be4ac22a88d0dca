"""One object from any store to any store, and many of them: who does it, what stands there already, how it ended.

Rules of this file: nothing is overwritten unless that was asked for, and then only what was seen there (its etag); what
stands there with the same bytes is left alone, proven by a checksum; one item's failure ends no other; each item ends
as exactly one outcome (design rule 6). A source that changes while it is read is started again once, cleanly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from hypersdk import errors, events
from hypersdk.model import Checksum, ObjectInfo
from hypersdk.storage import local
from hypersdk.storage.protocol import PutOptions
from hypersdk.transfer.copies.items import Item, Means, Outcome, done, ended_by
from hypersdk.transfer.copies.same import expect_readable, settle
from hypersdk.transfer.copies.small import copy_small, ends_all, is_small
from hypersdk.transfer.copies.tally import Tally
from hypersdk.transfer.engine import Advanced, unwatched
from hypersdk.transfer.files import fetch_file
from hypersdk.transfer.options import MIB, TransferOptions
from hypersdk.transfer.partial import sweep as sweep_partial
from hypersdk.transfer.uploads.sending import look
from hypersdk.transfer.uploads.upload import upload
from hypersdk.transfer.uploads.uploadjournal import sweep as sweep_journal

WAITING = 1000
"""Large items that are put aside until the small ones among them have moved; each is only its description."""


FINEST = 4 * MIB
"""An object with fewer parts than connections is cut finer, but no part is smaller than this for that reason."""


def copy_items(items: Iterable[Item], means: Means, advanced: Advanced = unwatched) -> Iterator[Outcome]:
    """Copy many objects: small ones many at once, large ones one by one, each with all the parallelism there is.

    Args:
        items: what, and where to. Taken lazily, so that a listing may go on while objects move.
        means: the stores, and how bytes move.
        advanced: told (bytes done, bytes of all items taken so far); those of items that need not move are done, too.

    Yields:
        How each item ended, in the order of their ends. One that ends for a reason that would end every other (no
        credentials, no room, asked to stop) ends the rest with it, untried.

    Raises:
        HypersdkError: `items` raised it; all that were taken have been told before.
    """
    tally = Tally(advanced, means.retrier.waiter.report)
    pending, aside = iter(items), deque[Item]()
    end: errors.HypersdkError | None = None
    while end is None:
        for outcome in copy_small(_small_ones(pending, aside, means.options), means, tally):
            yield outcome
            end = end or _end_of_all(outcome)
        if not aside and end is None:
            return
        while aside:
            item = aside.popleft()
            outcome = ended_by(item, end) if end else _copy_large(item, means, tally)
            yield outcome
            end = end or _end_of_all(outcome)
    for item in pending:
        yield ended_by(item, end)


def _small_ones(pending: Iterator[Item], aside: deque[Item], options: TransferOptions) -> Iterator[Item]:
    """The small items up to where enough large ones are put aside."""
    for item in pending:
        if is_small(item, options):
            yield item
        else:
            aside.append(item)
            if len(aside) >= WAITING:
                return


def _end_of_all(outcome: Outcome) -> errors.HypersdkError | None:
    return outcome.error if outcome.error is not None and ends_all(outcome.error) else None


def finer(options: TransferOptions, size: int) -> TransferOptions:
    """Options that give every connection something to do, for one of many objects of this size. Pure."""
    share = -(-max(size, 0) // options.parallel)
    part_size = max(FINEST, -(-share // MIB) * MIB)
    return options if part_size >= options.part_size else replace(options, part_size=part_size)


def _copy_large(item: Item, means: Means, tally: Tally) -> Outcome:
    tally.begin(max(0, item.source.size))
    means = replace(means, options=finer(means.options, item.source.size))
    outcome = _copy(item, means, lambda done, _total: tally.turn(done))
    tally.settle(max(0, item.source.size))
    tally.turn()
    return outcome


def _copy(item: Item, means: Means, advanced: Advanced) -> Outcome:
    watched = _Watched(advanced)
    try:
        return _Copy(item, means, watched).run()
    except errors.HypersdkError as error:
        return ended_by(item, error, watched.moved)


class _Watched:
    """Passes progress on, and remembers what moved."""

    def __init__(self, advanced: Advanced) -> None:
        self._advanced = advanced
        self._first: int | None = None
        self.moved = 0

    def __call__(self, done: int, total: int) -> None:
        """Take note of bytes that are done; the first call tells those of earlier runs."""
        if self._first is None:
            self._first = done
        self.moved = max(self.moved, done - self._first)
        self._advanced(done, total)


class _Copy:
    def __init__(self, item: Item, means: Means, watched: _Watched) -> None:
        self._item = item
        self._means = means
        self._watched = watched

    def run(self) -> Outcome:
        """Copy it, unless it need not or must not be."""
        expect_readable(self._item.source)
        there = self._look()
        if there is not None and (outcome := settle(self._item, there, self._means)) is not None:
            self._sweep()
            return outcome
        if self._item.target.scheme == "file":
            return self._into_file()
        put = replace(self._means.put, condition=self._means.condition(there))
        return self._from_file(put) if self._item.source.ref.scheme == "file" else self._between_clouds(put)

    def _sweep(self) -> None:
        """An earlier run may have died when all but its own notes was done."""
        source, target = self._item.source.ref, self._item.target
        if target.scheme == "file":
            sweep_partial(str(target))
        if source.scheme == "file":
            sweep_journal(self._means.journal, str(source), target)

    def _look(self) -> ObjectInfo | None:
        return look(self._means.target, self._item.target, self._means.retrier)

    def _into_file(self) -> Outcome:
        means, item = self._means, self._item
        target = item.target
        with (
            local.file_errors(str(target)),
            local.directory(target.bucket, target.name.split("/")[:-1], create=True),
        ):
            pass
        proof = fetch_file(
            means.source,
            item.source.ref,
            str(target),
            wire=means.wire,
            retrier=means.retrier,
            options=means.options,
            advanced=self._watched,
            overwrite=means.overwrite,
        )
        return self._done(means.target.head(target), proof.checksums)

    def _from_file(self, put: PutOptions) -> Outcome:
        means, item = self._means, self._item
        info = upload(
            str(item.source.ref),
            means.target,
            item.target,
            wire=means.wire,
            retrier=means.retrier,
            options=means.options,
            put=put,
            journal=means.journal,
            advanced=self._watched,
        )
        return self._done(info, info.checksums)

    def _between_clouds(self, put: PutOptions) -> Outcome:
        try:
            return self._relayed(self._item.source, put)
        except errors.ObjectChanged as error:
            self._means.retrier.waiter.report(events.Note(f"{error.message}: started again from the beginning"))
            source = self._item.source.ref
            now = self._means.retrier.call(f"look at {source}", lambda: self._means.source.head(source))
            return self._relayed(now, put)

    def _relayed(self, source: ObjectInfo, put: PutOptions) -> Outcome:
        from hypersdk.transfer.flows.relay import relay  # most copies have a file on one side

        means, item = self._means, self._item
        info = relay(
            means.source,
            source,
            means.target,
            item.target,
            wire=means.wire,
            retrier=means.retrier,
            options=means.options,
            put=put,
            journal=means.journal,
            advanced=self._watched,
        )
        return self._done(info, info.checksums)

    def _done(self, target: ObjectInfo, checksums: tuple[Checksum, ...]) -> Outcome:
        return done(self._item, target, checksums, self._watched.moved)
