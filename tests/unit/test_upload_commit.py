"""The end of an upload: what is believed, what is looked for, what is taken back."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from http_store import REF, retrier

from hypersdk import errors
from hypersdk.model import Checksum, ObjectInfo, ObjectRef
from hypersdk.storage.protocol import Part, PutCondition, Upload
from hypersdk.transfer.uploads.committing import commit_checked

UPLOAD = Upload(REF, "upload-1")
PARTS = [Part(1, "a", 6), Part(2, "b", 4)]
CRC = 0xE3069283
GOOD = ObjectInfo(REF, 10, "etag-1", (Checksum("crc32c", "e3069283"),))
SILENT = ObjectInfo(REF, 10, "etag-1")
BAD = ObjectInfo(REF, 10, "etag-1", (Checksum("crc32c", "00000000"),))
SHORT = ObjectInfo(REF, 9, "etag-1", (Checksum("crc32c", "e3069283"),))


@dataclass
class OneObject:
    """A store whose commits end as told, in order; `there` is what a look finds."""

    commits: list[ObjectInfo | errors.HypersdkError]
    there: ObjectInfo | None = None
    deleted: list[str | None] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    named: list[list[str]] = field(default_factory=list)

    def list_parts(self, _upload: Upload) -> list[Part]:
        """Parts as they stand."""
        return self.parts

    def commit(self, _upload: Upload, parts: list[Part], _condition: PutCondition) -> ObjectInfo:
        """The next ending."""
        self.named.append([part.etag for part in parts])
        ending = self.commits.pop(0)
        if isinstance(ending, errors.HypersdkError):
            raise ending
        return ending

    def head(self, ref: ObjectRef) -> ObjectInfo:
        """What is there."""
        if self.there is None:
            raise errors.NotFoundError(f"no such object: {ref}")
        return self.there

    def delete(self, _ref: ObjectRef, *, if_match: str | None = None) -> None:
        """Note it."""
        self.deleted.append(if_match)


def commit(store: OneObject, **fields) -> ObjectInfo:
    """Commit ten bytes."""
    means = {"size": 10, "crc": CRC, "retrier": retrier()}
    return commit_checked(store, UPLOAD, PARTS, **(means | fields))


def test_good_reply_is_believed():
    """A commit whose reply tells size and checksum of what was sent is done."""
    assert commit(OneObject([GOOD])) == GOOD


@pytest.mark.parametrize(
    "error", [errors.NotFoundError("gone"), errors.AlreadyExists("taken"), errors.PreconditionFailed("another")]
)
def test_lost_reply_is_looked_for(error):
    """What says "too late" after a lost reply means done, if the object there is exactly ours."""
    store = OneObject([errors.NetworkError("cut"), error], there=GOOD)
    assert commit(store) == GOOD
    for other in (None, BAD, SHORT, SILENT):
        with pytest.raises(type(error)):
            commit(OneObject([errors.NetworkError("cut"), error], there=other))


def test_a_part_that_was_overtaken_is_named_anew():
    """A try that was given up may arrive late: the parts are listed, and the checksum of the whole decides."""
    refused = errors.RequestRefused("400", service_code="InvalidUploadPart")
    late = [Part(1, "a2", 6), Part(2, "b", 4)]
    store = OneObject([refused, GOOD], parts=late)
    assert commit(store) == GOOD
    assert store.named == [["a", "b"], ["a2", "b"]]
    with pytest.raises(errors.VerificationError):
        commit(OneObject([refused, SILENT], there=SILENT, parts=late))
    for there, error in ((late[:1], refused), (late, errors.RequestRefused("400", service_code="Other"))):
        with pytest.raises(errors.RequestRefused):
            commit(OneObject([error, GOOD], parts=there))


@pytest.mark.parametrize("found", [BAD, SHORT])
def test_wrong_object_is_taken_back(found):
    """An object of other bytes, or of another size, is deleted by its etag, and said to be wrong."""
    store = OneObject([found])
    with pytest.raises(errors.VerificationError):
        commit(store)
    assert store.deleted == ["etag-1"]


def test_silent_service_is_believed_only_for_proven_parts():
    """A reply without a checksum is enough if each part was proven; else the object itself must vouch for the whole."""
    assert commit(OneObject([SILENT])) == SILENT
    assert commit(OneObject([SILENT], there=GOOD), proven=False) == GOOD
    for there in (SILENT, BAD, None):
        store = OneObject([SILENT], there=there)
        with pytest.raises(errors.VerificationError):
            commit(store, proven=False)
        assert store.deleted == ["etag-1"]
