"""What OCI's error replies mean in our tree. Pure: one table for SDK errors and for replies that `wire` received.

The table is Oracle's "API Errors" page (docs.oracle.com/iaas/Content/API/References/apierrors.htm) with Object
Storage's codes added. A code decides first, then the status; texts never decide. A reply to HEAD has no body and so no
code (RFC 9110, 9.3.2): its status alone must do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from hypersdk import errors
from hypersdk.readers.http import read_retry_after

LONGEST_QUOTE = 300
"""Characters of the service's own sentence that we repeat; a proxy's error page can be megabytes."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a code or a status says: the kind of error, the words after the resource's name, and what to do."""

    kind: type[errors.HypersdkError]
    says: str
    hint: str | None = None


_ABSENT = Meaning(
    errors.NotFoundError,
    "absent or not allowed",
    "OCI answers the same to both: check the name, the region and your policies",
)
_PRECONDITION = Meaning(errors.PreconditionFailed, "changed since it was looked at", "look again and decide anew")
_REFUSED = Meaning(errors.RequestRefused, "refused")
_BUSY = Meaning(errors.BusyError, "busy for a moment")
_FAILED = Meaning(errors.ServiceError, "the service failed", "try again later")
_TAKEN = Meaning(errors.AlreadyExists, "the name is taken")
_STATE = Meaning(errors.StateConflict, "its state does not allow this now", "wait until it has settled")
_LIMIT = Meaning(
    errors.RequestRefused, "a limit of the tenancy is reached", "delete what is not needed or ask for more"
)
_CORRUPT = Meaning(errors.NetworkError, "the bytes that arrived are not those that were sent", "try again later")
_NOT_ASKED = Meaning(
    errors.ReplyRefused,
    "an answer that nobody asked for",
    "something between here and the service answers in its place: check the proxy and the endpoint",
)

BY_CODE: Mapping[tuple[int, str], Meaning] = {
    (400, "LimitExceeded"): _LIMIT,
    (400, "QuotaExceeded"): _LIMIT,
    (400, "TooManyBuckets"): _LIMIT,
    (400, "StorageQuotaExceeded"): _LIMIT,
    (400, "RelatedResourceNotAuthorizedOrNotFound"): Meaning(
        errors.RequestRefused,
        "something that it refers to is absent or not allowed",
        "check the ids in the request and your policies",
    ),
    (400, "InsufficientServicePermissions"): Meaning(
        errors.PermissionDenied,
        "Object Storage itself lacks a right here",
        "allow service objectstorage-<region> to manage object-family in the compartment",
    ),
    (400, "UnmatchedContentMD5"): _CORRUPT,
    (400, "UnmatchedContentCRC32C"): _CORRUPT,
    (400, "UnmatchedContentSHA256"): _CORRUPT,
    (400, "UnmatchedContentSHA384"): _CORRUPT,
    (403, "NotAllowed"): Meaning(
        errors.PermissionDenied, "not allowed here", "this call may work in the tenancy's home region only"
    ),
    (403, "SignUpRequired"): Meaning(errors.PermissionDenied, "the tenancy has not signed up for this service"),
    (403, "BucketIsReadonly"): Meaning(
        errors.PermissionDenied, "the bucket is read-only", "it is the target of a replication policy: use another one"
    ),
    (404, "BucketNotFound"): Meaning(
        errors.NotFoundError,
        "the bucket is absent or not allowed",
        "check its name, the namespace and the region; listing needs: allow group G to read buckets in compartment C",
    ),
    (404, "NamespaceNotFound"): Meaning(
        errors.NotFoundError, "the namespace is absent or not allowed", "`oci os ns get` prints the tenancy's own"
    ),
    (404, "NotFound"): Meaning(
        errors.NotFoundError,
        "absent or not allowed, or the endpoint does not know this call",
        "check the endpoint and the region",
    ),
    (409, "IncorrectState"): _STATE,
    (409, "Conflict"): _STATE,
    (409, "RestoreInProgress"): Meaning(errors.StateConflict, "is being restored from the archive", "wait for it"),
    (409, "ResourceLocked"): _BUSY,
    (409, "LockConflict"): _BUSY,
    (409, "ExternalServerIncorrectState"): _BUSY,
    (409, "ConcurrentObjectUpdate"): _BUSY,
    (409, "ConcurrentBucketUpdate"): _BUSY,
    (409, "NotAuthorizedOrResourceAlreadyExists"): Meaning(
        errors.AlreadyExists, "the name is taken, or not allowed", "choose another name or check your policies"
    ),
    (409, "BucketAlreadyExists"): _TAKEN,
    (409, "ObjectAlreadyExists"): _TAKEN,
    (409, "NotRestored"): Meaning(
        errors.RequestRefused, "is in the archive", "restore it first: `oci os object restore`"
    ),
    (409, "BucketNotEmpty"): Meaning(
        errors.RequestRefused, "is not empty", "delete its objects, versions and unfinished uploads first"
    ),
    (412, "IfNoneMatchFailed"): _TAKEN,
    (412, "LimitTooHigh"): _REFUSED,
}

