"""Objects behind addresses that name their own server: any https server, presigned URLs, pre-authenticated requests.

Facts that this file rests on: RFC 9110 (ranges, validators, redirects); a presigned URL is often good for GET alone, so
a refused HEAD is asked again as a GET of one byte; a redirect may lead to a signed address that ends before the
transfer does, so it is followed when the object is looked at, and anew by `refresh` when the place refuses. Nothing
that could authorize is ever sent: an address authorizes itself, or it is public. No SDK is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote, urlencode, urljoin, urlsplit

from hypersdk import errors
from hypersdk.model import ByteRange, Checksum, ObjectInfo, ObjectRef, Secret
from hypersdk.retry import Call, run_once
from hypersdk.storage import oci_documents, oci_headers, oci_replies, web_heads
from hypersdk.storage.protocol import (
    ALWAYS,
    NO_OPTIONS,
    Capabilities,
    Part,
    PutCondition,
    PutOptions,
    Upload,
)
from hypersdk.storage.url import object_path
from hypersdk.wire.replies import explain_plainly
from hypersdk.wire.request import Expectation, Reply, Request

if TYPE_CHECKING:
    from hypersdk.storage.url import Address
    from hypersdk.wire.loop import Wire

MAX_REDIRECTS = 10
"""As curl and browsers do at least; RFC 9110 section 15.4 names no number."""

_FIRST_BYTE = ByteRange(0, 1)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ENDINGS = frozenset({401, 403, 404, 410})
_NO_HEAD = (errors.PermissionDenied, errors.RequestRefused, errors.NotAuthenticated)
_ENDED = "if the address has ended get a new one: the same command with it goes on where this one stopped"


class WebStore:
    """The one object that an address means; it is read, and written whole if it is small.

    Args:
        address: from `url.parse`, with an origin.
        wire: asks.
        call: runs each page fetch of a list.
    """

    def __init__(self, address: Address, wire: Wire, call: Call = run_once) -> None:
        self._address = address
        self._wire = wire
        self._call = call
        self._places: dict[ObjectRef, Secret] = {}

    @property
    def capabilities(self) -> Capabilities:
        """What differs from other stores."""
        return Capabilities(metadata=False, lists=False, deletes=False, multipart=False, lists_parts=False, blind=True)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """URLs of the servers in use, for the network monitor."""
        return (self._address.origin, *(place.reveal() for place in self._places.values()))

    def head(self, ref: ObjectRef) -> ObjectInfo:
        """Facts about an object; NotFoundError if absent."""
        self._places.pop(ref, None)
        reply = self._look(ref)
        if not web_heads.tells_all(reply):
            first = self._ask_first_byte(self._places.get(ref) or self._own(ref), ref)
            reply = web_heads.joined(reply, first)
        return web_heads.describe(ref, reply)

    def exists(self, ref: ObjectRef) -> bool:
        """Whether the object is there; a refusal is raised, never taken for absence."""
        try:
            self.head(ref)
        except errors.NotFoundError:
            return False
        return True

    def list(self, ref: ObjectRef, *, recursive: bool = True) -> Iterator[ObjectInfo]:
        """Refused: plain addresses cannot be listed."""
        del recursive
        self._unable(ref, "be listed")

    def range_request(self, info: ObjectInfo, wanted: ByteRange | None) -> Request:
        """The request for a range (None = the whole body), pinned by the info's etag if it has one."""
        headers, expect = web_heads.pinned(info, wanted)
        if place := self._places.get(info.ref):
            return Request("GET", place, str(info.ref), headers, None, expect, explain_place)
        return self._request("GET", self._own(info.ref), info.ref, headers, expect)

    def refresh(self) -> bool:
        """Follow the redirects anew, since a place that they led to refuses; True if any leads elsewhere now."""
        before = dict(self._places)
        for ref in before:
            # One that is refused here, too, is told by the request that is repeated, if it is needed at all.
            with suppress(errors.AuthError, errors.NotFoundError, errors.RequestRefused):
                self._look(ref)
        return self._places != before

    def put(self, ref: ObjectRef, body: bytes, options: PutOptions = NO_OPTIONS) -> ObjectInfo:
        """Write a small object to an address that allows it."""
        return self.put_reply(ref, len(body), options, self._wire.call(self.put_request(ref, len(body), options), body))

    def put_request(self, ref: ObjectRef, length: int, options: PutOptions = NO_OPTIONS) -> Request:
        """The request that writes a whole object to an address that allows it."""
        del length
        expect = Expectation(statuses=frozenset({200, 201, 204}))
        return self._request("PUT", self._own(ref), ref, self._put_headers(options), expect)

    def put_reply(self, ref: ObjectRef, length: int, options: PutOptions, reply: Reply) -> ObjectInfo:
        """What the reply to a `put_request` says of the object; nobody can take anything back."""
        del options
        return ObjectInfo(ref, length, reply.headers.get("etag", ""), oci_headers.checksums(reply.headers))

    def rename(self, source: ObjectInfo, new_name: str, *, if_absent: bool = True) -> ObjectInfo:
        """Refused: no such verb."""
        del new_name, if_absent
        self._unable(source.ref, "be renamed")

    def delete(self, ref: ObjectRef, *, if_match: str | None = None) -> None:
        """Refused: links never allow it (docs.oracle.com, "Pre-Authenticated Requests")."""
        del if_match
        self._unable(ref, "be deleted")

    def create_multipart_upload(self, ref: ObjectRef, options: PutOptions = NO_OPTIONS) -> Upload:
        """Refused: there is no common way to do it."""
        del options
        self._unable(ref, "be written in parts")

    def part_request(self, upload: Upload, number: int, length: int, checksum: Checksum | None) -> Request:
        """Refused, as its upload is."""
        del number, length, checksum
        self._unable(upload.ref, "be written in parts")

    def list_parts(self, upload: Upload) -> Iterator[Part]:
        """Refused, as its upload is."""
        self._unable(upload.ref, "be written in parts")

    def list_multipart_uploads(self, ref: ObjectRef) -> Iterator[Upload]:
        """None: there is no such thing here."""
        del ref
        return iter(())

    def commit(self, upload: Upload, parts: Sequence[Part], condition: PutCondition = ALWAYS) -> ObjectInfo:
        """Refused, as its upload is."""
        del parts, condition
        self._unable(upload.ref, "be written in parts")

    def abort(self, upload: Upload) -> None:
        """Nothing to drop."""

    def _own(self, ref: ObjectRef) -> Secret:
        """The address as it was given, for this object."""
        return replace(self._address, ref=ref).url()

    def _request(
        self, method: str, place: Secret, ref: ObjectRef, headers: Mapping[str, str], expect: Expectation
    ) -> Request:
        """A request to the server of the address itself."""
        return Request(method, place, str(ref), headers, None, expect, explain_address)

    def _put_headers(self, options: PutOptions) -> dict[str, str]:
        return {
            **oci_headers.content_headers(options),
            **oci_headers.condition_headers(options.condition),
        }

    def _look(self, ref: ObjectRef) -> Reply:
        """Ask for an object's head, from place to place."""
        place = self._own(ref)
        for _ in range(MAX_REDIRECTS):
            reply = self._ask(place, ref)
            if reply.status not in _REDIRECTS:
                if place != self._own(ref):
                    self._places[ref] = place
                return reply
            place = self._next(place, reply, ref)
        raise errors.RequestRefused(f"{ref}: more than {MAX_REDIRECTS} redirects", resource=str(ref))

    def _ask(self, place: Secret, ref: ObjectRef) -> Reply:
        expect = Expectation(statuses=frozenset({HTTPStatus.OK, *_REDIRECTS}))
        try:
            return self._wire.call(self._request("HEAD", place, ref, {}, expect))
        except _NO_HEAD:
            return self._ask_first_byte(place, ref)

    def _ask_first_byte(self, place: Secret, ref: ObjectRef) -> Reply:
        expect = Expectation(range=_FIRST_BYTE, statuses=_REDIRECTS)
        try:
            return self._wire.call(self._request("GET", place, ref, {"range": _FIRST_BYTE.header()}, expect))
        except errors.ReplyRefused as error:
            if error.status != HTTPStatus.OK:
                raise
            return web_heads.WHOLE_ONLY  # the range was ignored; the body that would come is not waited for
        except errors.RequestRefused as error:
            if error.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            return web_heads.EMPTY

    def _next(self, place: Secret, reply: Reply, ref: ObjectRef) -> Secret:
        target = urljoin(place.reveal(), reply.headers.get("location", ""))
        before, after = urlsplit(place.reveal()), urlsplit(target)
        if after.scheme not in {"http", "https"} or (before.scheme, after.scheme) == ("https", "http"):
            raise errors.RequestRefused(f"{ref}: redirected from https to {after.scheme}://", resource=str(ref))
        return Secret(target)

    def _unable(self, ref: ObjectRef, what: str) -> NoReturn:
        raise errors.UsageError(f"{ref}: an object behind a plain address cannot {what}", resource=str(ref))


