"""The API key of a user: it signs as long as it is registered, and nothing has to be renewed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from hypersdk import errors
from hypersdk.vendors.oci.credentials import API_KEY, OciSettings, demand
from hypersdk.vendors.oci.keys import fingerprint, load_private_key
from hypersdk.vendors.oci.kinds.grant import Grant, Who
from hypersdk.vendors.oci.signing import ApiKeySigner


@dataclass(frozen=True)
class ApiKey:
    """A key pair whose public half is registered with a user."""

    settings: OciSettings
    kind = API_KEY
    renewable = False

    def obtain(self) -> Grant:
        """Open the key."""
        tenancy, user = demand("tenancy_ocid", self.settings), demand("user_ocid", self.settings)
        key = load_private_key(self.settings)
        computed = fingerprint(key)
        _check_fingerprint(self.settings, computed)
        who = Who(tenancy, principal=user)
        return Grant(ApiKeySigner(key, tenancy, user, computed), who, mark=computed, fingerprint=computed)

    def why_refused(self, grant: Grant, _when: datetime) -> str:
        """OCI compares fingerprint, user and tenancy, and never says which of them is wrong."""
        where = self.settings.where
        return (
            f"is the public key with fingerprint {grant.fingerprint} ({where('private_key_path')}) "
            f"among the API keys of user {grant.who.principal} ({where('user_ocid')}) "
            f"in tenancy {grant.who.tenancy_id}? "
            f"A new key takes a minute to be known in every region"
        )

    @property
    def files(self) -> tuple[str, ...]:
        """The key and the profile that names it; a key from the environment cannot change."""
        settings = self.settings
        if settings.key_content is not None or settings.private_key_path is None:
            return ()
        return (settings.private_key_path, settings.config_file)

    def ask(self, grant: Grant, _when: datetime) -> str:
        """Somebody registers this key again, or puts another one in its place."""
        settings = self.settings
        return (
            f"register API key {grant.fingerprint} with user {grant.who.principal}, or put one that is registered into "
            f"profile [{settings.profile}] of {settings.config_file}"
        )


def _check_fingerprint(settings: OciSettings, computed: str) -> None:
    if settings.fingerprint is None or settings.fingerprint == computed:
        return
    source = "key_content" if settings.key_content is not None else "private_key_path"
    key = settings.private_key_path if settings.key_content is None else "the key"
    raise errors.AuthError(
        f"{settings.where('fingerprint')}: fingerprint {settings.fingerprint} is not that of {key} "
        f"({settings.where(source)}), which is {computed}",
        hint="correct the one that is wrong; without a fingerprint it is computed from the key",
    )
