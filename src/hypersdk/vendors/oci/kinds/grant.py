"""What every kind of credentials gives: something that signs, who that is, and until when.

Rules of this folder: `obtain` makes the few requests that it needs, once each; it never waits, repeats or remembers
(`renewal.py` remembers, the Retrier repeats); a grant is never changed, so a request in flight keeps its signature.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

MARGIN = 60.0
"""Seconds before its end at which a token is renewed, as the SDK does (`security_token_container.py`)."""


USERS, RESOURCES, ANYBODY = "group Exporters", "dynamic-group Exporters", "any-user"
"""Subjects of policies: a group of users, a group of instances or resources by a matching rule, all that a rule fits
(docs.oracle.com, "Managing Dynamic Groups"; "Granting Workloads Access to OCI Resources" for OKE)."""


@dataclass(frozen=True, slots=True)
class Who:
    """Who signs.

    Attributes:
        tenancy_id: OCID of the account.
        region: the region that the credentials themselves name; None = they name none.
        principal: OCID of the user or resource, where it is known.
        compartment_id: OCID of the compartment that the resource lives in; None for users.
        subject: how the sentences of a policy name those who sign so.
        rule: conditions that hold for this principal: of its dynamic group, or of the policy itself; "" for users.
    """

    tenancy_id: str
    region: str | None = None
    principal: str | None = None
    compartment_id: str | None = None
    subject: str = USERS
    rule: str = ""

    def allow(self, what: str, place: str) -> str:
        """The sentence of a policy that an administrator has to write.

        Args:
            what: verb and resource ("read buckets").
            place: the compartment, or a letter that stands for it.
        """
        where = f" where all {{{self.rule}}}" if self.subject == ANYBODY and self.rule else ""
        return f"Allow {self.subject} to {what} in compartment {place}{where}"


@dataclass(frozen=True, slots=True)
class Grant:
    """What signs from now on.

    Attributes:
        signer: signer of the SDK.
        who: who signs with it.
        mark: tells this grant from another one of the same kind, without its secrets.
        fingerprint: fingerprint of the key that signs, where the service knows the key by it.
        expires: end of the token in seconds since the epoch, for people; None = it never ends.
        life: seconds from now to its end; None = it never ends.
        renew_after: seconds from now after which a new one should be fetched; None = never.
    """

    signer: Any
    who: Who
    mark: str = ""
    fingerprint: str | None = None
    expires: float | None = None
    life: float | None = None
    renew_after: float | None = None


class Credentials(Protocol):
    """A way to sign in."""

    @property
    def kind(self) -> str:
        """The OCI CLI's word for it ("instance_principal")."""

    @property
    def renewable(self) -> bool:
        """Whether `obtain` gives a new token whenever it is asked; else only what somebody else has put there."""

    def obtain(self) -> Grant:
        """Get what signs now.

        Raises:
            ConfigError: something is missing here; names it.
            AuthError: what is there cannot be used, or the service refuses it.
            PassingError: it may work later.
        """

    def why_refused(self, grant: Grant, when: datetime) -> str:
        """Say in one line why the service may have answered 401, clock skew aside.

        Args:
            grant: what had signed.
            when: the service's time of day.
        """

    @property
    def files(self) -> tuple[str, ...]:
        """Absolute paths of the files by whose change we notice that somebody has renewed the credentials."""

    def ask(self, grant: Grant, when: datetime) -> str:
        """What somebody has to do so that we can go on, in one line; only where there are files.

        Args:
            grant: what signed until now.
            when: the service's time of day.
        """


def renew_before_end(life: float | None) -> float | None:
    """When to renew a token that lives `life` seconds: a minute before its end, or at half of a very short life."""
    return None if life is None else life - min(MARGIN, life / 2)