class LinkStore(WebStore):
    """What a pre-authenticated request of OCI reaches: one object, or all below a prefix.

    Source: docs.oracle.com, "Using Pre-Authenticated Requests" (listing, multipart uploads; no deletes).
    """

    @property
    def capabilities(self) -> Capabilities:
        """What differs from other stores."""
        return Capabilities(part_checksum="crc32c", metadata=False, deletes=False, lists_parts=False, blind=True)

    def head(self, ref: ObjectRef) -> ObjectInfo:
        """Facts about an object; NotFoundError if absent, or if the link has ended."""
        expect = Expectation(needs="etag")
        reply = self._wire.call(self._request("HEAD", self._own(ref), ref, {}, expect))
        return oci_replies.described(ref, reply.headers)

    def list(self, ref: ObjectRef, *, recursive: bool = True) -> Iterator[ObjectInfo]:
        """Objects whose names start with `ref.name`, if the link allows lists."""
        query = {"fields": oci_documents.OBJECT_FIELDS, "prefix": ref.name} | ({} if recursive else {"delimiter": "/"})
        start = ""
        while True:
            page = partial(self._page, ref, query | ({"start": start} if start else {}))
            found, prefixes, following = self._call("list objects", page)
            found += [ObjectInfo(replace(ref, name=prefix), 0, prefix=True) for prefix in prefixes]
            yield from sorted(found, key=lambda each: each.ref.name.encode())
            if not following:
                return
            if following == start:
                raise errors.ReplyRefused(f"{ref}: the same page comes again and again", resource=str(ref))
            start = following

    def put_request(self, ref: ObjectRef, length: int, options: PutOptions = NO_OPTIONS) -> Request:
        """The request that writes a whole object, which the service checks against the checksum of `options`."""
        request = super().put_request(ref, length, options)
        stated = oci_headers.checksum_headers(options.checksum) if options.checksum else {}
        expect = Expectation(needs="etag", echoes=oci_headers.echoes(stated))
        return replace(request, headers={**request.headers, **stated}, expect=expect)

    def create_multipart_upload(self, ref: ObjectRef, options: PutOptions = NO_OPTIONS) -> Upload:
        """Begin a multipart upload; its parts are checked one by one."""
        headers = {**self._put_headers(options), "opc-multipart": "true", "opc-checksum-algorithm": "CRC32C"}
        reply = self._wire.call(self._request("PUT", self._own(ref), ref, headers, Expectation()), b"")
        return oci_documents.begun_of(ref, reply)

    def part_request(self, upload: Upload, number: int, length: int, checksum: Checksum | None) -> Request:
        """The request that uploads part `number` (from 1); its body gives the length."""
        del length
        headers = oci_headers.checksum_headers(checksum) if checksum else oci_headers.COMPUTE_CRC32C
        expect = Expectation(needs="etag", echoes=oci_headers.echoes(headers))
        return self._request("PUT", self._part(upload, str(number)), upload.ref, headers, expect)

    def commit(self, upload: Upload, parts: Sequence[Part], condition: PutCondition = ALWAYS) -> ObjectInfo:
        """Make the object of all parts that were uploaded."""
        headers = oci_headers.condition_headers(condition)
        reply = self._wire.call(self._request("POST", self._part(upload), upload.ref, headers, Expectation()), b"")
        size = sum(part.size for part in parts)
        return ObjectInfo(upload.ref, size, reply.headers.get("etag", ""), oci_headers.checksums(reply.headers))

    def abort(self, upload: Upload) -> None:
        """Drop an upload and its parts; absent is fine."""
        expect = Expectation(statuses=frozenset({200, 204}))
        try:
            self._wire.call(self._request("DELETE", self._part(upload), upload.ref, {}, expect), to_the_end=True)
        except errors.NotFoundError as error:
            if error.service_code != "UploadNotFound":
                raise  # a link that has ended says nothing of the upload

    def _request(
        self, method: str, place: Secret, ref: ObjectRef, headers: Mapping[str, str], expect: Expectation
    ) -> Request:
        return Request(method, place, str(ref), headers, None, expect, oci_replies.explain_link)

    def _part(self, upload: Upload, number: str = "") -> Secret:
        path = f"{object_path(upload.ref, 'u')}/id/{quote(upload.upload_id, safe='')}/{number}"
        assert self._address.token is not None
        return Secret(f"{self._address.origin}/p/{self._address.token.reveal()}{path}")

    def _page(self, ref: ObjectRef, query: Mapping[str, str]) -> oci_documents.Objects:
        bare = self._own(replace(ref, name="")).reveal()
        place = Secret(f"{bare}?{urlencode(query, quote_via=quote)}")
        reply = self._wire.call(self._request("GET", place, ref, {}, Expectation()))
        return oci_documents.objects_of(ref, reply)


def explain_address(request: Request, status: int, headers: Mapping[str, str], body: bytes) -> errors.HypersdkError:
    """A refusal by the server of the address itself: it may have ended, and no credentials of ours are to blame."""
    error = explain_plainly(request, status, headers, body)
    if status == HTTPStatus.UNAUTHORIZED:
        error = errors.PermissionDenied(error.message, resource=request.resource, status=status)
    if status in _ENDINGS and urlsplit(request.url.reveal()).query:
        error.hint = _ENDED
    return error


def explain_place(request: Request, status: int, headers: Mapping[str, str], body: bytes) -> errors.HypersdkError:
    """A refusal at a place that a redirect led to: most likely its signature has ended, so it is asked for anew."""
    error = explain_plainly(request, status, headers, body)
    if status in _ENDINGS:
        return errors.NotAuthenticated(error.message, resource=request.resource, hint=_ENDED, status=status)
    return error
