"""Oracle's Object Storage. Control calls go through the SDK; bodies and HEAD, all that a copy needs, through `wire`.

Facts of the service that this file rests on (docs.oracle.com, "Object Storage", and its API reference): etags are
opaque and never quoted; `md5` of a listing is a composite of the parts when it holds a "-"; a multipart object's CRC32C
is that of its whole bytes; a HEAD that fails says nothing but its status; uploads never expire.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from hypersdk import errors
from hypersdk.model import ByteRange, Checksum, ObjectInfo, ObjectRef, Secret
from hypersdk.readers.http import read_date
from hypersdk.retry import Call, run_once
from hypersdk.storage import oci_documents, oci_headers, oci_replies
from hypersdk.storage.protocol import (
    ALWAYS,
    NO_OPTIONS,
    BucketFacts,
    Capabilities,
    Part,
    PreAuthenticated,
    PutCondition,
    PutOptions,
    Upload,
)
from hypersdk.storage.url import object_path
from hypersdk.vendors.oci.calls import sdk_call
from hypersdk.wire.request import Expectation, Reply, Request

if TYPE_CHECKING:
    from hypersdk.vendors.oci.session import OciSession
    from hypersdk.wire.loop import Wire

PAGE = 1000
"""Entries of one page; the service gives no more (ListObjects)."""

T = TypeVar("T")


class OciStore:
    """Object Storage with one set of credentials in one region.

    Args:
        session: who we are; its SDK client does the control calls, its `sign` authorizes bodies.
        wire: moves the bodies of `put`.
        call: runs each page fetch of a list.
        page: most entries of one page.
    """

    def __init__(self, session: OciSession, wire: Wire, call: Call = run_once, *, page: int = PAGE) -> None:
        self._session = session
        self._wire = wire
        self._call = call
        self._limit = page

    @property
    def capabilities(self) -> Capabilities:
        """What differs from other stores."""
        return Capabilities(part_checksum="crc32c", rename=True)

    def head(self, ref: ObjectRef) -> ObjectInfo:
        """Facts about an object; NotFoundError if absent, with the bucket's own error if that is what is missing."""
        try:
            headers = self._head(ref)
        except errors.NotFoundError as error:
            self._demand_listed(ref, error)
            headers = self._head_listed(ref)
        return oci_replies.described(ref, headers)

    def exists(self, ref: ObjectRef) -> bool:
        """Whether the object is there; permission errors and an absent bucket are raised, never taken for absence."""
        try:
            self.head(ref)
        except errors.NotFoundError as error:
            if error.service_code != "ObjectNotFound":
                raise
            return False
        return True

    def list(self, ref: ObjectRef, *, recursive: bool = True) -> Iterator[ObjectInfo]:
        """Objects whose names start with `ref.name`, every page, lazily, in byte order; else stops at `/`."""
        query = {"fields": oci_documents.OBJECT_FIELDS}
        query |= {"prefix": ref.name} if ref.name else {}
        query |= {} if recursive else {"delimiter": "/"}
        last, start = "", ""
        while True:
            at = query | ({"start": start} if start else {})
            read = oci_documents.objects_of
            (entries, prefixes, following), _ = self._page("list objects", ref, self._bucket_url("o", ref), at, read)
            for prefix in prefixes:
                # A page may begin in the middle of a "directory" that the page before has told already.
                if prefix != last:
                    entries.append(ObjectInfo(replace(ref, name=prefix), 0, prefix=True))
                    last = prefix
            yield from sorted(entries, key=lambda entry: entry.ref.name.encode())
            if not following:
                return
            _demand_progress("list objects", ref, start, following)
            start = following

    def range_request(self, info: ObjectInfo, wanted: ByteRange | None) -> Request:
        """The request for a range (None = the whole body), pinned by the info's etag."""
        headers = {"if-match": info.etag} if info.etag else {}
        if wanted is not None:
            headers["range"] = wanted.header()
        query = {"versionId": info.ref.version} if info.ref.version else {}
        expect = Expectation(range=wanted, size=info.size, etag=info.etag or None)
        return self._request(
            "GET", _with_query(self._url("o", info.ref), query), info.ref, headers=headers, expect=expect
        )

    def put(self, ref: ObjectRef, body: bytes, options: PutOptions = NO_OPTIONS) -> ObjectInfo:
        """Write a small object from memory; the service checks its bytes against a checksum."""
        options = replace(options, checksum=options.checksum or Checksum("sha256", hashlib.sha256(body).hexdigest()))
        reply = self._wire.call(self.put_request(ref, len(body), options), body)
        self._session.accepted = True
        return self.put_reply(ref, len(body), options, reply)

    def put_request(self, ref: ObjectRef, length: int, options: PutOptions = NO_OPTIONS) -> Request:
        """The request that writes a whole object, which the service checks against the checksum of `options`."""
        del length
        headers = {
            **oci_headers.content_headers(options),
            **oci_headers.condition_headers(options.condition),
            **(oci_headers.checksum_headers(options.checksum) if options.checksum else {}),
            **oci_headers.metadata_headers(options.metadata),
        }
        return self._request("PUT", Secret(self._url("o", ref)), ref, headers=headers, expect=Expectation(needs="etag"))

    def put_reply(self, ref: ObjectRef, length: int, options: PutOptions, reply: Reply) -> ObjectInfo:
        """What the reply to a `put_request` says of the object; other bytes than were sent are taken back."""
        if options.checksum:
            self._expect_stored(ref, options.checksum, reply)
        return ObjectInfo(
            ref,
            length,
            reply.headers.get("etag", ""),
            (options.checksum,) if options.checksum else oci_headers.checksums(reply.headers),
            dict(options.metadata),
            modified=read_date(reply.headers.get("last-modified")),
            version=reply.headers.get("version-id"),
        )

    def _expect_stored(self, ref: ObjectRef, sent: Checksum, reply: Reply) -> None:
        """Take back an object whose bytes are not those that were sent, as the service itself says.

        Raises:
            ReplyRefused: they are others; nothing is left of it.
        """
        stored = {each.algorithm: each for each in oci_headers.checksums(reply.headers)}
        if (found := stored.get(sent.algorithm, sent)) == sent:
            return
        with suppress(errors.HypersdkError):
            self.delete(ref, if_match=reply.headers["etag"])
        raise errors.ReplyRefused(f"write {ref}: sent was {sent}, stored is {found}", resource=str(ref))

    def rename(self, source: ObjectInfo, new_name: str, *, if_absent: bool = True) -> ObjectInfo:
        """Give exactly the object of this etag another name in its bucket; AlreadyExists if that is taken."""
        details = {"sourceName": source.ref.name, "newName": new_name}
        if source.etag:
            details["srcObjIfMatchETag"] = source.etag
        if if_absent:
            details["newObjIfNoneMatchETag"] = "*"
        target = replace(source.ref, name=new_name, version=None)
        response = self._bucket(f"rename object to {target}", source.ref, "rename_object", details)
        headers = response.headers
        return replace(
            source,
            ref=target,
            etag=headers.get("etag", source.etag),
            modified=read_date(headers.get("last-modified")) or source.modified,
            version=headers.get("version-id", source.version),
        )

    def delete(self, ref: ObjectRef, *, if_match: str | None = None) -> None:
        """Delete; absent is fine; another etag than `if_match` is PreconditionFailed."""
        _demand_name("delete object", ref)
        url = _with_query(self._url("o", ref), {"versionId": ref.version} if ref.version else {})
        self._remove("delete object", url, ref, {"if-match": if_match} if if_match else {}, "ObjectNotFound")

    def create_multipart_upload(self, ref: ObjectRef, options: PutOptions = NO_OPTIONS) -> Upload:
        """Begin a multipart upload whose parts and whole the service checks by CRC32C."""
        _demand_name("begin upload", ref)
        details: dict[str, Any] = {"object": ref.name, "metadata": oci_headers.metadata_headers(options.metadata)}
        details |= oci_headers.content_details(options)
        headers = {**oci_headers.COMPUTE_CRC32C, **oci_headers.condition_headers(options.condition)}
        return oci_documents.begun_of(
            ref, self._post("begin upload", Secret(self._bucket_url("u", ref)), ref, headers, details)
        )

    def part_request(self, upload: Upload, number: int, length: int, checksum: Checksum | None) -> Request:
        """The request that uploads part `number` (from 1); its body gives the length."""
        del length
        query = {"uploadId": upload.upload_id, "uploadPartNum": str(number)}
        headers = {"content-type": "application/octet-stream"}
        stated = oci_headers.checksum_headers(checksum) if checksum else oci_headers.COMPUTE_CRC32C
        expect = Expectation(needs="etag", echoes=oci_headers.echoes(stated))
        url = _with_query(self._url("u", upload.ref), query)
        return self._request("PUT", url, upload.ref, headers={**headers, **stated}, expect=expect)

    def list_parts(self, upload: Upload) -> Iterator[Part]:
        """Parts that the service has, every page, by number."""
        url, query = self._url("u", upload.ref), {"uploadId": upload.upload_id}
        pages = self._pages("list parts", upload.ref, url, query, oci_documents.parts_of)
        yield from sorted((part for page in pages for part in page), key=lambda part: part.number)

    def list_multipart_uploads(self, ref: ObjectRef) -> Iterator[Upload]:
        """Unfinished uploads whose object names start with `ref.name`, every page."""
        for page in self._pages("list uploads", ref, self._bucket_url("u", ref), {}, oci_documents.uploads_of):
            for found in page:
                if found.ref.name.startswith(ref.name):
                    yield found

    def commit(self, upload: Upload, parts: Sequence[Part], condition: PutCondition = ALWAYS) -> ObjectInfo:
        """Make the object of these parts, in the order of their numbers; uploaded parts left out are dropped."""
        ordered = sorted(parts, key=lambda part: part.number)
        details = {"partsToCommit": [{"partNum": part.number, "etag": part.etag} for part in ordered]}
        url = _with_query(self._url("u", upload.ref), {"uploadId": upload.upload_id})
        headers = self._post(
            "commit upload", url, upload.ref, oci_headers.condition_headers(condition), details
        ).headers
        return ObjectInfo(
            upload.ref,
            sum(part.size for part in ordered),
            headers.get("etag", ""),
            oci_headers.checksums(headers),
            modified=read_date(headers.get("last-modified")),
            version=headers.get("version-id"),
        )

    def abort(self, upload: Upload) -> None:
        """Drop an upload and its parts; absent is fine."""
        url = _with_query(self._url("u", upload.ref), {"uploadId": upload.upload_id})
        self._remove("abort upload", url, upload.ref, {}, "UploadNotFound")

    def bucket(self, ref: ObjectRef) -> BucketFacts:
        """Facts about the bucket of `ref`; NotFoundError if it is absent or must not be seen."""
        found = self._bucket("look at bucket", replace(ref, name=""), "get_bucket").data
        return BucketFacts(
            found.namespace,
            found.name,
            found.compartment_id,
            found.storage_tier,
            found.versioning or "Disabled",
            self._has_retention(ref),
            bool(found.is_read_only),
        )

    def buckets(self, namespace: str, compartment_id: str) -> Iterator[str]:
        """Names of the buckets of one compartment, every page."""
        ref = ObjectRef("oci", namespace, "", "")
        url = f"{self._session.object_storage_url}/n/{quote(namespace, safe='')}/b"
        query = {"compartmentId": compartment_id}
        for page in self._pages("list buckets", ref, url, query, oci_documents.buckets_of):
            yield from page

    def versions(self, ref: ObjectRef) -> Iterator[ObjectInfo]:
        """Every version of the objects whose names start with `ref.name`, marks of deletion included, every page."""
        query = {"fields": oci_documents.OBJECT_FIELDS} | ({"prefix": ref.name} if ref.name else {})
        url = self._bucket_url("objectversions", ref)
        for page in self._pages("list versions", ref, url, query, oci_documents.versions_of):
            yield from page

    def create_pre_authenticated(
        self, ref: ObjectRef, *, name: str, expires: datetime, access: str = "ObjectWrite"
    ) -> PreAuthenticated:
        """Make a link for exactly this object; its `url` is never shown again."""
        details = {"name": name, "objectName": ref.name, "accessType": access, "timeExpires": expires}
        made = self._bucket("make link to object", ref, "create_preauthenticated_request", details).data
        # The service may hand out a dedicated host; an endpoint that the user gave stands before all hosts.
        own = made.full_path if not self._session.connection.endpoint else None
        return _link(made, Secret(own or self._session.object_storage_url + made.access_uri))

    def list_pre_authenticated(self, ref: ObjectRef) -> Iterator[PreAuthenticated]:
        """Links of the bucket for objects whose names start with `ref.name`, every page, without their URLs."""
        query = {"objectNamePrefix": ref.name} if ref.name else {}
        for page in self._pages("list links", ref, self._bucket_url("p", ref), query, oci_documents.links_of):
            yield from page

    def delete_pre_authenticated(self, ref: ObjectRef, link_id: str) -> None:
        """Withdraw a link of the bucket of `ref`; absent is fine."""
        _absent_is_fine(
            "PreauthenticatedRequestNotFound",
            lambda: self._bucket("withdraw link", ref, "delete_preauthenticated_request", link_id),
        )

    def _bucket(self, what: str, ref: ObjectRef, operation: str, *arguments: Any, **options: Any) -> Any:
        function = getattr(self._session.client("ObjectStorageClient"), operation)
        return sdk_call(what, str(ref), lambda: function(ref.namespace, ref.bucket, *arguments, **options))

    def _remove(self, what: str, url: Secret, ref: ObjectRef, headers: Mapping[str, str], absent: str) -> None:
        """Delete something, even if somebody has asked to stop; absent is fine."""
        expect = Expectation(statuses=frozenset({HTTPStatus.OK, HTTPStatus.NO_CONTENT}), needs="opc-request-id")
        request = self._request("DELETE", url, ref, headers=headers, expect=expect, what=what)
        _absent_is_fine(absent, lambda: self._wire.call(request, to_the_end=True))

    def _pages(
        self, what: str, ref: ObjectRef, url: str, query: Mapping[str, str], read: Callable[[ObjectRef, Reply], T]
    ) -> Iterator[T]:
        """Every page of a list whose next page is named by a header."""
        token = ""
        while True:
            page, reply = self._page(what, ref, url, {**query, **({"page": token} if token else {})}, read)
            yield page
            following = reply.headers.get("opc-next-page", "")
            if not following:
                return
            _demand_progress(what, ref, token, following)
            token = following

    def _page(
        self,
        what: str,
        ref: ObjectRef,
        url: str,
        query: Mapping[str, str],
        read: Callable[[ObjectRef, Reply], T],
        *,
        limit: int = 0,
    ) -> tuple[T, Reply]:
        """One page; a reply that cannot be read is asked for again like any other that is not what it must be."""
        place = _with_query(url, {**query, "limit": str(limit or self._limit)})
        request = self._request("GET", place, ref, expect=Expectation(needs="opc-request-id"), what=what)

        def ask() -> tuple[T, Reply]:
            reply = self._wire.call(request)
            self._session.accepted = True
            return read(ref, reply), reply

        return self._call(what, ask)

    def _post(
        self, what: str, url: Secret, ref: ObjectRef, headers: Mapping[str, str], details: Mapping[str, Any]
    ) -> Reply:
        """One request with a JSON body, which is signed with it."""
        body = json.dumps(details, separators=(",", ":")).encode()
        request = self._request(
            "POST", url, ref, headers=headers, expect=Expectation(needs="opc-request-id"), what=what
        )
        sign = partial(self._session.sign_json, body=body)
        reply = self._wire.call(replace(request, sign=sign), body)
        self._session.accepted = True
        return reply

    def _head(self, ref: ObjectRef) -> Mapping[str, str]:
        _demand_name("look at object", ref)
        query = {"versionId": ref.version} if ref.version else {}
        expect = Expectation(needs="opc-request-id")
        reply = self._wire.call(self._request("HEAD", _with_query(self._url("o", ref), query), ref, expect=expect))
        self._session.accepted = True
        return reply.headers

    def _demand_listed(self, ref: ObjectRef, error: errors.NotFoundError) -> None:
        """Find out what a HEAD's 404 means: its reply has no body, a listing of the same name has one.

        Raises:
            NotFoundError: the object is absent, or what the service says of the bucket.
        """
        query = {"fields": oci_documents.OBJECT_FIELDS, "prefix": ref.name}
        url, read = self._bucket_url("o", ref), oci_documents.objects_of
        (listed, _, _), _ = self._page("look for object", ref, url, query, read, limit=1)
        if ref.version is None and listed and listed[0].ref.name == ref.name:
            return
        raise errors.NotFoundError(
            f"no such object: {ref}",
            resource=str(ref),
            request_id=error.request_id,
            service_code="ObjectNotFound",
            status=error.status,
        ) from error

    def _head_listed(self, ref: ObjectRef) -> Mapping[str, str]:
        """Look again at an object that is listed: it may have appeared between the two calls."""
        try:
            return self._head(ref)
        except errors.NotFoundError as error:
            raise errors.PermissionDenied(
                f"the object is listed, but not allowed to be looked at: {ref}",
                resource=str(ref),
                hint="allow group G to read objects in compartment C",
                request_id=error.request_id,
                status=error.status,
            ) from error

    def _has_retention(self, ref: ObjectRef) -> bool | None:
        try:
            return bool(self._bucket("look at retention rules", ref, "list_retention_rules").data.items)
        except (errors.NotFoundError, errors.PermissionDenied):
            return None

    def _url(self, kind: str, ref: ObjectRef) -> str:
        return self._session.object_storage_url + object_path(ref, kind)

    def _bucket_url(self, kind: str, ref: ObjectRef) -> str:
        return self._url(kind, replace(ref, name="")).removesuffix("/")

    def _request(
        self,
        method: str,
        url: Secret,
        ref: ObjectRef,
        *,
        expect: Expectation,
        headers: Mapping[str, str] = MappingProxyType({}),
        what: str = "",
    ) -> Request:
        explain = partial(self._explain, what=what or method)
        return Request(method, url, str(ref), headers, self._session.sign, expect, explain)

    def _explain(
        self, request: Request, status: int, headers: Mapping[str, str], body: bytes, *, what: str
    ) -> errors.HypersdkError:
        self._session.heard(headers)
        return oci_replies.explain(request, status, headers, body, what)


def _demand_name(what: str, ref: ObjectRef) -> None:
    """Refuse what names no object: the SDK has a ValueError for it, and a path without a name is the bucket's list."""
    if not ref.name.strip():
        raise errors.UsageError(f"{what}: this names no object: {str(ref)!r}", resource=str(ref))


def _absent_is_fine(code: str, function: Callable[[], object]) -> None:
    try:
        function()
    except errors.NotFoundError as error:
        # Only the thing itself may be absent: a bucket that we cannot see proves nothing about what is in it.
        if error.service_code != code:
            raise


def _with_query(url: str, query: Mapping[str, str]) -> Secret:
    text = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    return Secret(f"{url}{'?' if text else ''}{text}")


def _demand_progress(what: str, ref: ObjectRef, token: str, following: str) -> None:
    if following == token:
        raise errors.ReplyRefused(f"{what}: {ref}: the same page comes again and again", resource=str(ref))


def _link(found: Any, url: Secret | None = None) -> PreAuthenticated:
    return PreAuthenticated(
        found.id, found.name, found.object_name or "", url, found.access_type or "", found.time_expires
    )
