"""A multipart upload that another process can go on with: what is recorded, taken over, kept and dropped. No bytes.

Rules of this file: those of `uploadjournal.py`; what was recorded of another source, or with other metadata, is dropped
and begun anew; a part counts if the service lists it under the etag that we were given for it, since the source is
pinned by its own etag and has not changed; interrupted, or ended by a fault that passes, an upload is kept and the
error says so; failed for good it is dropped, because unfinished parts cost money unseen.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hypersdk import errors, events
from hypersdk.model import ByteRange, ObjectRef, format_size
from hypersdk.retry import Retrier
from hypersdk.storage.protocol import Part, PutOptions, Store, Upload
from hypersdk.transfer.checksums import as_checksum
from hypersdk.transfer.uploads.resuming import find_created
from hypersdk.transfer.uploads.sending import Sent
from hypersdk.transfer.uploads.uploadjournal import Contents, Intent, Known, UploadJournal

GONE = "UploadNotFound"
"""What the service says of an upload that was committed or aborted."""


@dataclass
class Lasting:
    """An upload and what the service has of it.

    Attributes:
        upload: the upload.
        part_size: bytes of each part but the last; that of the first call.
        sent: parts that need not be sent again, by number.
    """

    upload: Upload
    part_size: int
    notes: UploadJournal
    sent: dict[int, Sent] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes that the service has."""
        return sum(sent.part.size for sent in self.sent.values())

    @property
    def proven(self) -> bool:
        """Whether the service has told the CRC32C of every part."""
        return all(sent.proven for sent in self.sent.values())

    def ranges(self) -> Iterator[tuple[ByteRange, int]]:
        """Where the parts stand in the whole, each with its CRC32C."""
        for number, sent in self.sent.items():
            start = self.part_size * (number - 1)
            yield ByteRange(start, start + sent.part.size), sent.crc

    def keep(self, sent: Sent) -> None:
        """Note that the service has a part."""
        self.sent[sent.part.number] = sent
        self.notes.record(sent.part.number, Known(sent.part.etag, sent.crc, sent.proven))


@contextmanager
def lasting_upload(
    store: Store, ref: ObjectRef, put: PutOptions, *, intent: Intent, notes: UploadJournal, retrier: Retrier
) -> Iterator[Lasting]:
    """The upload of an earlier call, if it was of the same source, else a new one.

    Args:
        store: where.
        ref: the object's address.
        put: condition, metadata and headers of the object.
        intent: of what it is.
        notes: the journal, claimed; one without a file remembers nothing.
        retrier: repeats what may be repeated.

    Raises:
        HypersdkError: it could not be begun, or what ended the block; `__notes__` say what was kept.
    """
    going = _Going(store, ref, put, notes, retrier)
    try:
        yield going.take_over(intent) or going.begin(intent)
    except errors.LeaseLost:
        raise
    except BaseException as error:
        going.end(error)
        raise
    notes.forget()


