"""A small S3 client of our own for tests: signs by AWS Signature Version 4, knows nothing of the emulator's code."""

from __future__ import annotations

import hashlib
import hmac
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET

from emulator import REGION, Emulator, Reply

ACCESS_KEY, SECRET_KEY = "0123456789abcdef0123456789abcdef01234567", "c2VjcmV0LW9mLXRoZS10ZXN0cw=="
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def with_secret_key(seed: dict[str, Any]) -> None:
    """Give the seed's user a Customer Secret Key: `make_seed(change=with_secret_key)`."""
    seed["users"][0]["customerSecretKeys"] = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signature_of(secret: str, region: str, moment: str, canonical: str) -> str:
    """The signature of a canonical request."""
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = _hmac(_hmac(_hmac(_hmac(f"AWS4{secret}".encode(), moment[:8]), region), "s3"), "aws4_request")
    return _hmac(key, text).hex()


def encoded(text: str, safe: str = "-_.~") -> str:
    """As the signature wants it."""
    return urllib.parse.quote(text, safe=safe)


def canonical_query(query: Mapping[str, str]) -> str:
    """Sorted and encoded."""
    return "&".join(f"{name}={value}" for name, value in sorted((encoded(n), encoded(v)) for n, v in query.items()))


@dataclass
class S3:
    """Signed calls to an emulator's S3 API; change a field to lie about it."""

    emulator: Emulator
    access: str = ACCESS_KEY
    secret: str = SECRET_KEY
    region: str = REGION
    host: str = ""
    skew: float = 0.0

    def _moment(self) -> str:
        return (datetime.now(UTC) + timedelta(seconds=self.skew)).strftime("%Y%m%dT%H%M%SZ")

    def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        payload: str | None = None,
        unsigned: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request; `path` is not encoded yet, `unsigned` are headers that the signature leaves out."""
        moment, asked = self._moment(), canonical_query(query or {})
        digest = payload or hashlib.sha256(body).hexdigest()
        sent = {"host": self.host or self.emulator.host, "x-amz-date": moment, "x-amz-content-sha256": digest}
        sent |= {name.lower(): value for name, value in (headers or {}).items()}
        names = sorted(sent)
        target = encoded(path, "/-_.~")
        lines = [
            method,
            target,
            asked,
            *(f"{name}:{sent[name].strip()}" for name in names),
            "",
            ";".join(names),
            digest,
        ]
        signature = signature_of(self.secret, self.region, moment, "\n".join(lines))
        credential = f"{self.access}/{moment[:8]}/{self.region}/s3/aws4_request"
        sent["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={';'.join(names)}, Signature={signature}"
        )
        data = body if body or method in ("PUT", "POST") else None
        sent |= unsigned or {}
        return self.emulator.send(method, f"{target}?{asked}" if asked else target, data, sent)

    def presigned(self, method: str, path: str, seconds: int = 60, query: Mapping[str, str] | None = None) -> str:
        """A path with a signature in its query; only the host is signed."""
        moment = self._moment()
        asked = {
            **(query or {}),
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self.access}/{moment[:8]}/{self.region}/s3/aws4_request",
            "X-Amz-Date": moment,
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": "host",
        }
        target = encoded(path, "/-_.~")
        host = self.host or self.emulator.host
        canonical = "\n".join((method, target, canonical_query(asked), f"host:{host}", "", "host", "UNSIGNED-PAYLOAD"))
        signature = signature_of(self.secret, self.region, moment, canonical)
        return f"{target}?{canonical_query(asked)}&X-Amz-Signature={signature}"


def xml(reply: Reply) -> ET.Element:
    """The XML of a good reply."""
    assert reply.status < 300, reply
    return ET.fromstring(reply.body)


def texts(root: ET.Element, path: str) -> list[str]:
    """The texts of all elements at a path such as `Contents/Key`."""
    found = root.findall("/".join(NAMESPACE + part for part in path.split("/")))
    return [each.text or "" for each in found]


def refusal(reply: Reply) -> tuple[int, str]:
    """Status and code of a refused call."""
    assert reply.status >= 300, reply
    return reply.status, ET.fromstring(reply.body).findtext("Code") or ""


def parts_xml(etags: Mapping[int, str]) -> bytes:
    """The body of CompleteMultipartUpload."""
    rows = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{tag}</ETag></Part>" for n, tag in etags.items())
    return f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
