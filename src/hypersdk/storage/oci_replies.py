"""What replies of Object Storage mean, to signed requests and to pre-authenticated ones. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from hypersdk import errors
from hypersdk.model import ObjectInfo, ObjectRef
from hypersdk.readers.http import read_date
from hypersdk.storage import oci_headers
from hypersdk.vendors.oci.errors import translate_reply
from hypersdk.wire.request import Request

LINK_ENDED = (
    "a link that has ended, was withdrawn, or is not for this answers the same: get a new one, and the same command "
    "with it goes on where this one stopped"
)


def explain(
    request: Request, status: int, headers: Mapping[str, str], body: bytes, what: str = ""
) -> errors.HypersdkError:
    """The meaning of a refusal of a call that people know as `what`."""
    return translate_reply(status, headers, body, resource=request.resource, what=what or request.method)


def explain_link(request: Request, status: int, headers: Mapping[str, str], body: bytes) -> errors.HypersdkError:
    """The meaning of a refusal of a pre-authenticated request: no credentials of ours are to blame."""
    error = explain(request, status, headers, body)
    if isinstance(error, errors.AuthError | errors.NotFoundError) and error.service_code != "ObjectNotFound":
        error.hint = LINK_ENDED
    return error


def described(ref: ObjectRef, headers: Mapping[str, str]) -> ObjectInfo:
    """The object that a good reply to HEAD is about.

    Raises:
        ReplyRefused: it has no size.
    """
    text = headers.get("content-length", "")
    if not text.isdecimal():
        raise errors.ReplyRefused(f"look at object: {ref}: a reply without a size", resource=str(ref))
    return ObjectInfo(
        ref,
        int(text),
        headers.get("etag", ""),
        oci_headers.checksums(headers),
        oci_headers.metadata(headers),
        headers.get("storage-tier", ""),
        headers.get("archival-state", ""),
        read_date(headers.get("last-modified")),
        version=headers.get("version-id"),
        multipart_md5=oci_headers.multipart_md5(headers),
        headers=oci_headers.kept(headers),
    )
