"""Everybody who can sign in to the emulator, each by its own kind of credentials, as environment variables."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from emulator import REGION, TENANCY, USER, Emulator, compartment_id, fingerprint, private_pem, public_pem

FUNCTION = "ocid1.fnfunc.oc1.iad.aaaafunction"
NOTEBOOK = "ocid1.datasciencenotebooksession.oc1.iad.aaaanotebook"
CLUSTER = "ocid1.cluster.oc1.iad.aaaacluster"

KINDS = ("api_key", "security_token", "instance_principal", "resource_principal", "nested", "oke_workload_identity")
"""The kinds; "nested" is a resource principal of version 3.0."""

TOKENS = KINDS[1:]


def oke_host() -> str:
    """A loopback address of this process's own: the port of a cluster is written into the SDKs."""
    digits = os.urandom(3)
    return f"127.{digits[0] % 253 + 1}.{digits[1]}.{digits[2] % 253 + 1}"


@dataclass
class Somebody:
    """One who signs in.

    Attributes:
        emulator: the cloud; one with `--oke-host` for workloads.
        kind: one of KINDS.
        folder: where a user's profile is written.
        seconds: life of the tokens of sessions and resources; those of others are the emulator's business.
    """

    emulator: Emulator
    kind: str
    folder: Path
    seconds: int = 1200
    secrets: list[str] = field(default_factory=list)

    @property
    def auth(self) -> str:
        """What `--auth` calls it."""
        return "resource_principal" if self.kind == "nested" else self.kind

    def environ(self) -> dict[str, str]:
        """The environment that signs in; the first call makes what it speaks of."""
        profile = self.folder / "profile"
        if self.kind == "api_key":
            return {"OCI_CLI_CONFIG_FILE": str(self.emulator.config_file)}
        # Nothing of a user is at hand: whoever looks for it fails.
        if not profile.exists():
            profile.write_text("")
        known = {"OCI_CLI_CONFIG_FILE": str(profile), "OCI_CLI_AUTH": self.auth}
        if self.kind == "security_token":
            self.renew()
            return known
        if self.kind == "instance_principal":
            return known | {"OCI_METADATA_BASE_URL": self.emulator.metadata}
        if self.kind == "oke_workload_identity":
            body = {"clusterId": CLUSTER, "namespace": "batch", "serviceAccount": "exporter", "ttlSeconds": 86400}
            pod = self.emulator.control("POST", "service-account-token", body)
            self.secrets.append(pod["token"])
            return known | pod["environment"]
        return known | self.renew()

    def renew(self) -> dict[str, str]:
        """What somebody outside does before a token ends: log in again, write the resource's files anew."""
        if self.kind == "security_token":
            self._log_in()
        if self.kind in {"resource_principal", "nested"}:
            return self._issue()
        return {}

    def _log_in(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        body = {"userId": USER, "publicKeyPem": public_pem(key), "ttlSeconds": self.seconds}
        token = self.emulator.control("POST", "session-token", body)["token"]
        self.secrets.append(token)
        for name, data in (("key.pem", private_pem(key) + b"OCI_API_KEY\n"), ("token", token.encode())):
            fresh = self.folder / f"{name}.new"
            fresh.touch(0o600)
            fresh.write_bytes(data)
            fresh.replace(self.folder / name)
        values = {
            "fingerprint": fingerprint(key),
            "key_file": self.folder / "key.pem",
            "tenancy": TENANCY,
            "region": REGION,
            "security_token_file": self.folder / "token",
        }
        lines = "".join(f"{name}={value}\n" for name, value in values.items())
        (self.folder / "profile").write_text(f"[DEFAULT]\n{lines}")

    def _issue(self) -> dict[str, str]:
        compartment = compartment_id("main")
        body = {"resourceId": FUNCTION, "resourceType": "fnfunc", "compartmentId": compartment, "files": True}
        body["ttlSeconds"] = self.seconds
        if self.kind == "nested":
            body["parents"] = [{"resourceId": NOTEBOOK, "resourceType": "notebook", "compartmentId": compartment}]
        environment: dict[str, str] = self.emulator.control("POST", "resource-principal", body)["environment"]
        files = [value for name, value in environment.items() if "RPST" in name and value.startswith("/")]
        self.secrets += [Path(file).read_text() for file in files]
        return environment
