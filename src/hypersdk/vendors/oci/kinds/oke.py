"""Workload identity in OKE: the pod's service account token is exchanged for a session token by the cluster itself.

Facts (the SDK's `oke_workload_identity_resource_principal_signer.py`, oci-cli's `cli_util.py`): the cluster answers on
port 12250 with a certificate of its own authority; its answer is base64 of JSON whose token has three letters before
it; 403 = the cluster is not of the enhanced type; a token is renewed at half of its life.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from hypersdk import errors
from hypersdk.vendors.oci import regions
from hypersdk.vendors.oci.credentials import OKE_WORKLOAD_IDENTITY, OciSettings
from hypersdk.vendors.oci.keys import read_file
from hypersdk.vendors.oci.kinds import jwt, tokens
from hypersdk.vendors.oci.kinds.asking import Question, ask, read_json
from hypersdk.vendors.oci.kinds.grant import ANYBODY, Grant, Who

FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
HOST = "KUBERNETES_SERVICE_HOST"
PORT = 12250
PATH = "/resourcePrincipalSessionTokens"
CERTIFICATE = "OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH"
TOKEN_PATH = "OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH"  # noqa: S105 - the name of a variable
TOKEN_TEXT = "OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_STRING"  # noqa: S105 - the name of a variable
REGION = "OCI_RESOURCE_PRINCIPAL_REGION"

_LETTERS_BEFORE = 3
_NOT_ENHANCED = 403
_VISIBLE = re.compile(r"[\x21-\x7e]+")


class OkeWorkloadIdentity:
    """The workload that this pod belongs to.

    Args:
        settings: environment and connection.
        now: this machine's clock.
    """

    kind = OKE_WORKLOAD_IDENTITY
    renewable = True

    def __init__(self, settings: OciSettings, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._now = now

    def obtain(self) -> Grant:
        """Exchange the service account's token."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        url, account = self._url(), self._account()
        token = self._exchange(key, url, account)
        claims = tokens.fresh_claims(token)
        life = jwt.length_of_life(claims, self._now().timestamp())
        return tokens.grant_of(token, key, self._who(claims, account), claims=claims, life=life, half_life=True)

    def _exchange(self, key: rsa.RSAPrivateKey, url: str, account: str) -> str:
        question = Question(
            "get a token for the workload",
            url,
            {"podKey": tokens.bare(tokens.public_pem(key))},
            {"authorization": f"Bearer {account}"},
            direct=self._settings.federation_endpoint is None,
            trust=self._trust(),
        )
        try:
            answer = ask(question, self._settings.connection)
        except (errors.AuthError, errors.NotFoundError, errors.RequestRefused) as error:
            refusal = tokens.refused("the cluster gives no token to this workload", error)
            if error.status == _NOT_ENHANCED:
                refusal.hint = "workload identity needs a cluster of the enhanced type"
            raise refusal from error
        try:
            decoded = base64.b64decode(answer.body, validate=False)
        except (ValueError, binascii.Error):
            decoded = b""
        return read_json(question, decoded, "token")[0][_LETTERS_BEFORE:]

    def _url(self) -> str:
        if self._settings.federation_endpoint is not None:
            return tokens.with_path(self._settings.federation_endpoint, PATH)
        host = self._variable(HOST)
        if host is None:
            raise errors.ConfigError(
                f"auth is oke_workload_identity ({self._settings.where('auth')}), and the environment has no {HOST}",
                hint="this kind works in a pod of an OKE cluster only; elsewhere choose another one with --auth",
            )
        return f"https://{f'[{host}]' if ':' in host else host}:{PORT}{PATH}"

    def _account(self) -> str:
        named, given = self._variable(TOKEN_PATH), self._variable(TOKEN_TEXT)
        where = f"environment {TOKEN_PATH}" if named else "oke_workload_identity"
        if given is None:
            data = read_file(named or f"{FOLDER}/token", where, "the service account's token")
            given = data.decode("ascii", "replace").strip()
        else:
            where = f"environment {TOKEN_TEXT}"
        if not _VISIBLE.fullmatch(given):
            # The HTTP library's error would quote it.
            raise errors.AuthError(f"{where}: this is no service account's token")
        return given

    def _trust(self) -> str | None:
        """The cluster's own authority; a federation endpoint that somebody named may have another one."""
        named = self._variable(CERTIFICATE)
        path = named or f"{FOLDER}/ca.crt"
        if named is None and self._settings.federation_endpoint is not None and not Path(path).exists():
            return None
        where = f"environment {CERTIFICATE}" if named else "oke_workload_identity"
        read_file(path, where, "the cluster's CA certificate")
        return path

    def _variable(self, name: str) -> str | None:
        given = self._settings.environment.get(name)
        return given.reveal().strip() if given else None

    def _who(self, claims: jwt.Claims, account: str) -> Who:
        tenancy = jwt.text_claim(claims, "res_tenant", "tenant") or self._settings.tenancy_ocid
        if tenancy is None:
            raise errors.AuthError(
                "the workload's token names no tenancy", hint="name it: OCI_CLI_TENANCY, or oci.tenancy_ocid"
            )
        region = self._variable(REGION)
        principal = jwt.text_claim(claims, "res_id", "sub")
        cluster = principal if principal and principal.startswith("ocid1.cluster.") else None
        facts = {"request.principal.type": "workload", **_pod(account), "request.principal.cluster_id": cluster}
        rule = ", ".join(f"{name} = '{value}'" for name, value in facts.items() if value)
        compartment = jwt.text_claim(claims, "res_compartment")
        return Who(tenancy, regions.expand(region) if region else None, principal, compartment, ANYBODY, rule)

    def why_refused(self, grant: Grant, _when: datetime) -> str:
        """A token that was just made is refused only by a service that does not know its issuer."""
        return f"a fresh token of the workload {grant.who.principal or ''} is refused too: is it of this realm?"

    @property
    def files(self) -> tuple[str, ...]:
        """The service account's token, which Kubernetes renews."""
        return () if self._variable(TOKEN_TEXT) else (self._variable(TOKEN_PATH) or f"{FOLDER}/token",)

    def ask(self, _grant: Grant, _when: datetime) -> str:
        """Nobody logs in: Kubernetes renews the file."""
        return f"the cluster has to accept the service account again (its token is in {', '.join(self.files)})"


def _pod(account: str) -> dict[str, str]:
    """What policies ask of the pod, from the claims that Kubernetes puts into a service account's token."""
    try:
        place = jwt.read_claims(account)["kubernetes.io"]
        return {
            "request.principal.namespace": str(place["namespace"]),
            "request.principal.service_account": str(place["serviceaccount"]["name"]),
        }
    except (ValueError, KeyError, TypeError):
        return {}
