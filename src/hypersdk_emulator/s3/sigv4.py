"""AWS Signature Version 4 for S3: what a request claims, and the signature it should have. Pure.

Rules: "Authenticating Requests (AWS Signature Version 4)" in the Amazon S3 API reference: the path is encoded once and
not normalised, query parameters are sorted by their encoded names, header values are trimmed, and every `x-amz-*`
header must be signed. A query signature covers the same, without its own `X-Amz-Signature`, and an unsigned body.
"""

import calendar
import hashlib
import hmac
import re
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hypersdk_emulator.errors import ServiceError

ALGORITHM = "AWS4-HMAC-SHA256"
MAX_SKEW_SECONDS = 900  # Amazon S3 API reference, RequestTimeTooSkewed: 15 minutes
MAX_EXPIRES_SECONDS = 604_800  # seven days, the longest life of a presigned URL
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
_SCOPE_PARTS = 5
_PARAMETER = re.compile(r"(Credential|SignedHeaders|Signature)=([^,\s]+)")
_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_SECONDS = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Wire:
    """A request as it came: raw path and query, headers by lower-case name (several of one name joined by commas)."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Claim:
    """What a request says about its own signature; `expires` is None unless the signature is in the query."""

    access_key: str
    day: str
    region: str
    service: str
    moment: str
    signed_headers: tuple[str, ...]
    signature: str
    payload: str
    expires: int | None = None

    @property
    def scope(self) -> str:
        """The credential's scope."""
        return f"{self.day}/{self.region}/{self.service}/aws4_request"

    @property
    def when(self) -> float:
        """When it was signed, seconds since the epoch."""
        return float(calendar.timegm(time.strptime(self.moment, "%Y%m%dT%H%M%SZ")))


def _malformed(text: str) -> ServiceError:
    return ServiceError(400, "AuthorizationHeaderMalformed", f"The authorization is malformed; {text}.")


def _query_refused(text: str) -> ServiceError:
    return ServiceError(400, "AuthorizationQueryParametersError", text)


def pairs(query: str) -> list[tuple[str, str]]:
    """The parameters of a raw query string, decoded; a plus stays a plus."""
    found = []
    for each in query.split("&"):
        name, _, value = each.partition("=")
        if name:
            found.append((urllib.parse.unquote(name), urllib.parse.unquote(value)))
    return found


def claim(wire: Wire) -> Claim:
    """Read the signature of a request, from its header or else from its query.

    Raises:
        ServiceError: 403 if there is none, 400 if it cannot be read, and for signatures of version 2.
    """
    header = wire.headers.get("authorization", "")
    if header.startswith(ALGORITHM):
        return _header_claim(wire, header)
    parameters = dict(pairs(wire.query))
    if header or (parameters and "AWSAccessKeyId" in parameters):
        text = f"The authorization mechanism you have provided is not supported. Please use {ALGORITHM}."
        raise ServiceError(400, "InvalidRequest", text)
    if "X-Amz-Algorithm" not in parameters:
        raise ServiceError(403, "AccessDenied", "Access Denied")
    return _query_claim(parameters)


def _credential(text: str) -> list[str]:
    parts = text.split("/")
    if len(parts) != _SCOPE_PARTS or parts[3] != "s3" or parts[4] != "aws4_request":
        raise _malformed("the Credential must be KEY/YYYYMMDD/REGION/s3/aws4_request")
    return parts


