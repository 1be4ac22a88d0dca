"""The two requests of a small object: the GET that brings it, the PUT that sends it.

Rules of this file: what a refusal means is found out here, and an item is begun anew only so often; a target is looked
at when the service says that something stands there, and replaced only as the very object that was seen.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Protocol

from hypersdk import errors
from hypersdk.model import ObjectInfo
from hypersdk.storage import oci_headers
from hypersdk.storage.protocol import LocalRange, PutCondition
from hypersdk.transfer.buffers import BUFFER
from hypersdk.transfer.carried import carried
from hypersdk.transfer.checksums import as_checksum
from hypersdk.transfer.copies.items import Means, Outcome, done
from hypersdk.transfer.copies.loads import Arriving, Held, Sent
from hypersdk.transfer.copies.same import settle
from hypersdk.transfer.copies.tally import Tally
from hypersdk.transfer.parts import Part
from hypersdk.transfer.uploads.localsource import LocalSource
from hypersdk.transfer.uploads.sending import PutPart, look
from hypersdk.wire.loop import Wire
from hypersdk.wire.request import Reply

AGAIN = 2
"""How often an item is begun anew because what stands at its target changed."""


Fetched = Held | Arriving
"""What comes from a store."""


class Desk(Protocol):
    """Where loads go on; `small` is one.

    Attributes:
        means: the stores, and how bytes move.
        tally: counts them.
        again: requests to make next.
    """

    means: Means
    tally: Tally
    again: deque[Part]

    def filled(self, load: Fetched) -> None:
        """The bytes are all there."""

    def bad(self, load: Fetched, error: errors.VerificationError) -> None:
        """The bytes are not the source's."""

    def end(self, load: Fetched | Sent, outcome: Outcome) -> None:
        """It ended."""


class Fetching:
    """One object on its way into memory."""

    def __init__(self, desk: Desk, load: Fetched) -> None:
        self._desk = desk
        self.load = load

    @property
    def moved(self) -> int:
        """Bytes so far."""
        return self.load.filled

    @property
    def left(self) -> int:
        """Bytes still to come."""
        return self.again - self.load.filled

    @property
    def again(self) -> int:
        """Bytes to fetch if it is asked for again: all."""
        return self.load.item.source.size

    def begin(self, wire: Wire, token: int) -> bool:
        """Ask for the whole object."""
        self.load.clear()
        request = self._desk.means.source.range_request(self.load.item.source, None)
        if isinstance(request, LocalRange):
            self._read(request)
            self._desk.filled(self.load)
            return False
        wire.submit(request, sink=self._take, token=token)
        return True

    def finish(self, reply: Reply) -> None:
        """Go on with its bytes, if they are the service's."""
        load = self.load
        load.vouched = (*oci_headers.checksums(reply.headers), *load.item.source.checksums)
        load.beside = (oci_headers.metadata(reply.headers), oci_headers.kept(reply.headers))
        try:
            load.check()
        except errors.VerificationError as error:
            self._desk.bad(load, error)
        else:
            self._desk.filled(load)

    def recover(self, error: errors.HypersdkError) -> None:
        """Fetch an object that was replaced since it was listed as it is now.

        Raises:
            HypersdkError: that is not what happened, or it happened before.
        """
        load, means = self.load, self._desk.means
        if not isinstance(error, errors.PreconditionFailed):
            raise error
        ref = load.item.source.ref
        fresh = means.retrier.call(f"look at {ref}", lambda: means.source.head(ref))
        if load.again or not load.has_room_for(fresh.size):
            raise errors.ObjectChanged(f"{ref} was replaced while it was read", resource=str(ref)) from error
        load.begin_again(fresh)
        self._desk.again.append(Fetching(self._desk, load))

    def _take(self, data: memoryview) -> None:
        self._desk.tally.wire(len(data))
        self.load.take(data)

    def _read(self, place: LocalRange) -> None:
        with LocalSource(place.path) as file:
            while data := file.read(self.load.filled, BUFFER):
                self.load.take(memoryview(data))


class Sending(PutPart):
    """One object on its way out of a file, or of memory."""

    def __init__(self, desk: Desk, load: Held | Sent) -> None:
        metadata, headers = load.beside
        put = carried(replace(load.item.source, metadata=metadata, headers=headers), desk.means.put)
        condition = desk.means.condition(load.there)
        checksum = as_checksum(load.crc) if isinstance(load, Held) else None
        super().__init__(
            desk.means.target,
            load.item.target,
            load.body(),
            replace(put, condition=condition, checksum=checksum),
            counted=desk.tally.wire,
            done=self._stands,
        )
        self._desk = desk
        self._tries = 0
        self.load = load

    def begin(self, wire: Wire, token: int) -> bool:
        """Send the whole object."""
        self._tries += 1
        return super().begin(wire, token)

    def finish(self, reply: Reply) -> None:
        """It stands there, if its bytes are ours."""
        try:
            super().finish(reply)
        except errors.ReplyRefused:
            # What it had replaced is gone, too: from now on nothing must stand there.
            self._put = replace(self._put, condition=PutCondition(if_absent=True))
            raise

    def recover(self, error: errors.HypersdkError) -> None:
        """Look at what stands there: the same bytes, perhaps by an earlier try whose reply was lost, or others.

        Raises:
            HypersdkError: others stand there and must not be replaced, or that is not what happened.
        """
        load, means = self.load, self._desk.means
        if not isinstance(error, errors.AlreadyExists | errors.PreconditionFailed) or load.again >= AGAIN:
            raise error
        there = look(means.target, load.item.target, means.retrier)
        outcome = settle(load.item, there, means) if there else None
        if there is not None and outcome is not None:
            mine, moved = self._tries > 1, load.item.source.size
            self._desk.end(load, done(load.item, there, outcome.checksums, moved) if mine else outcome)
            return
        load.again += 1
        load.there = there
        self._desk.again.append(Sending(self._desk, load))

    def _read(self, offset: int, size: int) -> bytes:
        if offset < self._moved:
            self._tries += 1  # libcurl sends it anew, when a connection that was kept alive turns out to be dead
        return super()._read(offset, size)

    def _stands(self, info: ObjectInfo) -> None:
        sent = self._put.checksum
        outcome = done(self.load.item, info, (sent,) if sent else info.checksums, info.size)
        self._desk.end(self.load, outcome)
