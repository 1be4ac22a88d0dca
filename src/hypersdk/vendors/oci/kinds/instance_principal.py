"""Instance principals: the instance's certificate is exchanged for a token at the federation service (`/v1/x509`).

Wire format as in the SDK's `X509FederationClient`, which retries, waits and reads proxies by itself, so only its signer
is used.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from hypersdk import errors
from hypersdk.vendors.oci import regions
from hypersdk.vendors.oci.credentials import INSTANCE_PRINCIPAL, OciSettings
from hypersdk.vendors.oci.kinds import jwt, tokens
from hypersdk.vendors.oci.kinds.asking import Question, ask, read_json
from hypersdk.vendors.oci.kinds.grant import RESOURCES, Grant, Who
from hypersdk.vendors.oci.kinds.metadata import Certificate, Metadata

PATH = "/v1/x509"


class InstancePrincipal:
    """The instance that this process runs on, as a member of dynamic groups.

    Args:
        settings: connection, and what stands in for the metadata and the federation service.
        now: this machine's clock.
        metadata: asks the metadata service.
    """

    kind = INSTANCE_PRINCIPAL
    renewable = True

    def __init__(self, settings: OciSettings, now: Callable[[], datetime], metadata: Metadata | None = None) -> None:
        self._settings = settings
        self._now = now
        self._metadata = metadata or Metadata(settings)
        self._region: str | None = None

    def obtain(self) -> Grant:
        """Exchange the certificate for a token."""
        if self._region is None:
            self._region = regions.expand(self._metadata.region())
        certificate = self._metadata.certificate()
        tenancy = certificate.fact("opc-tenant:", "opc-identity:")
        if tenancy is None:
            raise errors.AuthError("the instance's certificate names no tenancy", hint="is this an OCI instance?")
        instance = certificate.fact("opc-instance:")
        who = Who(
            tenancy,
            self._region,
            instance,
            certificate.fact("opc-compartment:"),
            RESOURCES,
            f"instance.id = '{instance}'" if instance else "",
        )
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        token = self._exchange(certificate, tenancy, key)
        claims = tokens.fresh_claims(token)
        life = jwt.length_of_life(claims, self._now().timestamp())
        return tokens.grant_of(token, key, who, claims=claims, life=life)

    def _exchange(self, certificate: Certificate, tenancy: str, key: rsa.RSAPrivateKey) -> str:
        question = Question(
            "get a token for the instance",
            self._endpoint(),
            {
                "certificate": tokens.bare(certificate.leaf),
                "publicKey": tokens.bare(tokens.public_pem(key)),
                "intermediateCertificates": [tokens.bare(certificate.intermediate)],
            },
            sign=_federation_signer(certificate, tenancy),
        )
        try:
            return read_json(question, ask(question, self._settings.connection).body, "token")[0]
        except (errors.AuthError, errors.NotFoundError, errors.RequestRefused) as error:
            raise tokens.refused("the federation service does not accept the instance's certificate", error) from error

    def _endpoint(self) -> str:
        named = self._settings.federation_endpoint or self._settings.connection.endpoint
        if named is None:
            return regions.auth_url(self._region or "") + PATH
        return tokens.with_path(named, PATH, always=self._settings.federation_endpoint is None)

    def why_refused(self, grant: Grant, _when: datetime) -> str:
        """A token that was just made is refused only by a service that does not know its issuer, or the instance."""
        return (
            f"a fresh token of {grant.who.principal or 'this instance'} is refused too: "
            f"is the endpoint in the realm of {grant.who.region}, and does the instance still exist?"
        )

    @property
    def files(self) -> tuple[str, ...]:
        """None: the metadata service renews the certificate, and nobody can do anything here."""
        return ()

    def ask(self, grant: Grant, _when: datetime) -> str:
        """Nobody can log in; what helps is done in the cloud."""
        return f"instance {grant.who.principal or ''} must be known to the federation service again"


def _federation_signer(certificate: Certificate, tenancy: str) -> Any:
    from oci.auth.federation_client import AuthTokenRequestSigner

    # The key is named by the SHA-1 of its certificate (the SDK's federation_client.py).
    digest = certificate.subject.fingerprint(hashes.SHA1())  # noqa: S303 - a name, demanded by the service
    return AuthTokenRequestSigner(
        tenancy, digest.hex(":").upper(), SimpleNamespace(get_private_key=lambda: certificate.key)
    )
