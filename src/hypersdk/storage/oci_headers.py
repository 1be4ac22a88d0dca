"""What Object Storage says in headers, both ways. Pure; names are read in any case, as HTTP has it.

Source: the API reference of PutObject, HeadObject and CommitMultipartUpload
(docs.oracle.com/iaas/api/#/en/objectstorage).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from hypersdk.model import Checksum
from hypersdk.storage.protocol import PutCondition, PutOptions

META = "opc-meta-"

PART_SIZE = "hypersdk-part-size"
"""User metadata of objects that we uploaded by multipart: bytes of every part but the last."""

# Header that is kept beside an object -> its name in the body of CreateMultipartUpload.
_KEPT: Mapping[str, str] = {
    "content-type": "contentType",
    "content-language": "contentLanguage",
    "content-encoding": "contentEncoding",
    "content-disposition": "contentDisposition",
    "cache-control": "cacheControl",
}

# Algorithm -> (value of opc-checksum-algorithm, header that carries the checksum itself, base64 of its bytes).
_CHECKSUM_HEADERS: Mapping[str, tuple[str | None, str]] = {
    "crc32c": ("CRC32C", "opc-content-crc32c"),
    "sha256": ("SHA256", "opc-content-sha256"),
    "sha384": ("SHA384", "opc-content-sha384"),
    "md5": (None, "content-md5"),
}

COMPUTE_CRC32C: Mapping[str, str] = {"opc-checksum-algorithm": "CRC32C"}
"""Asks the service for a body's CRC32C without stating it; the reply tells it (UploadPart, PutObject)."""


def condition_headers(condition: PutCondition) -> dict[str, str]:
    """A condition as headers of a body request."""
    return {name.replace("_", "-"): value for name, value in condition_options(condition).items()}


def condition_options(condition: PutCondition) -> dict[str, str]:
    """A condition as options of an SDK call; `*` is the only value of If-None-Match that a write may carry."""
    if condition.if_absent:
        return {"if_none_match": "*"}
    return {"if_match": condition.if_match} if condition.if_match else {}


def checksum_headers(proof: Checksum) -> dict[str, str]:
    """The headers that let the service check a body."""
    algorithm, header = _CHECKSUM_HEADERS[proof.algorithm]
    value = base64.b64encode(bytes.fromhex(proof.value)).decode()
    return {header: value} | ({"opc-checksum-algorithm": algorithm} if algorithm else {})


def echoes(stated: Mapping[str, str]) -> dict[str, str]:
    """Which of the stated checksum headers a reply repeats, with what the service computed itself."""
    return {name: value for name, value in stated.items() if name.startswith("opc-content-")}


def checksums(headers: Mapping[str, str]) -> tuple[Checksum, ...]:
    """The whole-object checksums that a reply vouches for."""
    found = ((algorithm, headers.get(header)) for algorithm, (_, header) in _CHECKSUM_HEADERS.items())
    return tuple(proof for algorithm, text in found if (proof := checksum(algorithm, text)))


def checksum(algorithm: str, text: str | None) -> Checksum | None:
    """A checksum of the whole bytes from its base64 form; composites over parts ("...-3") prove nothing of the kind."""
    if not text or "-" in text:
        return None
    try:
        return Checksum(algorithm, base64.b64decode(text, validate=True).hex())
    except binascii.Error:
        return None


def multipart_md5(headers: Mapping[str, str]) -> str:
    """The MD5 over the parts' MD5s as "<hex>-<count>", "" if there is none.

    Source: `opc-multipart-md5` of HeadObject: base64 of the MD5 of the parts' binary MD5s, "-", number of parts.
    """
    text, _, count = headers.get("opc-multipart-md5", "").rpartition("-")
    composite = checksum("md5", text)
    return f"{composite.value}-{count}" if composite and count.isdecimal() else ""


def kept(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a reply that are kept beside an object and travel with its copies."""
    found = {name.lower(): value for name, value in headers.items()}
    return {name: found[name] for name in _KEPT if name in found}


def content_headers(options: PutOptions) -> dict[str, str]:
    """The headers that are to be kept, for a request that writes an object; there is always a content type."""
    stated = {"content-type": options.content_type} if options.content_type else {}
    return {"content-type": "application/octet-stream", **kept(options.headers), **stated}


def content_details(options: PutOptions) -> dict[str, str]:
    """The same for the body of CreateMultipartUpload."""
    return {_KEPT[name]: value for name, value in content_headers(options).items()}


def metadata(headers: Mapping[str, str]) -> dict[str, str]:
    """User metadata of a reply, keys without their prefix."""
    return {name[len(META) :].lower(): value for name, value in headers.items() if name.lower().startswith(META)}


def metadata_headers(values: Mapping[str, str]) -> dict[str, str]:
    """User metadata for a request; a multipart upload carries the same keys, prefix included, in its body."""
    return {META + key: value for key, value in values.items()}
