"""An object goes from one store to another: each part is read from one side and sent to the other as it comes.

Rules of this file: nothing is stored here, and no part stands in memory whole: half a MiB is what may wait between the
two requests of a part, and then the faster one pauses; a fault on either side begins the part anew; every range is
pinned by the source's etag; CRC32C is computed as the bytes pass, and compared with what the target says of each part
and of the whole, and with the source's own, before the object appears. A source that was replaced ends it; whoever
called looks at it anew.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from hypersdk import errors
from hypersdk.model import ByteRange, Checksum, ObjectInfo, ObjectRef
from hypersdk.retry import Retrier
from hypersdk.storage.protocol import NO_OPTIONS, LocalRange, Part, PutOptions, Store
from hypersdk.transfer.carried import carried
from hypersdk.transfer.checksums import agree, as_checksum, crc32c
from hypersdk.transfer.engine import Advanced, Progress, unwatched
from hypersdk.transfer.flows.pipe import Pipe
from hypersdk.transfer.flows.streams import send_stream
from hypersdk.transfer.flows.wholeflow import WholeInflow
from hypersdk.transfer.options import DEFAULTS, MIB, TransferOptions
from hypersdk.transfer.parts import Part as PartOfLoop
from hypersdk.transfer.parts import PartLoop
from hypersdk.transfer.ranges import part_size_for
from hypersdk.transfer.uploads.lasting import Lasting, lasting_upload
from hypersdk.transfer.uploads.localsource import SourceFile
from hypersdk.transfer.uploads.sending import Sent, sent_part
from hypersdk.transfer.uploads.uploadjournal import Contents, Intent, claim, digest_of
from hypersdk.transfer.uploads.writes import put_source
from hypersdk.wire.loop import Wire
from hypersdk.wire.request import Feed, Reply, Request, Source

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
    journal: str | None = None,
    advanced: Advanced = unwatched,
    now: Callable[[], float] = time.time,
) -> ObjectInfo:
    """Copy an object from a remote store to a remote store, without a place on this machine; the same call resumes.

    Args:
        source: where it is.
        info: what it is, pinned by its etag. One from a listing is looked at again for what listings do not tell.
        target: where it goes; may be the same store.
        ref: the address of the copy.
        wire: moves the bytes, both ways.
        retrier: policy, waiter, network monitor and refresh of the run.
        options: how it is cut.
        put: condition of the write; metadata and headers here stand before those of the source, which travel along.
        journal: directory of upload journals, made if absent; None = an interrupted copy is dropped.
        advanced: told how many bytes are done.
        now: seconds since 1970.

    Returns:
        The copy with its CRC32C.

    Raises:
        ObjectChanged: the source is no longer the one of `info`; nothing was written.
        AlreadyExists: the condition asks for absence, and the name is taken.
        VerificationError: the bytes are not those that the source vouches for, or the target has others than we sent.
        BusyError: another process copies this object to this address.
        HypersdkError: it failed; `__notes__` say what was kept.
    """
    if not info.headers:
        info = retrier.call(f"look at {info.ref}", lambda: source.head(info.ref))
    put = carried(info, put)
    if not info.ranges:
        inflow = WholeInflow(source, info, wire, retrier)
        try:
            return send_stream(
                inflow, target, ref, wire=wire, retrier=retrier, options=options, put=put, advanced=advanced
            )
        finally:
            inflow.close()
    _expect_relayable(source, info, target, ref)

    def passing(before: int = 0) -> _Passing:
        progress = Progress(info.size, before, advanced, retrier.waiter.report)
        return _Passing(source, info, target, ref, progress)

    if info.size <= min(SMALL, options.part_size):
        return passing().through_memory(wire, retrier, put)
    if not target.capabilities.multipart:
        return passing().whole(wire, retrier, put)
    part_size = part_size_for(info.size, options.part_size, target.capabilities)
    mark = SourceFile(f"{info.ref} {info.version or ''} {info.etag}", 0, 0, info.size, 0)
    intent = Intent(str(ref), mark, part_size, digest_of(put), now())

    def send(lasting: Lasting) -> ObjectInfo:
        return passing(lasting.size).in_parts(lasting, wire, retrier, options=options, put=put)

    # Without an etag nothing says that what was sent before is of this object.
    with claim(journal if info.etag else None, str(info.ref), ref, retrier.waiter.report) as notes:
        return lasting_upload(
            target, ref, put, send, intent=intent, origin=_Pinned(str(info.ref), intent), notes=notes, retrier=retrier
        )


class _Pinned:
    """An object as the origin of an upload: its etag says that it has not changed, so our journal is the proof."""

    def __init__(self, name: str, intent: Intent) -> None:
        self.name = name
        self._intent = intent

    def same(self, before: Intent) -> bool:
        """Whether it is of exactly this object."""
        return (before.source, before.options) == (self._intent.source, self._intent.options)

    def good(self, listed: list[Part], before: Contents, cut: Mapping[int, ByteRange]) -> Iterable[Sent]:
        """Parts that stand under the etag that we were given for them."""
        del cut
        for part in listed:
            known = before.parts.get(part.number)
            if known is not None and known.etag == part.etag:
                yield Sent(replace(part, checksum=as_checksum(known.crc)), known.crc, known.proven)

    def stands(self, info: ObjectInfo) -> bool:
        """Nobody can tell without reading the source again."""
        del info
        return False


def _expect_relayable(source: Store, info: ObjectInfo, target: Store, ref: ObjectRef) -> None:
    first = ByteRange(0, min(1, info.size))
    if isinstance(source.range_request(info, first), LocalRange) or target.put_request(ref, 0) is None:
        raise errors.UsageError(f"{info.ref}: between a file and a store nothing is relayed", resource=str(info.ref))


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
        self._lasting: Lasting | None = None

    def through_memory(self, wire: Wire, retrier: Retrier, put: PutOptions) -> ObjectInfo:
        """Read all bytes at once, check them by whatever the source vouches for, and write them."""
        body = self._read(wire, retrier) if self._info.size else b""
        self.progress.count(wire=len(body))
        self._expect_vouched(_digests(body, self._info.checksums))
        whole = Source(len(body), lambda offset, size: body[offset : offset + size])
        return put_source(whole, self._target, self._ref, wire=wire, retrier=retrier, put=put, progress=self.progress)

    def in_parts(
        self, lasting: Lasting, wire: Wire, retrier: Retrier, *, options: TransferOptions, put: PutOptions
    ) -> ObjectInfo:
        """Pass on all parts that the target does not have, and make the object of them all."""
        self._lasting = lasting
        pairs = (self._part(lasting, number, wanted) for number, wanted in lasting.missing())
        self._run(pairs, wire, retrier, options.parallel)
        self._expect_vouched([as_checksum(lasting.crc())])
        return lasting.commit(self._target, retrier, put.condition)

    def _part(self, lasting: Lasting, number: int, wanted: ByteRange) -> _Pair:
        """One part of a multipart upload."""

        def sending() -> Request:
            request = self._target.part_request(lasting.upload, number, wanted.length, None)
            assert isinstance(request, Request)
            return request

        def done(crc: int, reply: Reply) -> None:
            lasting.keep(sent_part(lasting.upload, number, wanted.length, crc, reply))

        return _Pair(self, wanted, sending, done)

    def whole(self, wire: Wire, retrier: Retrier, put: PutOptions) -> ObjectInfo:
        """Pass the object on by one request, to a target that takes no parts."""
        length, made = self._info.size, list[tuple[Checksum, ObjectInfo]]()

        def sending() -> Request:
            request = self._target.put_request(self._ref, length, put)
            assert request is not None
            return request

        def done(crc: int, reply: Reply) -> None:
            made.append((as_checksum(crc), self._target.put_reply(self._ref, length, put, reply)))

        self._run(iter([_Pair(self, ByteRange(0, length), sending, done)]), wire, retrier, 1)
        ((passed, info),) = made
        self._expect_vouched([passed])
        agree([passed], info.checksums)
        return info

    def count(self, passed: int) -> None:
        """Take note of bytes that were received, and sent on."""
        self.progress.count(wire=2 * passed)

    def reading(self, wanted: ByteRange | None) -> Request:
        """The request that reads a range."""
        request = self._source.range_request(self._info, wanted)
        assert isinstance(request, Request)
        return request

    def _run(self, pairs: Iterator[PartOfLoop], wire: Wire, retrier: Retrier, parallel: int) -> None:
        loop = PartLoop(wire, retrier, f"copy {self._info.ref} to {self._ref}", parallel)
        try:
            loop.run(pairs, lambda: self.progress.turn(self._done() + loop.moving))
        except errors.PreconditionFailed as error:
            raise self._changed(error) from error
        self.progress.turn(self._info.size)

    def _done(self) -> int:
        return self._lasting.size if self._lasting else 0

    def _read(self, wire: Wire, retrier: Retrier) -> bytes:
        name = f"read {self._info.ref}"
        try:
            request = self.reading(None)
            return retrier.call(name, lambda: wire.call(request, limit=self._info.size).body)
        except errors.PreconditionFailed as error:
            raise self._changed(error) from error

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
    """One request that reads a range, and one that sends it on meanwhile.

    Args:
        passing: what all pairs share.
        wanted: the range.
        sending: the request that sends it, made anew for each try.
        done: told the CRC32C of what passed, and the target's reply.
    """

    def __init__(
        self,
        passing: _Passing,
        wanted: ByteRange,
        sending: Callable[[], Request],
        done: Callable[[int, Reply], None],
    ) -> None:
        self._passing = passing
        self._wanted = wanted
        self._sending = sending
        self._done = done
        self._pipe = Pipe()

    @property
    def moved(self) -> int:
        """Bytes of the present try that were sent so far."""
        return self._pipe.sent

    @property
    def left(self) -> int:
        """Bytes of the present try still to be sent."""
        return self._wanted.length - self._pipe.sent

    @property
    def again(self) -> int:
        """Bytes to pass if it is begun anew."""
        return self._wanted.length

    @property
    def crc(self) -> int:
        """CRC32C of what passed in the present try."""
        return self._pipe.crc

    def begin(self, wire: Wire, token: int) -> bool:
        """Ask both sides."""
        reading = _Reading(token)
        pipe = Pipe(lambda: wire.resume(reading), lambda: wire.resume(token), self._passing.count)
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
        self._done(self.crc, reply)
