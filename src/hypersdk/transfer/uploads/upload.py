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
from collections.abc import Callable
from dataclasses import replace

from hypersdk import errors, events
from hypersdk.model import ByteRange, ObjectInfo, ObjectRef
from hypersdk.retry import Retrier
from hypersdk.storage.oci_headers import PART_SIZE
from hypersdk.storage.protocol import NO_OPTIONS, Part, PutOptions, Store, Upload
from hypersdk.transfer.checksums import as_checksum, crc32c_of_parts
from hypersdk.transfer.engine import Advanced, Progress, unwatched
from hypersdk.transfer.options import DEFAULTS, MIB, TransferOptions
from hypersdk.transfer.parts import PartLoop
from hypersdk.transfer.ranges import part_size_for, split
from hypersdk.transfer.uploads.committing import commit_checked
from hypersdk.transfer.uploads.lasting import GONE, abort, create, kept, passes
from hypersdk.transfer.uploads.localsource import LocalSource
from hypersdk.transfer.uploads.resuming import find_created, read_through, still_good
from hypersdk.transfer.uploads.sending import Sent, UploadPart, look
from hypersdk.transfer.uploads.uploadjournal import Contents, Intent, Known, UploadJournal, claim, digest_of
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
        with claim(journal, path, ref, retrier.waiter.report) as notes:
            intent = Intent(str(ref), source.facts, part_size, digest_of(put), now())
            sending = _Sending(source, store, ref, put=put, notes=notes, retrier=retrier)
            return sending.run(intent, wire, options.parallel, advanced)


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