class _Going:
    def __init__(self, store: Store, ref: ObjectRef, put: PutOptions, notes: UploadJournal, retrier: Retrier) -> None:
        self._store = store
        self._ref = ref
        self._put = put
        self._notes = notes
        self._retrier = retrier
        self._lasting: Lasting | None = None
        self._looking = False  # at what an earlier call has left: it is not forgotten before it has been seen

    def take_over(self, intent: Intent) -> Lasting | None:
        """Go on with what an earlier call has left, if it is of the same source and still there."""
        before = self._notes.load()
        if before is None:
            return None
        self._looking = True
        self._lasting = self._found(before, intent)
        self._looking = False
        return self._lasting

    def _found(self, before: Contents, intent: Intent) -> Lasting | None:
        upload = Upload(self._ref, before.upload_id) if before.upload_id else self._lost(before.intent)
        if upload is None:
            return None
        if (before.intent.source, before.intent.options) != (intent.source, intent.options):
            self._say(f"{self._ref}: its source has changed: it is begun anew")
            if not abort(self._store, upload):
                self._say(f"the upload that was begun cannot be aborted: {kept(upload, '0', 0, resumable=False)}")
            return None
        try:
            listed = self._listed(upload, before)
        except errors.NotFoundError as error:
            if error.service_code not in {None, GONE}:
                raise
            return None
        if not before.upload_id:
            self._notes.created(upload.upload_id)
        self._say(f"goes on with the upload of {self._ref}: {len(listed)} parts are there")
        good = {part.number: sent for part in listed if (sent := _known(part, before))}
        return Lasting(upload, before.intent.part_size, self._notes, good)

    def begin(self, intent: Intent) -> Lasting:
        """Create the upload; one whose reply was lost is found."""
        self._notes.intend(intent)
        upload = create(self._store, self._ref, self._put, self._retrier, intent.began)
        self._notes.created(upload.upload_id)
        self._lasting = Lasting(upload, intent.part_size, self._notes)
        return self._lasting

    def end(self, error: BaseException) -> None:
        """Keep what the same call can go on with; drop what nobody would."""
        passing, lasting = passes(error), self._lasting
        if lasting is None:
            if not passing and not self._looking:
                self._notes.forget()
        elif (passing and self._notes.holds) or not abort(self._store, lasting.upload):
            error.add_note(kept(lasting.upload, str(len(lasting.sent)), lasting.size))
        else:
            self._notes.forget()

    def _listed(self, upload: Upload, before: Contents) -> list[Part]:
        """What the service has; of a store that does not tell we believe the journal, and the whole is compared."""
        if self._store.capabilities.lists_parts:
            return self._retrier.call(f"list parts of {self._ref}", lambda: list(self._store.list_parts(upload)))
        size, part_size = before.intent.source.size, before.intent.part_size
        return [
            Part(number, known.etag, min(part_size, size - part_size * (number - 1)))
            for number, known in before.parts.items()
        ]

    def _say(self, text: str) -> None:
        self._retrier.waiter.report(events.Note(text))

    def _lost(self, intent: Intent) -> Upload | None:
        return self._retrier.call(
            f"look for upload of {self._ref}", lambda: find_created(self._store, self._ref, intent.began)
        )


def create(store: Store, ref: ObjectRef, put: PutOptions, retrier: Retrier, began: float) -> Upload:
    """A new upload; one that was created although its reply was lost is found before another is begun.

    Args:
        store: where.
        ref: the object's address.
        put: condition, metadata and headers of the object.
        retrier: repeats what may be repeated.
        began: seconds since 1970; an older upload is somebody else's.
    """
    lost = False

    def once() -> Upload:
        nonlocal lost
        found = find_created(store, ref, began) if lost else None
        lost = True
        return found or store.create_multipart_upload(ref, put)

    return retrier.call(f"begin upload of {ref}", once)


def abort(store: Store, upload: Upload) -> bool:
    """Drop an upload; says whether it is gone."""
    try:
        store.abort(upload)
    except errors.HypersdkError:
        return False
    return True


def passes(error: BaseException) -> bool:
    """Whether the same call later may well end otherwise."""
    if not isinstance(error, errors.HypersdkError):
        return True
    if isinstance(error, errors.Cancelled | errors.PermissionDenied):
        return False
    return isinstance(error, errors.Stopped | errors.PassingError | errors.AuthError | errors.DiskFull)


def kept(upload: Upload, parts: str, size: int, *, resumable: bool = True) -> str:
    """What stays at the service, and how to drop it.

    Args:
        upload: the upload.
        parts: how many, "3" or "3 of 9".
        size: bytes of them.
        resumable: whether the same command goes on with it.
    """
    ref = upload.ref
    names = f"-ns {ref.namespace} -bn {ref.bucket} -on {shlex.quote(ref.name)}"
    drop = f"oci os multipart abort {names} --upload-id" if ref.scheme == "oci" else "abort"
    goes_on = "the same command goes on with it; " if resumable else ""
    return (
        f"{parts} parts ({format_size(size)}) of an unfinished upload at {ref}, billed until it ends; {goes_on}"
        f"to drop it: {drop} {upload.upload_id}"
    )


def _known(part: Part, before: Contents) -> Sent | None:
    known = before.parts.get(part.number)
    if known is None or known.etag != part.etag:
        return None
    return Sent(Part(part.number, part.etag, part.size, as_checksum(known.crc)), known.crc, known.proven)
