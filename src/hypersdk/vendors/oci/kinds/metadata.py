"""The metadata service of an OCI instance: its region, and the certificate that proves who it is.

Facts (docs.oracle.com, "Getting Instance Metadata"; the SDK's `instance_principals_security_token_signer.py`): its
version 2 wants the header `Authorization: Bearer Oracle`; the address is link-local, so no proxy can reach it, and one
that did would answer with the identity of another machine.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from hypersdk import errors
from hypersdk.model import ConnectionSettings
from hypersdk.vendors.oci.credentials import OciSettings
from hypersdk.vendors.oci.kinds.asking import Question, ask

ADDRESSES = ("http://169.254.169.254/opc/v2", "http://[fd00:c1::a9fe:a9fe]/opc/v2")
"""Of every instance; the second one is for networks without IPv4."""

VARIABLE = "OCI_METADATA_BASE_URL"

TIMEOUTS = (2.0, 3.0)
"""Seconds to connect and to answer: it is next door, and elsewhere nobody should wait for it."""


@dataclass(frozen=True)
class Certificate:
    """What proves who the instance is; `leaf` and `intermediate` are PEM."""

    leaf: str
    intermediate: str
    key: RSAPrivateKey
    subject: x509.Certificate

    def fact(self, *prefixes: str) -> str | None:
        """A fact of the certificate's subject, whose values look like `opc-tenant:ocid1.tenancy...`."""
        with warnings.catch_warnings():
            # OCI's values are longer than the 64 characters that X.520 allows, and the library says so.
            warnings.simplefilter("ignore", UserWarning)
            values = [str(attribute.value) for attribute in self.subject.subject]
        return next((v.removeprefix(p) for p in prefixes for v in values if v.startswith(p)), None)


class Metadata:
    """Asks the metadata service.

    Args:
        settings: names another address than that of every instance, for an emulator.
        addresses: base URLs to try when the settings name none.
    """

    def __init__(self, settings: OciSettings, addresses: Sequence[str] = ADDRESSES) -> None:
        named = settings.environment.get(VARIABLE)
        self._addresses = (named.reveal().rstrip("/"),) if named else tuple(addresses)
        self._known: str | None = None
        self._auth = settings.where("auth")
        self._connection: ConnectionSettings = settings.connection

    def region(self) -> str:
        """The instance's region, or its short code."""
        return self._get("the instance's region", "instance/region").strip().lower()

    def certificate(self) -> Certificate:
        """The instance's certificate, as it is now: OCI replaces it every few hours."""
        leaf = self._get("the instance's certificate", "identity/cert.pem")
        secret = self._get("the key of the instance's certificate", "identity/key.pem")
        intermediate = self._get("the intermediate certificate", "identity/intermediate.pem")
        try:
            subject = x509.load_pem_x509_certificate(leaf.encode())
            key = serialization.load_pem_private_key(secret.encode(), None)
        except (ValueError, TypeError) as error:
            raise self._foreign("its certificate or key cannot be read") from error
        if not isinstance(key, RSAPrivateKey):
            raise self._foreign("its key is not an RSA key")
        return Certificate(leaf, intermediate, key, subject)

    def _get(self, what: str, path: str) -> str:
        if self._known is not None:
            return self._ask(self._known, what, path)
        *others, last = self._addresses
        for address in others:
            try:
                return self._ask(address, what, path)
            except errors.EndpointUnreachable:
                continue
        try:
            return self._ask(last, what, path)
        except errors.NetworkError as error:
            # Never heard of it: this is no instance. Later the same error is a fault that passes.
            raise errors.ConfigError(
                f"auth is instance_principal ({self._auth}), and no instance metadata service answers at "
                f"{' or '.join(self._addresses)}",
                resource=last,
                hint="this kind works on an OCI instance only: elsewhere choose another one with --auth; in a "
                f"container, let it reach that address; {VARIABLE} names another one",
            ) from error

    def _ask(self, address: str, what: str, path: str) -> str:
        question = Question(
            f"get {what}",
            f"{address}/{path}",
            headers={"authorization": "Bearer Oracle"},
            direct=True,
            timeouts=TIMEOUTS,
        )
        try:
            body = ask(question, self._connection).body
        except (errors.AuthError, errors.NotFoundError, errors.RequestRefused) as error:
            raise self._foreign(error.message) from error
        self._known = address
        return body.decode("ascii", "replace")

    def _foreign(self, why: str) -> errors.ConfigError:
        return errors.ConfigError(
            f"auth is instance_principal ({self._auth}), and the metadata service does not answer as OCI's: {why}",
            resource=self._known,
            hint="is this an OCI instance, and is its metadata service of version 2? Elsewhere choose another --auth",
        )