class _Sending:
    """One multipart upload of one file, from its record to its commit."""

    def __init__(
        self,
        source: LocalSource,
        store: Store,
        ref: ObjectRef,
        *,
        put: PutOptions,
        notes: UploadJournal,
        retrier: Retrier,
    ) -> None:
        self._source = source
        self._store = store
        self._ref = ref
        self._put = put
        self._notes = notes
        self._retrier = retrier
        self._upload: Upload | None = None
        self._cut: dict[int, ByteRange] = {}
        self._sent: dict[int, Sent] = {}
        self._done = 0
        self._there: dict[int, int] = {}  # bytes of each part that the service has, whatever they are worth

    def run(self, intent: Intent, wire: Wire, parallel: int, advanced: Advanced) -> ObjectInfo:
        """Go on with what is there, or begin; send what is missing; commit."""
        try:
            before = self._notes.load()
            info = self._take_over(before, intent) if before else None
            info = info or self._send_all(intent, wire, parallel, advanced)
        except errors.LeaseLost:
            raise
        except BaseException as error:
            self._end(error)
            raise
        self._notes.forget()
        return info

    def _take_over(self, before: Contents, intent: Intent) -> ObjectInfo | None:
        """Go on with an earlier call's upload, if there is one; an object only if it turns out to be done already."""
        upload = Upload(self._ref, before.upload_id) if before.upload_id else self._found(before.intent)
        if upload is None:
            return None
        if (before.intent.source.size, before.intent.options) != (intent.source.size, intent.options):
            self._say(f"{intent.source.path} is another file than when its upload began: it is begun anew")
            if not abort(self._store, upload):
                self._say(f"the upload that was begun for it cannot be aborted: {self._kept(upload)}")
            return None
        self._upload, self._cut = upload, self._parts_of(before.intent.part_size)
        try:
            listed = self._listed(upload, before)
        except errors.NotFoundError as error:
            if error.service_code not in {None, GONE}:
                raise
            self._upload = None
            return self._committed_before()
        self._there = {part.number: part.size for part in listed}
        if before.intent.source != intent.source:
            self._say(f"{intent.source.path} was written to since its upload began: parts that differ are sent again")
        self._say(f"goes on with the upload of {intent.source.path}: {len(listed)} of {len(self._cut)} parts are there")
        self._sent = still_good(self._source, listed, before.parts, self._cut, self._retrier.waiter.tick)
        self._done = sum(sent.part.size for sent in self._sent.values())
        if not before.upload_id:
            self._notes.created(upload.upload_id)
        return None

    def _found(self, intent: Intent) -> Upload | None:
        return self._retrier.call(
            f"look for upload of {self._ref}", lambda: find_created(self._store, self._ref, intent.began)
        )

    def _listed(self, upload: Upload, before: Contents) -> list[Part]:
        """What the service has; of a store that does not tell we believe the journal, and the whole is compared."""
        if self._store.capabilities.lists_parts:
            return self._retrier.call(f"list parts of {self._ref}", lambda: list(self._store.list_parts(upload)))
        known = [number for number in before.parts if number in self._cut]
        return [Part(number, before.parts[number].etag, self._cut[number].length) for number in known]

    def _committed_before(self) -> ObjectInfo | None:
        """The object, if the upload is gone because an earlier call has committed it and heard nothing of that."""
        info = look(self._store, self._ref, self._retrier)
        if info is None or info.size != self._source.size:
            return None
        if self._store.capabilities.metadata and PART_SIZE not in info.metadata:
            return None
        crc, _ = read_through(self._source, ByteRange(0, self._source.size), self._retrier.waiter.tick)
        self._source.expect_unchanged()
        return info if as_checksum(crc) in info.checksums else None

    def _send_all(self, intent: Intent, wire: Wire, parallel: int, advanced: Advanced) -> ObjectInfo:
        try:
            return self._send(self._upload or self._begin(intent), wire, parallel, advanced)
        except errors.NotFoundError as error:
            if error.service_code != GONE:
                raise
            self._say(f"the upload of {intent.source.path} was aborted by somebody else: it is begun anew")
        return self._send(self._begin(intent), wire, parallel, advanced)

    def _begin(self, intent: Intent) -> Upload:
        """Create the upload; one whose reply was lost is found."""
        self._cut, self._sent, self._there = self._parts_of(intent.part_size), {}, {}
        self._upload, self._done = None, 0
        self._notes.intend(intent)
        put = self._put
        if self._store.capabilities.metadata:
            put = replace(put, metadata={**put.metadata, PART_SIZE: str(intent.part_size)})
        self._upload = create(self._store, self._ref, put, self._retrier, intent.began)
        self._notes.created(self._upload.upload_id)
        return self._upload

    def _send(self, upload: Upload, wire: Wire, parallel: int, advanced: Advanced) -> ObjectInfo:
        progress = Progress(self._source.size, self._done, advanced, self._retrier.waiter.report)
        loop = PartLoop(wire, self._retrier, f"upload {self._ref}", parallel)
        missing = [number for number in self._cut if number not in self._sent]
        loop.run(
            (self._part(upload, number, progress) for number in missing),
            lambda: progress.turn(self._done + loop.moving),
        )
        progress.turn(self._source.size)
        self._source.expect_unchanged()
        whole = ((self._cut[number], sent.crc) for number, sent in self._sent.items())
        return commit_checked(
            self._store,
            upload,
            [sent.part for sent in self._sent.values()],
            size=self._source.size,
            crc=crc32c_of_parts(whole, self._source.size),
            retrier=self._retrier,
            condition=self._put.condition,
            proven=self._store.capabilities.lists_parts and all(sent.proven for sent in self._sent.values()),
        )

    def _part(self, upload: Upload, number: int, progress: Progress) -> UploadPart:
        source = self._source.section(self._cut[number])
        return UploadPart(
            self._store, upload, number, source, counted=lambda size: progress.count(wire=size), done=self._keep
        )

    def _keep(self, sent: Sent) -> None:
        self._sent[sent.part.number] = sent
        self._there[sent.part.number] = sent.part.size
        self._done += sent.part.size
        self._notes.record(sent.part.number, Known(sent.part.etag, sent.crc, sent.proven))

    def _parts_of(self, part_size: int) -> dict[int, ByteRange]:
        return dict(enumerate(split(ByteRange(0, self._source.size), part_size), 1))

    def _say(self, text: str) -> None:
        self._retrier.waiter.report(events.Note(text))

    def _end(self, error: BaseException) -> None:
        """Keep what the same call can go on with; drop what nobody would."""
        passing = passes(error)
        if self._upload is None:
            if not passing:
                self._notes.forget()
        elif (passing and self._notes.holds) or not abort(self._store, self._upload):
            error.add_note(self._kept(self._upload))
        else:
            self._notes.forget()

    def _kept(self, upload: Upload) -> str:
        return kept(upload, f"{len(self._there)} of {len(self._cut)}", sum(self._there.values()))
