"""An object goes from one store to another: each part is read from one side and sent to the other as it comes.

Rules of this file: nothing is stored here, and no part stands in memory whole: half a MiB is what may wait between the
two requests of a part, and then the faster one pauses; a fault on either side begins the part anew; every range is
pinned by the source's etag; CRC32C is computed as the bytes pass, and compared with what the target says of each part
and of the whole, and with the source's own, before the object appears. A source that was replaced ends it; whoever
called looks at it anew.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace

from hypersdk import errors
from hypersdk.model import ByteRange, Checksum, ObjectInfo, ObjectRef
from hypersdk.retry import Retrier
from hypersdk.storage.oci_headers import PART_SIZE
from hypersdk.storage.protocol import NO_OPTIONS, LocalRange, PutOptions, Store, Upload
from hypersdk.transfer.checksums import agree, as_checksum, crc32c, crc32c_of_parts
from hypersdk.transfer.committing import commit_checked
from hypersdk.transfer.engine import Advanced, Progress, unwatched
from hypersdk.transfer.options import DEFAULTS, KIB, MIB, TransferOptions
from hypersdk.transfer.parts import Part as PartOfLoop
from hypersdk.transfer.parts import PartLoop
from hypersdk.transfer.ranges import part_size_for, split
from hypersdk.transfer.sending import Sent, sent_part
from hypersdk.transfer.writes import fresh_upload, put_source
from hypersdk.wire.loop import Wire
from hypersdk.wire.request import Feed, Reply, Request, Source

ROOM = 512 * KIB
"""Bytes between the two requests of a part before the source pauses."""

SMALL = 8 * MIB
"""An object of up to one part and so many bytes goes through memory: one GET, one PUT."""


def relay(
    source: Store,
    info: ObjectInfo,
    target: Store,
    ref: ObjectRef,
    *,
    wire: Wire,
    retrier: Retrier,
    options: TransferOptions = DEFAULTS,
    put: PutOptions = NO_OPTIONS,
    advanced: Advanced = unwatched,
) -> ObjectInfo:
    """Copy an object from a remote store to a remote store, without a place on this machine.

    Args:
        source: where it is.
        info: what it is, pinned by its etag. One from a listing is looked at again for what listings do not tell.
        target: where it goes; may be the same store.
        ref: the address of the copy.
        wire: moves the bytes, both ways.
        retrier: policy, waiter, network monitor and refresh of the run.
        options: how it is cut.
        put: condition of the write; metadata and headers here stand before those of the source, which travel along.
        advanced: told how many bytes are done.

    Returns:
        The copy with its CRC32C.

    Raises:
        ObjectChanged: the source is no longer the one of `info`; nothing was written.
        AlreadyExists: the condition asks for absence, and the name is taken.
        VerificationError: the bytes are not those that the source vouches for, or the target has others than we sent.
        HypersdkError: a part failed for good; the upload was aborted.
    """
    if not info.headers:
        info = retrier.call(f"look at {info.ref}", lambda: source.head(info.ref))
    _expect_relayable(source, info, target, ref)
    put = carried(info, put)
    progress = Progress(info.size, 0, advanced, retrier.waiter.report)
    passing = _Passing(source, info, target, ref, progress)
    if info.size <= min(SMALL, options.part_size):
        body = passing.read_small(wire, retrier)
        whole = Source(len(body), lambda offset, size: body[offset : offset + size])
        return put_source(whole, target, ref, wire=wire, retrier=retrier, put=put, progress=progress)
    if not target.capabilities.multipart:
        return passing.whole(wire, retrier, put)
    part_size = passing.part_size(options)
    noted = replace(put, metadata={**put.metadata, PART_SIZE: str(part_size)})
    with fresh_upload(target, ref, noted, retrier) as begun:
        passing.in_parts(begun, part_size, wire, retrier, options)
        return passing.commit(begun, retrier, put)


def carried(info: ObjectInfo, put: PutOptions) -> PutOptions:
    """What goes with a copy: what stands with its source, unless `put` says otherwise."""
    metadata = {name: value for name, value in info.metadata.items() if name != PART_SIZE}
    return replace(put, metadata={**metadata, **put.metadata}, headers={**info.headers, **put.headers})


def _expect_relayable(source: Store, info: ObjectInfo, target: Store, ref: ObjectRef) -> None:
    first = ByteRange(0, min(1, info.size))
    if isinstance(source.range_request(info, first), LocalRange) or target.put_request(ref, 0) is None:
        raise errors.UsageError(f"{info.ref}: between a file and a store nothing is relayed", resource=str(info.ref))
    if not info.ranges:
        raise errors.RequestRefused(
            f"{info.ref}: its server sends no ranges, so that it cannot be copied in parts",
            resource=str(info.ref),
            hint="copy it to a file first",
        )


def _digests(body: bytes, theirs: tuple[Checksum, ...]) -> list[Checksum]:
    """The checksums of bytes by the algorithms that the source knows."""
    known = [each.algorithm for each in theirs if each.algorithm in hashlib.algorithms_available]
    digests = [Checksum(name, hashlib.new(name, body, usedforsecurity=False).hexdigest()) for name in known]
    return [as_checksum(crc32c(body)), *digests]


class _Passing:
    """What the pairs of one object share."""

    def __init__(self, source: Store, info: ObjectInfo, target: Store, ref: ObjectRef, progress: Progress) -> None:
        self.progress = progress
        self._source = source
        self._info = info
        self._target = target
        self._ref = ref
        self._sent: dict[ByteRange, Sent] = {}

    def read_small(self, wire: Wire, retrier: Retrier) -> bytes:
        """All bytes at once, checked by whatever the source vouches for."""
        if self._info.size == 0:
            return b""
        try:
            request = self.reading(None)
            body = retrier.call(f"read {self._info.ref}", lambda: wire.call(request, limit=self._info.size).body)
        except errors.PreconditionFailed as error:
            raise self._changed(error) from error
        self.progress.count(wire=len(body))
        self._expect_vouched(_digests(body, self._info.checksums))
        return body

    def part_size(self, options: TransferOptions) -> int:
        """Bytes of a part, within the limits of the target."""
        able = self._target.capabilities
        return part_size_for(
            self._info.size,
            options.part_size,
            smallest=able.min_part_size,
            largest=able.max_part_size,
            max_parts=able.max_parts,
        )

    def in_parts(self, begun: Upload, part_size: int, wire: Wire, retrier: Retrier, options: TransferOptions) -> None:
        """Pass all parts on."""
        cut = enumerate(split(ByteRange(0, self._info.size), part_size), 1)
        self._run((_Passed(self, begun, number, wanted) for number, wanted in cut), wire, retrier, options.parallel)
        self._expect_vouched([as_checksum(self._crc())])

    def whole(self, wire: Wire, retrier: Retrier, put: PutOptions) -> ObjectInfo:
        """Pass the object on by one request, to a target that takes no parts."""
        only = _Whole(self, ByteRange(0, self._info.size), put)
        self._run(iter([only]), wire, retrier, 1)
        assert only.made is not None
        self._expect_vouched([as_checksum(only.crc)])
        agree([as_checksum(only.crc)], only.made.checksums)
        return only.made

    def commit(self, begun: Upload, retrier: Retrier, put: PutOptions) -> ObjectInfo:
        """Make the object of all parts."""
        return commit_checked(
            self._target,
            begun,
            [sent.part for sent in self._sent.values()],
            size=self._info.size,
            crc=self._crc(),
            retrier=retrier,
            condition=put.condition,
            proven=all(sent.proven for sent in self._sent.values()),
        )

    def reading(self, wanted: ByteRange | None) -> Request:
        """The request that reads a range."""
        request = self._source.range_request(self._info, wanted)
        assert isinstance(request, Request)
        return request

    def sending_part(self, begun: Upload, number: int, length: int) -> Request:
        """The request that sends a part."""
        request = self._target.part_request(begun, number, length, None)
        assert isinstance(request, Request)
        return request

    def sending_whole(self, length: int, put: PutOptions) -> Request:
        """The request that sends the object."""
        request = self._target.put_request(self._ref, length, put)
        assert request is not None
        return request

    def made(self, length: int, put: PutOptions, reply: Reply) -> ObjectInfo:
        """What the reply to `sending_whole` says of the object."""
        return self._target.put_reply(self._ref, length, put, reply)

    def record(self, wanted: ByteRange, sent: Sent) -> None:
        """Note a part that the target has."""
        self._sent[wanted] = sent

    def _run(self, pairs: Iterator[PartOfLoop], wire: Wire, retrier: Retrier, parallel: int) -> None:
        loop = PartLoop(wire, retrier, f"copy {self._info.ref} to {self._ref}", parallel)
        try:
            loop.run(pairs, lambda: self.progress.turn(self._done() + loop.moving))
        except errors.PreconditionFailed as error:
            raise self._changed(error) from error
        self.progress.turn(self._info.size)

    def _done(self) -> int:
        return sum(each.length for each in self._sent)

    def _crc(self) -> int:
        return crc32c_of_parts(((wanted, sent.crc) for wanted, sent in self._sent.items()), self._info.size)

    def _expect_vouched(self, found: list[Checksum]) -> None:
        """Compare what passed with what the source vouches for."""
        try:
            agree(found, self._info.checksums)
        except errors.VerificationError as error:
            name = str(self._info.ref)
            raise errors.VerificationError(f"{name}: {error.message}", resource=name) from error

    def _changed(self, error: errors.HypersdkError) -> errors.ObjectChanged:
        name = str(self._info.ref)
        return errors.ObjectChanged(
            f"{name} was replaced while it was read", resource=name, request_id=error.request_id
        )


@dataclass(frozen=True, slots=True)
class _Reading:
    """Names the request that reads what the request `token` sends."""

    token: Hashable


class _Pair:
    """One request that reads a range, and one that sends it on meanwhile."""

    def __init__(self, passing: _Passing, wanted: ByteRange) -> None:
        self._passing = passing
        self._wanted = wanted
        self._pipe = Pipe()

    @property
    def moved(self) -> int:
        """Bytes of the present try that were sent so far."""
        return self._pipe.sent

    @property
    def crc(self) -> int:
        """CRC32C of what passed in the present try."""
        return self._pipe.crc

    def begin(self, wire: Wire, token: int) -> bool:
        """Ask both sides."""
        reading = _Reading(token)
        pipe = Pipe(lambda: wire.resume(reading), lambda: wire.resume(token), self._passing.progress)
        self._pipe = pipe
        wire.submit(self._sending(), body=Feed(self._wanted.length, pipe.read), token=token)
        try:
            wire.submit(self._passing.reading(self._wanted), sink=pipe.take, token=reading, feeds=token)
        except BaseException:
            wire.abandon(token)
            raise
        return True

    def finish(self, reply: Reply) -> None:
        """Note what the target says.

        Raises:
            ReplyRefused: it has other bytes than passed.
        """
        if self._pipe.sent != self._wanted.length:
            raise errors.ReplyRefused(f"the target answered after {self._pipe.sent} of {self._wanted.length} bytes")
        self._take(reply)

    def _sending(self) -> Request:
        raise NotImplementedError

    def _take(self, reply: Reply) -> None:
        raise NotImplementedError


class _Passed(_Pair):
    """One part of a multipart upload."""

    def __init__(self, passing: _Passing, begun: Upload, number: int, wanted: ByteRange) -> None:
        super().__init__(passing, wanted)
        self._begun = begun
        self._number = number

    def _sending(self) -> Request:
        return self._passing.sending_part(self._begun, self._number, self._wanted.length)

    def _take(self, reply: Reply) -> None:
        sent = sent_part(self._begun, self._number, self._wanted.length, self.crc, reply)
        self._passing.record(self._wanted, sent)


class _Whole(_Pair):
    """The whole object."""

    def __init__(self, passing: _Passing, wanted: ByteRange, put: PutOptions) -> None:
        super().__init__(passing, wanted)
        self._put = put
        self.made: ObjectInfo | None = None

    def _sending(self) -> Request:
        return self._passing.sending_whole(self._wanted.length, self._put)

    def _take(self, reply: Reply) -> None:
        self.made = self._passing.made(self._wanted.length, self._put, reply)


def _nobody() -> None:
    return


class Pipe:
    """The bytes between two requests: never more than `ROOM`, and what comes in one piece.

    Args:
        more: called when the reading side, which had to pause, has room again.
        ready: called when the sending side, which had to pause, has something to send.
        progress: counts what moves on either side.
    """

    def __init__(
        self, more: Callable[[], None] = _nobody, ready: Callable[[], None] = _nobody, progress: Progress | None = None
    ) -> None:
        self.crc = 0
        self.sent = 0
        self._more = more
        self._ready = ready
        self._progress = progress
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._full = False
        self._empty = False

    def take(self, data: memoryview) -> bool:
        """Bytes that were read; False = no room yet."""
        if self._held >= ROOM:
            self._full = True
            return False
        piece = bytes(data)
        self.crc = crc32c(piece, self.crc)
        self._pieces.append(piece)
        self._held += len(piece)
        if self._empty:
            self._empty = False
            self._ready()
        return True

    def read(self, _offset: int, size: int) -> bytes | None:
        """Bytes to send; None = none yet."""
        if not self._pieces:
            self._empty = True
            return None
        given = [self._pieces.popleft()]
        length = len(given[0])
        while self._pieces and length + len(self._pieces[0]) <= size:
            given.append(self._pieces.popleft())
            length += len(given[-1])
        if length > size:
            self._pieces.appendleft(given[0][size:])
            given[0], length = given[0][:size], size
        self._held -= length
        self.sent += length
        if self._progress:
            self._progress.count(wire=2 * length)  # received, and sent
        if self._full and self._held <= ROOM // 2:
            self._full = False
            self._more()
        return b"".join(given)

