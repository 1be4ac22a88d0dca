"""Opens the private key that signs, and says exactly what is wrong with one that cannot be opened.

Nothing here ever asks a question: a missing pass phrase is an error that names where one may come from.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from hypersdk import errors
from hypersdk.model import Secret
from hypersdk.readers.pem import PemKind, classify
from hypersdk.vendors.oci.credentials import OciSettings, places


def read_file(path: str, where: str, what: str) -> bytes:
    """Read a file that a setting names.

    Args:
        path: absolute path.
        where: where the setting stands.
        what: the file's role for messages ("private key").

    Raises:
        ConfigError: absent, unreadable, or a directory; names place and absolute path.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        reason = "there is no such file"
    except IsADirectoryError:
        reason = "it is a directory"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    raise errors.ConfigError(f"{where}: {what} {path}: {reason}", resource=path)


def fingerprint(key: RSAPrivateKey) -> str:
    """The fingerprint that OCI shows for an API key: MD5 of the public half's DER (SubjectPublicKeyInfo), colon hex.

    Source: docs.oracle.com, "Required Keys and OCIDs", "How to Get the Key's Fingerprint".
    """
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.md5(der, usedforsecurity=False).digest().hex(":")


def load_private_key(settings: OciSettings) -> RSAPrivateKey:
    """Open the private key of the settings: its content if given, else its file.

    Raises:
        ConfigError: no key named, file absent or unreadable, pass phrase missing.
        AuthError: not an RSA private key, damaged, or the pass phrase does not open it.
    """
    if settings.key_content is not None:
        where, shown = settings.where("key_content"), "the key"
        text = settings.key_content.reveal()
        # Secret stores often keep a PEM on one line with "\n" spelled out.
        data = (text if "\n" in text.strip() else text.replace("\\n", "\n")).encode()
    elif settings.private_key_path is not None:
        where, shown = settings.where("private_key_path"), settings.private_key_path
        data = read_file(settings.private_key_path, where, "private key")
    else:
        raise errors.ConfigError(
            "no private key to sign with",
            hint=f"name its file by {places('private_key_path', settings)}; or its text by OCI_CLI_KEY_CONTENT",
        )
    place = PemPlace(where, shown, settings.pass_phrase, settings.where("pass_phrase"), places("pass_phrase", settings))
    return open_private_key(data, place)


@dataclass(frozen=True, slots=True)
class PemPlace:
    """Where a key and its pass phrase come from, for messages.

    Attributes:
        where: where the setting of the key stands.
        shown: the key's file, or "the key".
        phrase: opens an encrypted key; None = none was given.
        phrase_where: where the setting of the pass phrase stands.
        phrase_places: where it may come from.
    """

    where: str
    shown: str
    phrase: Secret | None
    phrase_where: str
    phrase_places: str


def open_private_key(data: bytes, place: PemPlace) -> RSAPrivateKey:
    """Open a private key.

    Args:
        data: the PEM.
        place: where it comes from.

    Raises:
        ConfigError: the pass phrase is missing.
        AuthError: not an RSA private key, damaged, or the pass phrase does not open it.
    """
    said = f"{place.where}: {place.shown}"
    kind = classify(data).kind
    if kind not in {PemKind.PRIVATE, PemKind.ENCRYPTED}:
        raise errors.AuthError(f"{said} is {kind.value}, not a private key in PEM form", hint=_HINTS[kind])
    phrase = place.phrase if kind is PemKind.ENCRYPTED else None
    if kind is PemKind.ENCRYPTED and phrase is None:
        raise errors.ConfigError(
            f"{said} is encrypted and no pass phrase was given", hint=f"give it by {place.phrase_places}"
        )
    try:
        key = serialization.load_pem_private_key(
            data.removeprefix(b"\xef\xbb\xbf").strip(),
            phrase.reveal().encode() if phrase else None,
            # Its proof that both primes are prime takes 28 ms, at every start; `_signs` asks what matters in one.
            unsafe_skip_rsa_key_validation=True,
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if phrase is not None:
            raise errors.AuthError(
                f"{said} is not opened by the pass phrase from {place.phrase_where}",
                hint="the pass phrase is wrong, or the file is damaged",
            ) from error
        raise errors.AuthError(f"{said} is damaged: it does not hold a readable private key") from error
    if not isinstance(key, RSAPrivateKey):
        raise errors.AuthError(f"{said} is not an RSA key", hint="OCI signs with RSA keys only")
    if not _signs(key):
        raise errors.AuthError(f"{said} is damaged: its numbers make no valid signature")
    return key


def _signs(key: RSAPrivateKey) -> bool:
    """Whether the public half accepts what the private half signs."""
    text, padding, digest = b"hypersdk", PKCS1v15(), hashes.SHA256()
    try:
        key.public_key().verify(key.sign(text, padding, digest), text, padding, digest)
    except (InvalidSignature, ValueError):
        return False
    return True


_HINTS = {
    PemKind.PUBLIC: "give the private half of the pair, the file without _public",
    PemKind.OPENSSH: "convert it: ssh-keygen -p -m PEM -f FILE",
    PemKind.CERTIFICATE: "give the private key's file",
    PemKind.OTHER: "give the private key's file",
    PemKind.NONE: "it must begin with -----BEGIN PRIVATE KEY----- or -----BEGIN RSA PRIVATE KEY-----",
}
