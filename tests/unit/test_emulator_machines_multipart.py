"""Multipart uploads against a model: a dictionary of parts and a dictionary of objects."""

import base64
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import crc32c
import pytest
from emulator import NAMESPACE
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from machines import LONG, QUICK, CloudMachine, run_machine

BUCKET = f"/n/{NAMESPACE}/b/exports"
NAMES = st.sampled_from(["a", "b/c", "b/c/d", "ü +"])
PATHS = {"a": "a", "b/c": "b%2Fc", "b/c/d": "b%2Fc%2Fd", "ü +": "%C3%BC%20%2B"}
NUMBERS = st.sampled_from([1, 2, 3, 7, 10_000])
DATA = st.binary(max_size=40)
WRONG = "0" * 8


@dataclass
class Upload:
    """An upload of the model: its parts as (etag, bytes) by number."""

    name: str
    checked: bool
    parts: dict[int, tuple[str, bytes]] = field(default_factory=dict)


def digest(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


class Multipart(CloudMachine):
    """Creates, fills, commits and aborts uploads, beside plain writes, with restarts in between."""

    def __init__(self) -> None:
        super().__init__()
        self.uploads: dict[str, Upload] = {}
        self.ended: dict[str, str] = {}
        self.objects: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}

    def path(self, upload_id: str, name: str) -> str:
        return f"{BUCKET}/u/{PATHS[name]}?uploadId={upload_id}"

    def pick(self, data: st.DataObject) -> tuple[str, Upload]:
        upload_id = data.draw(st.sampled_from(sorted(self.uploads)))
        return upload_id, self.uploads[upload_id]

    def stored(self, name: str, content: bytes, etag: str) -> None:
        assert etag not in self.etags.values(), "an etag came twice"
        self.objects[name], self.etags[name] = content, etag

    @rule(name=NAMES, checked=st.booleans())
    def begin(self, name: str, checked: bool) -> None:
        headers = {"opc-checksum-algorithm": "CRC32C"} if checked else {}
        made = self.ok("POST", f"{BUCKET}/u", {"object": name}, **headers).json
        assert made["object"] == name
        assert made["uploadId"] not in self.uploads.keys() | self.ended.keys()
        self.uploads[made["uploadId"]] = Upload(name, checked)

    @rule(name=NAMES)
    def begin_only_if_absent(self, name: str) -> None:
        if name in self.objects:
            self.refused(412, "IfNoneMatchFailed", "POST", f"{BUCKET}/u", {"object": name}, **{"if-none-match": "*"})

    @precondition(lambda self: self.uploads)
    @rule(data=st.data(), number=NUMBERS, content=DATA)
    def put_part(self, data: st.DataObject, number: int, content: bytes) -> None:
        upload_id, upload = self.pick(data)
        reply = self.ok("PUT", f"{self.path(upload_id, upload.name)}&uploadPartNum={number}", content)
        assert base64.b64decode(reply.headers["opc-content-md5"]) == digest(content)
        upload.parts[number] = reply.headers["etag"], content

    @precondition(lambda self: self.uploads)
    @rule(data=st.data(), number=NUMBERS, content=DATA)
    def put_part_spoiled(self, data: st.DataObject, number: int, content: bytes) -> None:
        upload_id, upload = self.pick(data)
        wrong = base64.b64encode(digest(content + b"!")).decode()
        path = f"{self.path(upload_id, upload.name)}&uploadPartNum={number}"
        self.refused(400, "UnmatchedContentMD5", "PUT", path, content, **{"content-md5": wrong})

    @precondition(lambda self: any(upload.parts for upload in self.uploads.values()))
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        upload_id = data.draw(st.sampled_from(sorted(i for i, upload in self.uploads.items() if upload.parts)))
        upload = self.uploads[upload_id]
        chosen = data.draw(st.lists(st.sampled_from(sorted(upload.parts)), min_size=1, unique=True))
        body = {"partsToCommit": [{"partNum": number, "etag": upload.parts[number][0]} for number in chosen]}
        reply = self.ok("POST", self.path(upload_id, upload.name), body)
        pieces = [upload.parts[number][1] for number in sorted(chosen)]
        md5 = base64.b64encode(digest(b"".join(digest(piece) for piece in pieces))).decode()
        assert reply.headers["opc-multipart-md5"] == f"{md5}-{len(pieces)}"
        whole = b"".join(pieces)
        if upload.checked:
            crc = base64.b64encode(crc32c.crc32c(whole).to_bytes(4, "big")).decode()
            assert reply.headers["opc-content-crc32c"] == crc
        self.stored(upload.name, whole, reply.headers["etag"])
        self.ended[upload_id] = self.uploads.pop(upload_id).name

    @precondition(lambda self: self.uploads)
    @rule(data=st.data(), mistake=st.sampled_from(["etag", "number", "twice", "nothing"]))
    def commit_wrongly(self, data: st.DataObject, mistake: str) -> None:
        upload_id, upload = self.pick(data)
        parts = [{"partNum": number, "etag": etag} for number, (etag, _) in upload.parts.items()]
        wrong = {
            "etag": [{**part, "etag": WRONG} for part in parts],
            "number": [*parts, {"partNum": 9999, "etag": WRONG}],
            "twice": [*parts, *parts],
            "nothing": [],
        }[mistake]
        self.refused(400, "InvalidUploadPart", "POST", self.path(upload_id, upload.name), {"partsToCommit": wrong})

    @precondition(lambda self: any(upload.name in self.objects and upload.parts for upload in self.uploads.values()))
    @rule(data=st.data())
    def commit_only_if(self, data: st.DataObject) -> None:
        ready = sorted(i for i, upload in self.uploads.items() if upload.name in self.objects and upload.parts)
        upload_id = data.draw(st.sampled_from(ready))
        upload = self.uploads[upload_id]
        body = {"partsToCommit": [{"partNum": number, "etag": etag} for number, (etag, _) in upload.parts.items()]}
        path = self.path(upload_id, upload.name)
        self.refused(412, "IfNoneMatchFailed", "POST", path, body, **{"if-none-match": "*"})
        self.refused(412, "IfMatchFailed", "POST", path, body, **{"if-match": WRONG})

    @precondition(lambda self: self.uploads)
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        upload_id, upload = self.pick(data)
        assert self.ok("DELETE", self.path(upload_id, upload.name)).status == 204
        self.ended[upload_id] = self.uploads.pop(upload_id).name

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), method=st.sampled_from(["POST", "DELETE", "GET", "PUT"]))
    def touch_an_ended_one(self, data: st.DataObject, method: str) -> None:
        upload_id = data.draw(st.sampled_from(sorted(self.ended)))
        path = self.path(upload_id, self.ended[upload_id])
        body = {"POST": {"partsToCommit": []}, "PUT": b"late"}.get(method)
        self.refused(404, "UploadNotFound", method, path + ("&uploadPartNum=1" if method == "PUT" else ""), body)

    @rule(name=NAMES, content=DATA)
    def put_object(self, name: str, content: bytes) -> None:
        reply = self.ok("PUT", f"{BUCKET}/o/{PATHS[name]}", content)
        self.stored(name, content, reply.headers["etag"])

    @precondition(lambda self: self.objects)
    @rule(data=st.data())
    def delete_object(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.objects)))
        self.ok("DELETE", f"{BUCKET}/o/{PATHS[name]}")
        del self.objects[name], self.etags[name]

    @rule()
    def restart(self) -> None:
        self.cloud = self.cloud.restarted()

    @precondition(lambda self: self.uploads)
    @rule(data=st.data(), limit=st.integers(1, 3))
    def list_parts(self, data: st.DataObject, limit: int) -> None:
        upload_id, upload = self.pick(data)
        listed = [(part["partNumber"], part["etag"], part["size"]) for part in self.pages_of_parts(upload_id, limit)]
        assert listed == [(number, etag, len(part)) for number, (etag, part) in sorted(upload.parts.items())]

    def pages_of_parts(self, upload_id: str, limit: int) -> list[dict[str, object]]:
        return list(self.pages(self.path(upload_id, self.uploads[upload_id].name), limit))

    @rule(limit=st.integers(1, 3))
    def list_uploads(self, limit: int) -> None:
        listed = [(each["object"], each["uploadId"]) for each in self.pages(f"{BUCKET}/u", limit)]
        assert listed == sorted((upload.name, upload_id) for upload_id, upload in self.uploads.items())

    @invariant()
    def objects_are_whole(self) -> None:
        listed = self.ok("GET", f"{BUCKET}/o?fields=name,size,etag").json["objects"]
        want = [(name, len(self.objects[name]), self.etags[name]) for name in sorted(self.objects, key=str.encode)]
        assert [(each["name"], each["size"], each["etag"]) for each in listed] == want
        for name, content in self.objects.items():
            assert self.cloud.object_bytes("exports", name) == content

    @invariant()
    def no_file_is_lost_or_left(self) -> None:
        folder = self.cloud.cloud.options.state / "bodies"
        there = {path.name for path in folder.glob("[0-9a-f][0-9a-f]/*")}
        rows = self.cloud.cloud.db.all("SELECT file FROM segments UNION SELECT file FROM parts")
        assert there == {row["file"] for row in rows} - {""}
        assert list((folder / "incoming").iterdir()) == []


def test_multipart_uploads_behave_as_their_model(tmp_path: Path) -> None:
    """Whatever is begun, put, committed, aborted, refused and restarted: objects, lists and files are the model's."""
    run_machine(Multipart, tmp_path, QUICK)


@pytest.mark.soak
def test_multipart_uploads_behave_as_their_model_for_long(tmp_path: Path) -> None:
    """The same for many and longer stories, other ones each time."""
    run_machine(Multipart, tmp_path, LONG)
