"""A local file becomes an object: one request if it is small, else parts that survive whatever ends this process.

Rules of this file:
- A file that changes meanwhile is noticed and never committed: its size, times and inode are looked at before the last
  byte of a small one goes out, and before the commit of a large one.
- The upload is recorded before it is created (`uploadjournal.py`), so one whose reply was lost is found and taken over.
- On resume the service's own list of parts is the truth, and the bytes that stand in the file now are: a part counts if
  the etag is the one that we were given for it, or the service lists its MD5, and the file still has those bytes.
- Interrupted, or ended by a fault that passes, an upload is kept and the error says so; failed for good it is aborted,
  because unfinished parts cost money unseen. One whose lease was lost belongs to another process: it is not touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from hypersdk import errors, events
from hypersdk.model import ByteRange, ObjectInfo, ObjectRef
from hypersdk.retry import Retrier
from hypersdk.storage.oci_headers import PART_SIZE
from hypersdk.storage.protocol import NO_OPTIONS, Part, PutOptions, Store
from hypersdk.transfer.checksums import as_checksum
from hypersdk.transfer.engine import Advanced, Progress, unwatched
from hypersdk.transfer.options import DEFAULTS, MIB, TransferOptions
from hypersdk.transfer.parts import PartLoop
from hypersdk.transfer.ranges import part_size_for
from hypersdk.transfer.uploads.lasting import Lasting, lasting_upload
from hypersdk.transfer.uploads.localsource import LocalSource
from hypersdk.transfer.uploads.resuming import read_through, still_good
from hypersdk.transfer.uploads.sending import Sent, UploadPart
from hypersdk.transfer.uploads.uploadjournal import Contents, Intent, claim, digest_of
from hypersdk.transfer.uploads.writes import put_source
from hypersdk.wire.loop import Wire

LARGEST_WHOLE = 64 * MIB
"""Most bytes that go as one request where parts are possible: a request that is cut begins anew."""


def upload(
    path: str,
    store: Store,
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
    """Upload a file; the same call goes on with an upload that was interrupted.

    Args:
        path: the file; it must not change meanwhile.
        store: where to.
        ref: the object's address.
        wire: moves the bytes.
        retrier: policy, waiter, network monitor and refresh of the run.
        options: how it is cut.
        put: condition, metadata and content type of the object.
        journal: directory of upload journals, made if absent; None = an interrupted upload is aborted.
        advanced: told how many bytes are done.
        now: seconds since 1970.

    Returns:
        The object with its CRC32C.

    Raises:
        AlreadyExists: the condition asks for absence, and the name is taken.
        PreconditionFailed: another object stands there than the condition names.
        BusyError: another process uploads this file to this address.
        FileError: the file cannot be read, or changed meanwhile.
        VerificationError: the service has other bytes than we sent.
        HypersdkError: it failed; `__notes__` say what was kept.
    """
    with LocalSource(path) as source:
        able = store.capabilities
        if not able.multipart or source.size <= min(options.part_size, LARGEST_WHOLE):
            return _put_whole(source, store, ref, put, wire=wire, retrier=retrier, advanced=advanced)
        part_size = part_size_for(source.size, options.part_size, able)
        # Absolute: whoever finds the journal later may stand elsewhere.
        facts = replace(source.facts, path=str(Path(path).absolute()))
        intent = Intent(str(ref), facts, part_size, digest_of(put), now())

        def send(lasting: Lasting) -> ObjectInfo:
            progress = Progress(source.size, lasting.size, advanced, retrier.waiter.report)
            loop = PartLoop(wire, retrier, f"upload {ref}", options.parallel)
            parts = (_part(source, store, lasting, each, progress) for each in lasting.missing())
            loop.run(parts, lambda: progress.turn(lasting.size + loop.moving))
            progress.turn(source.size)
            source.expect_unchanged()
            return lasting.commit(store, retrier, put.condition)

        with claim(journal, path, ref, retrier.waiter.report) as notes:
            origin = _FromFile(path, source, store, intent, retrier)
            return lasting_upload(store, ref, put, send, intent=intent, origin=origin, notes=notes, retrier=retrier)


def _part(
    source: LocalSource, store: Store, lasting: Lasting, part: tuple[int, ByteRange], progress: Progress
) -> UploadPart:
    number, wanted = part
    return UploadPart(
        store,
        lasting.upload,
        number,
        source.section(wanted),
        counted=lambda size: progress.count(wire=size),
        done=lasting.keep,
    )


def _put_whole(
    source: LocalSource,
    store: Store,
    ref: ObjectRef,
    put: PutOptions,
    *,
    wire: Wire,
    retrier: Retrier,
    advanced: Advanced,
) -> ObjectInfo:
    progress = Progress(source.size, 0, advanced, retrier.waiter.report)
    try:
        return put_source(source.guarded(), store, ref, wire=wire, retrier=retrier, put=put, progress=progress)
    except errors.ReplyRefused:
        source.expect_unchanged()  # other bytes than the checksum was taken of
        raise


class _FromFile:
    """A file as the origin of an upload: parts are compared with the bytes that stand in it now."""

    def __init__(self, name: str, source: LocalSource, store: Store, intent: Intent, retrier: Retrier) -> None:
        self.name = name
        self._source = source
        self._store = store
        self._intent = intent
        self._waiter = retrier.waiter

    def same(self, before: Intent) -> bool:
        """Whether it has the size that it had; what else was changed, the parts tell."""
        return (before.source.size, before.options) == (self._intent.source.size, self._intent.options)

    def good(self, listed: list[Part], before: Contents, cut: Mapping[int, ByteRange]) -> Iterable[Sent]:
        """Parts whose bytes the file still has."""
        if before.intent.source != self._intent.source:
            self._waiter.report(
                events.Note(f"{self.name} was written to since its upload began: parts that differ are sent again")
            )
        return still_good(self._source, listed, before.parts, cut, self._waiter.tick).values()

    def stands(self, info: ObjectInfo) -> bool:
        """Whether an object has the file's bytes, and was made by an upload of ours."""
        if info.size != self._source.size:
            return False
        if self._store.capabilities.metadata and PART_SIZE not in info.metadata:
            return False
        crc, _ = read_through(self._source, ByteRange(0, self._source.size), self._waiter.tick)
        self._source.expect_unchanged()
        return as_checksum(crc) in info.checksums