def _header_claim(wire: Wire, header: str) -> Claim:
    values = dict(_PARAMETER.findall(header))
    if len(values) != len(("Credential", "SignedHeaders", "Signature")):
        raise _malformed("Credential, SignedHeaders and Signature are needed")
    key, day, region, service, _ = _credential(values["Credential"])
    moment = wire.headers.get("x-amz-date", "")
    if not _DATE.fullmatch(moment):
        raise ServiceError(403, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
    payload = wire.headers.get("x-amz-content-sha256", "")
    if not payload:
        raise ServiceError(400, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
    names = tuple(values["SignedHeaders"].split(";"))
    return _dated(Claim(key, day, region, service, moment, names, values["Signature"], payload))


def _query_claim(parameters: Mapping[str, str]) -> Claim:
    if parameters["X-Amz-Algorithm"] != ALGORITHM:
        raise _query_refused(f"X-Amz-Algorithm only supports {ALGORITHM}")
    wanted = ("X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature")
    if missing := [name for name in wanted if name not in parameters]:
        raise _query_refused(f"Query-string authentication needs {', '.join(missing)}")
    key, day, region, service, _ = _credential(parameters["X-Amz-Credential"])
    moment, seconds = parameters["X-Amz-Date"], parameters["X-Amz-Expires"]
    if not _DATE.fullmatch(moment):
        raise _query_refused("X-Amz-Date must be in the ISO8601 Long Format")
    if not _SECONDS.fullmatch(seconds) or not 0 < int(seconds) <= MAX_EXPIRES_SECONDS:
        raise _query_refused(f"X-Amz-Expires must be a number from 1 to {MAX_EXPIRES_SECONDS}")
    names = tuple(parameters["X-Amz-SignedHeaders"].split(";"))
    signature = parameters["X-Amz-Signature"]
    found = Claim(key, day, region, service, moment, names, signature, UNSIGNED_PAYLOAD, int(seconds))
    return _dated(found)


def _dated(found: Claim) -> Claim:
    try:
        _ = found.when
    except ValueError:
        raise _malformed("the date is none") from None
    if not found.moment.startswith(found.day):
        raise _malformed(f"the Credential's date {found.day} is not that of {found.moment}")
    return found


def check_time(found: Claim, wall: float) -> None:
    """Refuse a request that is too old, or from the future.

    Args:
        found: The claim.
        wall: Real time, seconds since the epoch.

    Raises:
        ServiceError: 403.
    """
    ahead = found.when - wall
    if found.expires is None:
        if abs(ahead) > MAX_SKEW_SECONDS:
            text = "The difference between the request time and the current time is too large."
            raise ServiceError(403, "RequestTimeTooSkewed", text)
    elif ahead > MAX_SKEW_SECONDS:
        raise ServiceError(403, "AccessDenied", "Request is not valid yet")
    elif wall >= found.when + found.expires:
        raise ServiceError(403, "AccessDenied", "Request has expired")


def check_headers(found: Claim, headers: Mapping[str, str]) -> None:
    """Refuse a request with an `x-amz-*` or Host header that the signature does not cover.

    Raises:
        ServiceError: 403.
    """
    wanted = {name for name in headers if name.startswith("x-amz-")} | {"host"}
    if missing := sorted(wanted.difference(found.signed_headers)):
        text = f"There were headers present in the request which were not signed: {', '.join(missing)}"
        raise ServiceError(403, "AccessDenied", text)


def canonical_request(wire: Wire, signed_headers: Sequence[str], payload: str) -> str:
    """The text whose digest is signed.

    Args:
        wire: The request.
        signed_headers: Names, in the order of the claim.
        payload: Hex SHA-256 of the body, or a word for a body that is not signed.
    """
    path = urllib.parse.quote(urllib.parse.unquote_to_bytes(wire.path), safe="/")
    query = sorted(
        tuple(urllib.parse.quote(urllib.parse.unquote_to_bytes(half), safe="") for half in each.partition("=")[::2])
        for each in wire.query.split("&")
        if each and each.partition("=")[0] != "X-Amz-Signature"
    )
    lines = [wire.method, path, "&".join(f"{name}={value}" for name, value in query)]
    lines += [f"{name}:{' '.join(wire.headers.get(name, '').split())}" for name in signed_headers]
    return "\n".join([*lines, "", ";".join(signed_headers), payload])


def signature(secret: str, found: Claim, canonical: str) -> str:
    """The signature that a claim should have, hex.

    Args:
        secret: The secret key.
        found: Names the scope and the moment.
        canonical: What `canonical_request` gives.
    """
    key = f"AWS4{secret}".encode()
    for word in (found.day, found.region, found.service, "aws4_request"):
        key = hmac.digest(key, word.encode(), "sha256")
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"{ALGORITHM}\n{found.moment}\n{found.scope}\n{digest}"
    return hmac.digest(key, text.encode(), "sha256").hex()
