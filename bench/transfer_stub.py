"""The side of Object Storage that nginx has not: lists, uploads, HEADs of what was uploaded; bodies never come here.

Usage: python transfer_stub.py SOCKET CATALOGUE; nginx speaks to the socket, reads and drops the bodies of PUTs itself
and passes their headers on (`x-length` = bytes of the body that it has dropped). The catalogue is a JSON list of the
objects that nginx serves from disk, each with the CRC32C of its every MiB. An upload `up<n>-<object>` or `many<n>/<n>`
is one of such an object: the CRC32C of a part that the client asks for comes from there, so that clients which compare
have something true to compare with. MD5s are taken at the client's word and echoed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from hypersdk.transfer.checksums import crc32c_combine

NAMESPACE = "bench"
BUCKET = "disks"
BUCKETS_PATH = f"/n/{NAMESPACE}/b"
BUCKET_PATH = f"{BUCKETS_PATH}/{BUCKET}"
UNKNOWN_MD5 = base64.b64encode(bytes(16)).decode()
"""Of a part that came without one: its bytes are gone, and clients only look whether there is any."""

DATE = formatdate(1_700_000_000, usegmt=True)
TIME = "2023-11-14T22:13:20.000Z"
MIB = 1 << 20
KEPT = ("opc-meta-", "content-type")


@dataclass
class Part:
    """What is known of a part."""

    size: int
    md5: str
    crc32c: str
    etag: str


@dataclass
class Upload:
    """A multipart upload."""

    name: str
    metadata: dict[str, str]
    parts: dict[int, Part] = field(default_factory=dict)

    def facts(self) -> dict[str, str]:
        """Headers of the committed object."""
        parts = [self.parts[number] for number in sorted(self.parts)]
        facts = {"x-size": str(sum(part.size for part in parts))}
        whole = hashlib.md5(b"".join(base64.b64decode(part.md5) for part in parts), usedforsecurity=False)
        facts["opc-multipart-md5"] = f"{base64.b64encode(whole.digest()).decode()}-{len(parts)}"
        if all(part.crc32c for part in parts):
            crc = 0
            for part in parts:
                crc = crc32c_combine(crc, int.from_bytes(base64.b64decode(part.crc32c)), part.size)
            facts["opc-content-crc32c"] = _text(crc)
        return facts


@dataclass
class Reply:
    """What goes back; `size` is the Content-Length of a reply to HEAD."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    size: int | None = None


