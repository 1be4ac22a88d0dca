"""A multipart upload that another process can go on with: what is recorded, taken over, kept and dropped. No bytes.

Rules of this file: those of `uploadjournal.py`; what was recorded of another source, or with other metadata, is dropped
and begun anew; the service's own list of parts is the truth of what is there, and the origin says which of them are
good; interrupted, or ended by a fault that passes, an upload is kept and the error says so; failed for good it is
dropped, because unfinished parts cost money unseen. One whose lease was lost belongs to another process: it is not
touched.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from hypersdk import errors, events
from hypersdk.model import ByteRange, ObjectInfo, ObjectRef, format_size
from hypersdk.retry import Retrier
from hypersdk.storage.oci_headers import PART_SIZE
from hypersdk.storage.protocol import Part, PutCondition, PutOptions, Store, Upload
from hypersdk.transfer.checksums import crc32c_of_parts
from hypersdk.transfer.ranges import split
from hypersdk.transfer.uploads.committing import commit_checked
from hypersdk.transfer.uploads.resuming import find_created
from hypersdk.transfer.uploads.sending import Sent, look
from hypersdk.transfer.uploads.uploadjournal import Contents, Intent, Known, UploadJournal

GONE = "UploadNotFound"
"""What the service says of an upload that was committed or aborted."""


@dataclass
class Lasting:
    """An upload and what the service has of it.

    Attributes:
        upload: the upload.
        cut: where each part stands in the whole, by number; as the first call cut it.
        notes: where parts are recorded.
        sent: parts that need not be sent again, by number.
        there: bytes of each part that the service has, whatever they are worth.
    """

    upload: Upload
    cut: Mapping[int, ByteRange]
    notes: UploadJournal
    sent: dict[int, Sent] = field(default_factory=dict)
    there: dict[int, int] = field(default_factory=dict)
    size: int = 0
    """Bytes that need not be sent again."""

    def missing(self) -> Iterator[tuple[int, ByteRange]]:
        """The parts that are still to be sent."""
        return ((number, wanted) for number, wanted in self.cut.items() if number not in self.sent)

    def take(self, sent: Iterable[Sent]) -> None:
        """These parts are good as the service has them."""
        for each in sent:
            self.sent[each.part.number] = each
            self.size += each.part.size

    def keep(self, sent: Sent) -> None:
        """Note that the service has a part."""
        self.take([sent])
        self.there[sent.part.number] = sent.part.size
        self.notes.record(sent.part.number, Known(sent.part.etag, sent.crc, sent.proven))

    def crc(self) -> int:
        """CRC32C of the whole, once all parts are there."""
        size = sum(each.length for each in self.cut.values())
        return crc32c_of_parts(((self.cut[number], sent.crc) for number, sent in self.sent.items()), size)

    def commit(self, store: Store, retrier: Retrier, condition: PutCondition) -> ObjectInfo:
        """Make the object of all parts, proven."""
        return commit_checked(
            store,
            self.upload,
            [sent.part for sent in self.sent.values()],
            size=self.size,
            crc=self.crc(),
            retrier=retrier,
            condition=condition,
            proven=store.capabilities.lists_parts and all(sent.proven for sent in self.sent.values()),
        )

    def kept(self) -> str:
        """What stays at the service, and how to drop it."""
        return kept(self.upload, f"{len(self.there)} of {len(self.cut)}", sum(self.there.values()))


class Origin(Protocol):
    """Where the bytes of an upload come from; says what an earlier call's upload is still worth."""

    name: str
    """For people."""

    def same(self, before: Intent) -> bool:
        """Whether an upload that was begun for this is gone on with."""

    def good(self, listed: list[Part], before: Contents, cut: Mapping[int, ByteRange]) -> Iterable[Sent]:
        """Parts that need not be sent again, of those that the service lists."""

    def stands(self, info: ObjectInfo) -> bool:
        """Whether an object at the target is what the earlier call was to make: its upload is gone."""


def lasting_upload(
    store: Store,
    ref: ObjectRef,
    put: PutOptions,
    send: Callable[[Lasting], ObjectInfo],
    *,
    intent: Intent,
    origin: Origin,
    notes: UploadJournal,
    retrier: Retrier,
) -> ObjectInfo:
    """Go on with the upload of an earlier call, if it was of the same source, else with a new one.

    Args:
        store: where.
        ref: the object's address.
        put: condition, metadata and headers of the object.
        send: sends what is missing, and commits; called once more if somebody else aborts the upload meanwhile.
        intent: of what it is.
        origin: where its bytes come from.
        notes: the journal, claimed; one without a file remembers nothing.
        retrier: repeats what may be repeated.

    Returns:
        The object, as `send` made it or an earlier call did.

    Raises:
        HypersdkError: it could not be begun, or what ended `send`; `__notes__` say what was kept.
    """
    going = _Going(store, ref, put, intent=intent, origin=origin, notes=notes, retrier=retrier)
    try:
        info = going.run(send)
    except errors.LeaseLost:
        raise
    except BaseException as error:
        going.end(error)
        raise
    notes.forget()
    return info


