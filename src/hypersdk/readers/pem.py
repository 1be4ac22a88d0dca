"""What a file that should be a private key really is, judged by its armour (RFC 7468, RFC 1421) without opening it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

# The line that Oracle asks for at the end of an API key ("Required Keys and OCIDs": "OCI_API_KEY" after the END line).
LABEL = b"OCI_API_KEY"

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_SSH_PUBLIC = re.compile(rb"\A(ssh-(rsa|ed25519|dss)|ecdsa-sha2-\S+) AAAA")


class PemKind(Enum):
    """What the armour says."""

    PRIVATE = "a private key"
    ENCRYPTED = "an encrypted private key"
    OPENSSH = "an OpenSSH private key"
    PUBLIC = "a public key"
    CERTIFICATE = "a certificate"
    OTHER = "PEM, but not a key"
    NONE = "not PEM"


@dataclass(frozen=True, slots=True)
class Pem:
    """What a file holds, and whether the OCI_API_KEY label stands behind its armour."""

    kind: PemKind
    labelled: bool = False


def classify(data: bytes) -> Pem:
    """Say what the bytes of a key file are; the first private key in them decides, else the first armour."""
    data = data.removeprefix(b"\xef\xbb\xbf").strip()
    labelled = data.endswith(LABEL)
    if _SSH_PUBLIC.match(data):
        return Pem(PemKind.PUBLIC, labelled)
    kinds = [_kind(match[1], data[match.end() :]) for match in _BEGIN.finditer(data)]
    for wanted in (PemKind.PRIVATE, PemKind.ENCRYPTED, PemKind.OPENSSH):
        if wanted in kinds:
            return Pem(wanted, labelled)
    return Pem(kinds[0] if kinds else PemKind.NONE, labelled)


def _kind(label: bytes, rest: bytes) -> PemKind:
    if label == b"ENCRYPTED PRIVATE KEY":
        return PemKind.ENCRYPTED
    if label == b"OPENSSH PRIVATE KEY":
        return PemKind.OPENSSH
    if label.endswith(b"PRIVATE KEY"):
        # The older form keeps its PKCS#1 label and says in a header that it is encrypted (RFC 1421, 4.6.1.1).
        return PemKind.ENCRYPTED if re.match(rb"\s*Proc-Type:\s*4,\s*ENCRYPTED", rest) else PemKind.PRIVATE
    if label.endswith(b"PUBLIC KEY"):
        return PemKind.PUBLIC
    return PemKind.CERTIFICATE if label.endswith(b"CERTIFICATE") else PemKind.OTHER
