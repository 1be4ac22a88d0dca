"""What this room needs to know to sign in to Oracle Cloud, as plain data; `hypersdk.config` fills it.

No SDK is imported here: settings can be read, shown and checked without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hypersdk import errors
from hypersdk.model import ConnectionSettings, Secret

API_KEY = "api_key"
SECURITY_TOKEN = "security_token"  # noqa: S105 - the name of an auth kind, in the OCI CLI's words
INSTANCE_PRINCIPAL = "instance_principal"
RESOURCE_PRINCIPAL = "resource_principal"
OKE_WORKLOAD_IDENTITY = "oke_workload_identity"
AUTH_KINDS = (API_KEY, SECURITY_TOKEN, INSTANCE_PRINCIPAL, RESOURCE_PRINCIPAL, OKE_WORKLOAD_IDENTITY)
"""In the OCI CLI's words (`--auth`, OCI_CLI_AUTH)."""

PRINCIPALS = frozenset({INSTANCE_PRINCIPAL, RESOURCE_PRINCIPAL, OKE_WORKLOAD_IDENTITY})
"""Kinds of the place that we run at: they know their tenancy and region, and sign for no user."""

PRINCIPAL_VARIABLES = ("OCI_METADATA_BASE_URL", "OCI_RESOURCE_PRINCIPAL_", "OCI_KUBERNETES_", "KUBERNETES_SERVICE_HOST")
"""How the names of the variables begin by which OCI tells a principal who it is; not settings, so in no file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OciSettings:
    """Who we are in Oracle Cloud, where, and the defaults of our work there. Keys are those of the `oci:` block.

    Attributes:
        auth: one of `AUTH_KINDS`; None = no credentials were found at all.
        tenancy_ocid: the account.
        user_ocid: the user whose API key signs; not used with a session token.
        fingerprint: of the API key's public half, lower-case colon hex; None = computed from the key.
        private_key_path: absolute path of the PEM file.
        key_content: the PEM itself instead of a file.
        pass_phrase: opens an encrypted key.
        security_token_file: absolute path of the session token.
        region: region as written, blanks and case aside; None = nobody named one.
        compartment_ocid: where names are looked up; None = everywhere.
        bucket: default bucket of exports.
        namespace: Object Storage namespace; None = asked from the service.
        export_format: format that the exporter is asked for.
        enabled: True or False as the user wrote it; None = the user wrote nothing (design section 5).
        profile: name of the profile in use.
        config_file: absolute path of the OCI configuration file, read or not.
        profiles: the profiles that the file has, for messages.
        tags: free-form tags of everything that we create.
        connection: how to connect.
        federation_endpoint: where principals get their tokens; None = derived from endpoint or region.
        environment: variables whose names begin as in `PRINCIPAL_VARIABLES`.
        sources: where each value comes from, by attribute name ("~/.oci/config:4 [DEFAULT] region").
    """

    auth: str | None = None
    tenancy_ocid: str | None = None
    user_ocid: str | None = None
    fingerprint: str | None = None
    private_key_path: str | None = None
    key_content: Secret | None = None
    pass_phrase: Secret | None = None
    security_token_file: str | None = None
    region: str | None = None
    compartment_ocid: str | None = None
    bucket: str | None = None
    namespace: str | None = None
    export_format: str = "qcow2"
    enabled: bool | None = None
    profile: str = "DEFAULT"
    config_file: str = "~/.oci/config"
    profiles: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    connection: ConnectionSettings = field(default_factory=ConnectionSettings)
    federation_endpoint: str | None = None
    environment: Mapping[str, Secret] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    def where(self, key: str) -> str:
        """Where the value of `key` comes from, for messages."""
        return self.sources.get(key, f"oci.{key}")


@dataclass(frozen=True, slots=True)
class Spelling:
    """How Oracle's own tools and we spell a setting, strongest first.

    Attributes:
        flag: option of the command line, without dashes.
        environment: variables, the first one set counts (after our own HYPEREXPORT_OCI_...).
        profile: key in a profile of `~/.oci/config` (docs.oracle.com, "SDK and CLI Configuration File").
        rc: keys in a profile of `~/.oci/oci_cli_rc` (docs.oracle.com, "CLI-specific configuration file").
    """

    flag: str | None = None
    environment: tuple[str, ...] = ()
    profile: str | None = None
    rc: tuple[str, ...] = ()


SPELLINGS: Mapping[str, Spelling] = {
    "profile": Spelling("profile", ("OCI_CLI_PROFILE", "OCI_PROFILE")),
    "config_file": Spelling("config-file", ("OCI_CLI_CONFIG_FILE", "OCI_CONFIG_PATH", "OCI_CONFIG_FILE")),
    "auth": Spelling("auth", ("OCI_CLI_AUTH",), "authentication_type", ("auth",)),
    "tenancy_ocid": Spelling(None, ("OCI_CLI_TENANCY",), "tenancy"),
    "user_ocid": Spelling(None, ("OCI_CLI_USER",), "user"),
    "fingerprint": Spelling(None, ("OCI_CLI_FINGERPRINT",), "fingerprint"),
    "private_key_path": Spelling(None, ("OCI_CLI_KEY_FILE",), "key_file"),
    "key_content": Spelling(None, ("OCI_CLI_KEY_CONTENT",)),
    "pass_phrase": Spelling(None, ("OCI_CLI_PASSPHRASE",), "pass_phrase"),
    "security_token_file": Spelling(None, ("OCI_CLI_SECURITY_TOKEN_FILE",), "security_token_file"),
    "region": Spelling("region", ("OCI_CLI_REGION", "OCI_REGION"), "region", ("region",)),
    "compartment_ocid": Spelling("compartment-id", (), "compartment-id", ("compartment-id",)),
    "bucket": Spelling("bucket-name", (), None, ("os.bucket-name", "bucket-name")),
    "namespace": Spelling("namespace", (), None, ("os.namespace", "namespace", "namespace-name")),
    "endpoint": Spelling("endpoint", ("OCI_CLI_ENDPOINT",), None, ("endpoint",)),
    "cert_bundle": Spelling(
        "cert-bundle", ("OCI_CLI_CERT_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"), "cert_bundle", ("cert-bundle",)
    ),
    "federation_endpoint": Spelling("federation-endpoint", ("OCI_CLI_FEDERATION_ENDPOINT",)),
    "proxy": Spelling("proxy"),
    "export_format": Spelling(),
    "enabled": Spelling(),
    "tags": Spelling(),
}
"""Every key of the `oci:` block (and `key_content`, which is never read from a file) -> its other spellings."""


def places(key: str, settings: OciSettings) -> str:
    """Where a value of `key` may come from, in one line."""
    spelling = SPELLINGS[key]
    found = [f"--{spelling.flag}"] if spelling.flag else []
    found.append(" or ".join([f"HYPEREXPORT_OCI_{key.upper()}", *spelling.environment]) + " in the environment")
    if key != "key_content":
        found.append(f"oci.{key} in hypersdk.yaml")
    if spelling.profile:
        found.append(f"{spelling.profile} in profile [{settings.profile}] of {settings.config_file}")
    return ", ".join(found)


def shown_variable(name: str, value: Secret) -> str:
    """The value of one of `PRINCIPAL_VARIABLES` for people: tokens, keys and pass phrases are masked, paths are not."""
    text = value.reveal()
    is_place = text.startswith(("/", "http://", "https://")) and not name.endswith("PASSPHRASE")
    is_secret = any(word in name for word in ("_RPST", "_PRIVATE_PEM", "_TOKEN_STRING", "_SECURITY_CONTEXT"))
    return "***" if is_secret and not is_place else text


def demand(key: str, settings: OciSettings) -> str:
    """The value of a setting whose values are texts, and without which this cannot work.

    Raises:
        ConfigError: it has none; names the places where it may come from.
    """
    value = getattr(settings, key)
    if value:
        return str(value)
    found = ", ".join(f"[{name}]" for name in settings.profiles)
    raise errors.ConfigError(
        f"no {key}: nothing names it",
        hint=f"it may come from {places(key, settings)}" + (f"; profiles there: {found}" if found else ""),
    )
