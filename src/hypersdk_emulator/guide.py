"""How to point clients at a running emulator: the files that they read and the lines that a person pastes.

The Python SDK takes an endpoint as a client's argument only (a key `endpoint` of the configuration is a domain to it,
`oci.regions.endpoint_for`), the OCI CLI takes `OCI_CLI_ENDPOINT`; rclone and the AWS SDKs have variables of their own.
"""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PROFILE = "DEFAULT"
REMOTE = "emulated"
"""Name of the remote in rclone's variables: `rclone lsd emulated:`."""


@dataclass(frozen=True)
class Login:
    """Somebody whose private key is at hand.

    Args:
        tenancy: OCID.
        user: OCID.
        fingerprint: of the key.
        key_file: path of the private key, PEM.
        secret_key: access key and secret of the S3 API, or None.
    """

    tenancy: str
    user: str
    fingerprint: str
    key_file: str
    secret_key: tuple[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Place:
    """Where the emulator listens and what is in it.

    Args:
        endpoint: URL.
        ca: file of its certificate authority if it serves TLS.
        region: of the cloud.
        namespace: of Object Storage.
        compartment: OCID of the compartment to begin with.
        token: of the control calls.
        bucket: name of a bucket to begin with, or None.
    """

    endpoint: str
    ca: str | None
    region: str
    namespace: str
    compartment: str
    token: str = field(repr=False)
    bucket: str | None = None


def configuration(region: str, login: Login) -> str:
    """The text of an `~/.oci/config`."""
    lines = {
        "tenancy": login.tenancy,
        "user": login.user,
        "fingerprint": login.fingerprint,
        "key_file": login.key_file,
        "region": region,
    }
    return f"[{PROFILE}]\n" + "".join(f"{name}={value}\n" for name, value in lines.items())


def environment(place: Place, config: Path | None, secret_key: tuple[str, str] | None) -> dict[str, str]:
    """The variables that lead the clients to the emulator."""
    found = {"OCI_CLI_ENDPOINT": place.endpoint, "OCI_EMULATOR_TOKEN": place.token}
    if config is not None:
        found |= {"OCI_CLI_CONFIG_FILE": str(config), "OCI_CONFIG_FILE": str(config)}
        found |= {f"RCLONE_CONFIG_{REMOTE.upper()}_{name}": value for name, value in _remote(place, config).items()}
    if secret_key is not None:
        found |= _aws(place, secret_key)
    if place.ca is not None:
        names = ("OCI_CLI_CERT_BUNDLE", "REQUESTS_CA_BUNDLE", "RCLONE_CA_CERT", "AWS_CA_BUNDLE")
        found |= dict.fromkeys(names, place.ca)
    return found


def _remote(place: Place, config: Path) -> Mapping[str, str]:
    return {
        "TYPE": "oracleobjectstorage",
        "PROVIDER": "user_principal_auth",
        "CONFIG_FILE": str(config),
        "CONFIG_PROFILE": PROFILE,
        "NAMESPACE": place.namespace,
        "COMPARTMENT": place.compartment,
        "REGION": place.region,
        "ENDPOINT": place.endpoint,
    }


def _aws(place: Place, secret_key: tuple[str, str]) -> Mapping[str, str]:
    """The S3 API refuses bodies in chunks with trailers, so newer SDKs must be told not to send checksums unasked."""
    return {
        "AWS_ENDPOINT_URL_S3": place.endpoint,
        "AWS_ACCESS_KEY_ID": secret_key[0],
        "AWS_SECRET_ACCESS_KEY": secret_key[1],
        "AWS_DEFAULT_REGION": place.region,
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    }


def commands(place: Place, config: Path | None, secret_key: tuple[str, str] | None) -> list[str]:
    """First commands to try, one for each client that has what it needs."""
    if config is None:
        return []
    sdk = (
        "import oci, os; config = oci.config.from_file(os.environ['OCI_CONFIG_FILE']); "
        "client = oci.object_storage.ObjectStorageClient(config, service_endpoint=os.environ['OCI_CLI_ENDPOINT']); "
        "print(client.get_namespace().data)"
    )
    found = [
        "hyperexport instances list",
        f"oci os bucket list --compartment-id {place.compartment}",
        f'python -c "{sdk}"',
        f"rclone lsd {REMOTE}:",
    ]
    if secret_key is not None:
        listed = f"list_objects_v2(Bucket='{place.bucket}')['Name']" if place.bucket else "list_buckets()['Buckets']"
        found.append(f"python -c \"import boto3; print(boto3.client('s3').{listed})\"")
    return found


def prepare(folder: Path, place: Place, login: Login | None) -> str:
    """Write `config` and `env.sh` into a folder, and tell a person what to do with them.

    Args:
        folder: where the files go; made if absent.
        place: the emulator.
        login: who the files speak for; None leaves out what needs a key.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    config = None if login is None else folder / "config"
    secret_key = None if login is None else login.secret_key
    if login is not None and config is not None:
        write_private(config, configuration(place.region, login))
    values = environment(place, config, secret_key)
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())
    write_private(folder / "env.sh", exports)
    lines = [f"A private Oracle Cloud listens at {place.endpoint} (Ctrl-C ends it).", "", "Point clients at it:", ""]
    lines += [f"  {line}" for line in exports.splitlines()]
    lines += ["", f"The same lines: . {shlex.quote(str(folder / 'env.sh'))}", ""]
    if tries := commands(place, config, secret_key):
        lines += ["Then try:", "", *(f"  $ {line}" for line in tries)]
    else:
        lines += ["The seed's users sign with keys of their own: name their configuration in OCI_CLI_CONFIG_FILE."]
    return "\n".join(lines) + "\n"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