BY_STATUS: Mapping[int, Meaning] = {
    401: Meaning(
        errors.NotAuthenticated,
        "the service does not accept the credentials",
        "check key, fingerprint and user, the token's age, and this machine's clock (5 minutes off is too much): "
        "`hyperexport config check`",
    ),
    403: Meaning(errors.PermissionDenied, "not allowed", "ask for a policy that allows it"),
    404: _ABSENT,
    407: Meaning(errors.AuthError, "the proxy wants credentials", "put them into the proxy's URL"),
    # A server that waited too long for our request asks us to send it again (RFC 9110, 15.5.9).
    408: _FAILED,
    412: _PRECONDITION,
    413: Meaning(errors.RequestRefused, "too large for one request"),
    416: Meaning(errors.RequestRefused, "has no such range of bytes"),
    429: Meaning(errors.ThrottledError, "the service asks to slow down", "try again later, or with less in parallel"),
    501: _REFUSED,
}


def translate(
    status: int,
    code: str | None,
    message: str,
    *,
    resource: str,
    request_id: str | None,
    retry_after: float | None,
    what: str,
) -> errors.HypersdkError:
    """Tell an error reply in our tree.

    Args:
        status: HTTP status.
        code: the service's error code; None when the body had none, as after HEAD or from a proxy.
        message: the service's own sentence; "" when there was none.
        resource: name of the resource for people.
        request_id: `opc-request-id` of the reply.
        retry_after: seconds that the service asked for.
        what: the call for people ("list instances").
    """
    meaning = _meaning(status, code)
    quoted = _quote(message)
    said = " ".join(part for part in (str(status), code) if part) + (f": {quoted}" if quoted else "")
    return meaning.kind(
        f"{what}: {resource}: {meaning.says} ({said})",
        resource=resource,
        hint=meaning.hint,
        request_id=request_id,
        retry_after=retry_after,
        service_code=code,
        status=status,
    )


def translate_reply(
    status: int, headers: Mapping[str, str], body: bytes, *, resource: str, what: str
) -> errors.HypersdkError:
    """Tell an error reply in our tree, from what came over the wire.

    Args:
        status: HTTP status.
        headers: the reply's headers, names in lower case.
        body: the reply's body, or its beginning.
        resource: name of the resource for people.
        what: the call for people.
    """
    code, message = read_error_body(body)
    return translate(
        status,
        code,
        message,
        resource=resource,
        request_id=headers.get("opc-request-id"),
        retry_after=read_retry_after(headers),
        what=what,
    )


def read_error_body(body: bytes) -> tuple[str | None, str]:
    """Code and message of an error body `{"code": ..., "message": ...}`; a body of another shape is the message."""
    text = body.decode("utf-8", "replace")
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return None, text
    if not isinstance(read, dict):
        return None, text
    code, message = read.get("code"), read.get("message")
    return code if isinstance(code, str) and code else None, message if isinstance(message, str) else ""


def _meaning(status: int, code: str | None) -> Meaning:
    if code is not None and (found := BY_CODE.get((status, code))):
        return found
    if found := BY_STATUS.get(status):
        return found
    if status < 400:  # noqa: PLR2004 - RFC 9110: 3xx; we ask for nothing that a redirect or a 304 answers
        return _NOT_ASKED
    return _FAILED if status >= 500 else _REFUSED  # noqa: PLR2004 - RFC 9110: 5xx = the server failed


def _quote(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= LONGEST_QUOTE else line[: LONGEST_QUOTE - 3] + "..."
