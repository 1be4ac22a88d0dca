"""Resource principals of version 3.0: a leaf resource signs for its parent, that one for its own, up to the last.

Facts (the SDK's `nested_resource_principals_signer.py`): each parent's service gives a resource principal token and a
service principal session token to its child's signature, Identity makes a session token of both, all for the leaf's
key; the header `opc-parent-rpt-url` names the next parent.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from hypersdk import errors
from hypersdk.vendors.oci.credentials import RESOURCE_PRINCIPAL, OciSettings
from hypersdk.vendors.oci.kinds import jwt, tokens
from hypersdk.vendors.oci.kinds.asking import Answer, Question, ask, read_json
from hypersdk.vendors.oci.kinds.grant import Credentials, Grant

RPT_URL = "OCI_RESOURCE_PRINCIPAL_RPT_URL_FOR_PARENT_RESOURCE"
RPST_ENDPOINT = "OCI_RESOURCE_PRINCIPAL_RPST_ENDPOINT_FOR_PARENT_RESOURCE"
PATH = "/v1/resourcePrincipalSessionToken"
NEXT_PARENT = "opc-parent-rpt-url"
MOST_PARENTS = 10
"""The SDK gives up there too (`MAX_NESTED_PARENT_DEPTH`)."""


class Nested:
    """The outermost parent of a leaf resource.

    Args:
        settings: environment and connection.
        now: this machine's clock.
        leaf: credentials of the leaf.

    Raises:
        ConfigError: the environment names no parent.
    """

    kind = RESOURCE_PRINCIPAL
    renewable = True

    def __init__(self, settings: OciSettings, now: Callable[[], datetime], leaf: Credentials) -> None:
        self._settings = settings
        self._now = now
        self._leaf = leaf
        self._first = self._address(RPT_URL)
        self._sessions = tokens.with_path(self._address(RPST_ENDPOINT), PATH, always=True)

    def obtain(self) -> Grant:
        """Climb from the leaf to the last parent."""
        grant, url, seen = self._leaf.obtain(), self._first, set[str]()
        while url:
            if url in seen or len(seen) >= MOST_PARENTS:
                raise errors.AuthError(
                    f"resource principal: the chain of parents does not end ({url} after {len(seen)} of them)",
                    resource=url,
                    hint=f"check {RPT_URL}",
                )
            seen.add(url)
            grant, url = self._parent(grant, url)
        return grant

    def _parent(self, child: Grant, url: str) -> tuple[Grant, str]:
        asked = Question("get the parent resource's token", url, sign=child.signer)
        answer = self._ask(asked)
        names = ("resourcePrincipalToken", "servicePrincipalSessionToken")
        given = dict(zip(names, read_json(asked, answer.body, *names), strict=True))
        key = child.signer.private_key
        body = {**given, "sessionPublicKey": tokens.bare(tokens.public_pem(key))}
        session = Question("get a session token for the parent resource", self._sessions, body, sign=child.signer)
        token = read_json(session, self._ask(session).body, "token")[0]
        claims = tokens.fresh_claims(token)
        tenancy = jwt.text_claim(claims, "res_tenant") or child.who.tenancy_id
        who = tokens.resource(claims, tenancy, child.who.region)
        life = jwt.length_of_life(claims, self._now().timestamp())
        return tokens.grant_of(token, key, who, claims=claims, life=life), answer.headers.get(NEXT_PARENT, "")

    def _ask(self, question: Question) -> Answer:
        try:
            return ask(question, self._settings.connection)
        except (errors.AuthError, errors.NotFoundError, errors.RequestRefused) as error:
            raise tokens.refused("no token for the parent resource", error) from error

    def _address(self, variable: str) -> str:
        given = self._settings.environment.get(variable)
        if given is None:
            raise errors.ConfigError(
                f"auth is resource_principal ({self._settings.where('auth')}) of version 3.0, and the environment has "
                f"no {variable}",
                hint=f"version 3.0 needs {RPT_URL} and {RPST_ENDPOINT}",
            )
        return given.reveal().strip()

    def why_refused(self, grant: Grant, _when: datetime) -> str:
        """A token that was just made is refused only by a service that does not know its issuer."""
        return f"a fresh token of {grant.who.principal or 'the parent resource'} is refused too: is it of this realm?"

    @property
    def files(self) -> tuple[str, ...]:
        """Those of the leaf."""
        return self._leaf.files

    def ask(self, grant: Grant, when: datetime) -> str:
        """The leaf's token is what can be renewed."""
        return self._leaf.ask(grant, when)