class Stub:
    """All objects of the one bucket.

    Args:
        catalogue: objects that are there from the start, each with name, size, md5, etag.
    """

    def __init__(self, catalogue: list[dict[str, Any]]) -> None:
        self._objects: dict[str, dict[str, str]] = {}
        self._sizes: dict[str, int] = {}
        self._blocks: dict[str, list[int]] = {}
        self._uploads: dict[str, Upload] = {}
        self._numbers = 0
        for each in catalogue:
            self._sizes[each["name"]] = each["size"]
            self._objects[each["name"]] = {"etag": each["etag"], "content-md5": each["md5"]}
            self._blocks[each["name"]] = each["blocks"]

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Answer one request."""
        path, _, text = target.partition("?")
        query = {name: values[0] for name, values in parse_qs(text, keep_blank_values=True).items()}
        if path.rstrip("/") == "/n":
            return Reply(200, body=NAMESPACE)
        if path == BUCKETS_PATH:
            return Reply(409, body={"code": "BucketAlreadyExists", "message": "it is there"})
        kind, _, name = path.removeprefix(BUCKET_PATH).lstrip("/").partition("/")
        name = unquote(name)
        if kind == "":
            return self._bucket()
        if kind == "o":
            return self._object(method, name, headers) if name else self._list(query)
        if name:
            return self._part(method, name, query, headers)
        return self._begin(body) if method == "POST" else Reply(200, body=[])

    @staticmethod
    def _bucket() -> Reply:
        facts = {"namespace": NAMESPACE, "name": BUCKET, "compartmentId": "ocid1.compartment.oc1..bench"}
        more = {"storageTier": "Standard", "versioning": "Disabled", "createdBy": "x", "timeCreated": TIME}
        return Reply(200, {"etag": "b"}, {**facts, **more, "etag": "b", "publicAccessType": "NoPublicAccess"})

    def _list(self, query: Mapping[str, str]) -> Reply:
        prefix, limit = query.get("prefix", ""), int(query.get("limit", "1000"))
        names = sorted(name for name in self._objects if name.startswith(prefix) and name >= query.get("start", ""))
        page = [self._entry(name) for name in names[:limit]]
        following = {"nextStartWith": names[limit]} if len(names) > limit else {}
        return Reply(200, body={"objects": page, "prefixes": [], **following})

    def _entry(self, name: str) -> dict[str, Any]:
        facts = self._objects[name]
        md5 = facts.get("content-md5") or facts.get("opc-multipart-md5", "")
        more = {"storageTier": "Standard", "timeCreated": TIME, "timeModified": TIME}
        return {"name": name, "size": self._sizes[name], "etag": facts["etag"], "md5": md5, **more}

    def _object(self, method: str, name: str, headers: Mapping[str, str]) -> Reply:
        if method == "PUT":
            size = int(headers.get("x-length") or 0)
            facts = self._echo(headers, name, 0, size)
            self._store(name, size, facts | _kept(headers))
            return Reply(
                200, {"last-modified": DATE, **facts, "opc-content-md5": facts.get("content-md5", UNKNOWN_MD5)}
            )
        if name not in self._objects:
            return _absent("ObjectNotFound")
        if method == "DELETE":
            del self._objects[name], self._sizes[name]
            return Reply(204)
        return Reply(200, {"last-modified": DATE, **self._objects[name]}, size=self._sizes[name])

    def _store(self, name: str, size: int, facts: dict[str, str]) -> None:
        self._objects[name] = facts
        self._sizes[name] = size

    def _echo(self, headers: Mapping[str, str], name: str, start: int, size: int) -> dict[str, str]:
        """What the service says of the body that came."""
        self._numbers += 1
        facts = {"etag": f"e{self._numbers}"}
        facts |= {key: headers[key] for key in ("content-md5", "opc-content-sha256") if headers.get(key)}
        if headers.get("opc-checksum-algorithm") == "CRC32C":
            facts["opc-content-crc32c"] = headers.get("opc-content-crc32c") or self._crc(name, start, size)
        return facts

    def _crc(self, name: str, start: int, size: int) -> str:
        """CRC32C of a range of what an upload is made of; "" = not known."""
        many, _, number = name.partition("/")
        source = f"small/{number}" if many.startswith("many") else name.partition("-")[2]
        if source not in self._blocks or start % MIB:
            return ""
        return _text(joined(self._blocks[source][start // MIB : (start + size + MIB - 1) // MIB], size))

    def _begin(self, body: bytes) -> Reply:
        asked = json.loads(body)
        self._numbers += 1
        self._uploads[f"u{self._numbers}"] = Upload(asked["object"], dict(asked.get("metadata") or {}))
        answer = {"namespace": NAMESPACE, "bucket": BUCKET, "object": asked["object"], "timeCreated": TIME}
        return Reply(200, body={**answer, "uploadId": f"u{self._numbers}"})

    def _part(self, method: str, name: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
        upload_id = query.get("uploadId", "")
        upload = self._uploads.get(upload_id)
        if upload is None:
            return _absent("NoSuchUpload")
        if method == "PUT":
            size, number = int(headers.get("x-length") or 0), int(query["uploadPartNum"])
            full = max(size, *(part.size for part in upload.parts.values()), 0)
            facts = self._echo(headers, name, (number - 1) * full, size)
            md5 = facts.get("content-md5", UNKNOWN_MD5)
            upload.parts[number] = Part(size, md5, facts.get("opc-content-crc32c", ""), facts["etag"])
            return Reply(200, {**facts, "opc-content-md5": md5})
        if method == "GET":
            parts = [
                {"partNumber": number, "etag": part.etag, "md5": part.md5, "size": part.size}
                for number, part in sorted(upload.parts.items())
            ]
            return Reply(200, body=parts)
        del self._uploads[upload_id]
        if method == "DELETE":
            return Reply(204)
        facts = upload.facts() | self._echo({}, name, 0, 0)
        size = int(facts.pop("x-size"))
        self._store(name, size, facts | upload.metadata)
        return Reply(200, {"last-modified": DATE, **facts})


def joined(blocks: list[int], size: int) -> int:
    """CRC32C of `size` bytes from those of its every MiB."""
    crc = 0
    for number, block in enumerate(blocks):
        crc = crc32c_combine(crc, block, min(MIB, size - number * MIB))
    return crc


def _text(crc: int) -> str:
    return base64.b64encode(crc.to_bytes(4)).decode()


def _absent(code: str) -> Reply:
    return Reply(404, body={"code": code, "message": "not here"})


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith(KEPT)}


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, as nginx speaks it to its upstreams.

    Args:
        stub: answers.
    """

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to answer."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            first, *lines = self._data[:end].decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            stop = end + 4 + int(headers.get("content-length", "0"))
            if len(self._data) < stop:
                return
            method, target, _ = first.split(" ")
            body, self._data = self._data[end + 4 : stop], self._data[stop:]
            self._transport.write(_encode(method, self._stub.answer(method, target, headers, body)))


def _encode(method: str, reply: Reply) -> bytes:
    body = b"" if reply.body is None else json.dumps(reply.body).encode()
    headers = {"content-type": "application/json", "opc-request-id": "bench", "date": formatdate(usegmt=True)}
    headers |= {name: value for name, value in reply.headers.items() if value}
    if reply.status != 204:
        headers["content-length"] = str(len(body) if reply.size is None else reply.size)
    text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {reply.status} OK\r\n{text}\r\n".encode("latin-1")
    return head if method == "HEAD" else head + body


async def serve(socket: str, stub: Stub) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_unix_server(lambda: Connection(stub), socket)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Stub(json.loads(Path(sys.argv[2]).read_text()))))