class _Going:
    def __init__(
        self,
        store: Store,
        ref: ObjectRef,
        put: PutOptions,
        *,
        intent: Intent,
        origin: Origin,
        notes: UploadJournal,
        retrier: Retrier,
    ) -> None:
        self._store = store
        self._ref = ref
        self._put = put
        self._intent = intent
        self._origin = origin
        self._notes = notes
        self._retrier = retrier
        self._lasting: Lasting | None = None
        self._looking = False  # at what an earlier call has left: it is not forgotten before it has been seen

    def run(self, send: Callable[[Lasting], ObjectInfo]) -> ObjectInfo:
        """Go on with what is there, or begin."""
        if (before := self._notes.load()) is not None:
            self._looking = True
            done = self._take_over(before)
            self._looking = False
            if done is not None:
                return done
        try:
            return send(self._lasting or self._begin())
        except errors.NotFoundError as error:
            if error.service_code != GONE:
                raise
            self._say(f"the upload of {self._origin.name} was aborted by somebody else: it is begun anew")
        return send(self._begin())

    def end(self, error: BaseException) -> None:
        """Keep what the same call can go on with; drop what nobody would."""
        passing, lasting = passes(error), self._lasting
        if lasting is None:
            if not passing and not self._looking:
                self._notes.forget()
        elif (passing and self._notes.holds) or not abort(self._store, lasting.upload):
            error.add_note(lasting.kept())
        else:
            self._notes.forget()

    def _take_over(self, before: Contents) -> ObjectInfo | None:
        """Go on with what an earlier call has left; an object only if it turns out to be done already."""
        upload = Upload(self._ref, before.upload_id) if before.upload_id else self._lost(before.intent)
        if upload is None:
            return None
        if not self._origin.same(before.intent):
            self._say(f"{self._origin.name} is another than when its upload began: it is begun anew")
            if not abort(self._store, upload):
                self._say(f"the upload that was begun cannot be aborted: {kept(upload, '0', 0, resumable=False)}")
            return None
        self._lasting = Lasting(upload, _cut(before.intent), self._notes)
        try:
            listed = self._listed(self._lasting, before)
        except errors.NotFoundError as error:
            if error.service_code not in {None, GONE}:
                raise
            self._lasting = None
            info = look(self._store, self._ref, self._retrier)
            return info if info is not None and self._origin.stands(info) else None
        self._lasting.there = {part.number: part.size for part in listed}
        there, all_of_them = len(listed), len(self._lasting.cut)
        self._say(f"goes on with the upload of {self._origin.name}: {there} of {all_of_them} parts are there")
        self._lasting.take(self._origin.good(listed, before, self._lasting.cut))
        if not before.upload_id:
            self._notes.created(upload.upload_id)
        return None

    def _begin(self) -> Lasting:
        """Create the upload; one whose reply was lost is found."""
        self._lasting, put, part_size = None, self._put, self._intent.part_size
        self._notes.intend(self._intent)
        if self._store.capabilities.metadata:
            put = replace(put, metadata={**put.metadata, PART_SIZE: str(part_size)})
        upload = create(self._store, self._ref, put, self._retrier, self._intent.began)
        self._notes.created(upload.upload_id)
        self._lasting = Lasting(upload, _cut(self._intent), self._notes)
        return self._lasting

    def _listed(self, lasting: Lasting, before: Contents) -> list[Part]:
        """What the service has; of a store that does not tell we believe the journal, and the whole is compared."""
        if self._store.capabilities.lists_parts:
            upload = lasting.upload
            return self._retrier.call(f"list parts of {self._ref}", lambda: list(self._store.list_parts(upload)))
        known = ((number, before.parts[number].etag) for number in before.parts if number in lasting.cut)
        return [Part(number, etag, lasting.cut[number].length) for number, etag in known]

    def _say(self, text: str) -> None:
        self._retrier.waiter.report(events.Note(text))

    def _lost(self, intent: Intent) -> Upload | None:
        return self._retrier.call(
            f"look for upload of {self._ref}", lambda: find_created(self._store, self._ref, intent.began)
        )


def _cut(intent: Intent) -> dict[int, ByteRange]:
    return dict(enumerate(split(ByteRange(0, intent.source.size), intent.part_size), 1))


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
