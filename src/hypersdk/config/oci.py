"""The rules of design section 5 for the `oci:` block: kind of credentials, region, connection."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from hypersdk import errors
from hypersdk.config import keys
from hypersdk.config.gather import Gathered
from hypersdk.config.merge import DEFAULT, Merged, without_block
from hypersdk.config.proxies import no_proxy, proxy_variable
from hypersdk.model import ConnectionSettings, Secret
from hypersdk.vendors.oci.credentials import (
    API_KEY,
    PRINCIPAL_VARIABLES,
    PRINCIPALS,
    SECURITY_TOKEN,
    OciSettings,
)

DEFAULT_REGION = "us-phoenix-1"
"""Region of an `oci:` block that holds the credentials and names no region (design section 5)."""


def settings(merged: Merged, gathered: Gathered, environ: Mapping[str, str]) -> OciSettings:
    """Fill `OciSettings`.

    Raises:
        ConfigError: a value cannot be used; names where it stands.
    """
    sources = without_block(merged.sources(), "oci")
    sources |= {"profile": gathered.profile.source, "config_file": gathered.config_file.source}
    connection = _connection(merged, environ, sources)
    auth = _auth(merged, sources)
    key_content = merged.value("oci.key_content")
    # A key in a weaker place than another key is not used, whatever its form.
    decides = merged.first("oci.key_content", "oci.private_key_path")
    uses_text = decides is not None and decides[0] == "oci.key_content"
    for name, used in (("key_content", uses_text), ("private_key_path", not uses_text)):
        if not used:
            sources.pop(name, None)
    return OciSettings(
        auth=auth,
        tenancy_ocid=merged.text("oci.tenancy_ocid"),
        user_ocid=merged.text("oci.user_ocid"),
        fingerprint=merged.text("oci.fingerprint"),
        private_key_path=None if uses_text else merged.text("oci.private_key_path"),
        key_content=_secret(key_content) if uses_text else None,
        pass_phrase=_secret(merged.value("oci.pass_phrase")),
        security_token_file=merged.text("oci.security_token_file"),
        region=_region(merged, gathered, connection, auth, sources),
        compartment_ocid=merged.text("oci.compartment_ocid"),
        bucket=merged.text("oci.bucket"),
        namespace=merged.text("oci.namespace"),
        export_format=merged.text("oci.export_format") or "qcow2",
        enabled=None if merged.given("oci.enabled") is None else bool(merged.value("oci.enabled")),
        profile=str(gathered.profile.text),
        config_file=str(gathered.config_file.text),
        profiles=gathered.profiles,
        tags=_tags(merged.value("oci.tags")),
        connection=connection,
        federation_endpoint=merged.text("oci.federation_endpoint"),
        environment={
            name: Secret(value) for name, value in environ.items() if value and name.startswith(PRINCIPAL_VARIABLES)
        },
        sources=sources,
    )


def effective(settings: OciSettings, gathered: Gathered) -> dict[str, object]:
    """The values of the block that are not simply what somebody wrote, by dotted name."""
    return {
        "oci.enabled": settings.enabled is True,
        "oci.profile": settings.profile,
        "oci.config_file": gathered.config_file.text,
        "oci.auth": settings.auth,
        "oci.private_key_path": settings.private_key_path,
        "oci.key_content": settings.key_content,
        "oci.region": settings.region,
        "oci.cert_bundle": settings.connection.ca_bundle,
        "oci.proxy": settings.connection.proxy,
    }


def _auth(merged: Merged, sources: dict[str, str]) -> str | None:
    """Named, else inferred: the strongest place that names a token file or a user decides (C001).

    A profile's own section is such a place before [DEFAULT], so a token in [DEFAULT] does not turn the API key of
    another profile into a session; within one section the token file decides, and a stale `user` beside it is not used.
    """
    if (named := merged.text("oci.auth")) is not None:
        return named
    # A key alone tells nothing: both kinds sign with one.
    found = merged.first("oci.security_token_file", "oci.user_ocid")
    found = found or merged.first("oci.key_content", "oci.private_key_path")
    if found is None:
        return None
    dotted, given = found
    kind = SECURITY_TOKEN if dotted == "oci.security_token_file" else API_KEY
    sources["auth"] = f"inferred from {given.source}"
    return kind


def _region(
    merged: Merged, gathered: Gathered, connection: ConnectionSettings, auth: str | None, sources: dict[str, str]
) -> str | None:
    region = merged.text("oci.region")
    if auth in PRINCIPALS:
        return region  # they know their own, if nobody names another one
    if region is None and gathered.identity_from_yaml and connection.endpoint is None:
        sources["region"] = f"{DEFAULT} (the oci: block names no region)"
        return DEFAULT_REGION
    return region


def _connection(merged: Merged, environ: Mapping[str, str], sources: dict[str, str]) -> ConnectionSettings:
    endpoint = merged.text("oci.endpoint")
    bundle = merged.text("oci.cert_bundle")
    if bundle is not None:
        _check_bundle(bundle, sources["cert_bundle"])
    own = urlsplit(endpoint or "https:").scheme
    proxy, from_environment = _proxy(merged, environ, own, sources)
    other = "http" if own == "https" else "https"
    other_proxy, other_from_environment = _proxy(merged, environ, other, {})
    return ConnectionSettings(
        endpoint=endpoint,
        proxy=proxy,
        proxies={} if other_proxy == proxy else {other: other_proxy},
        no_proxy=no_proxy(environ, from_environment=from_environment or other_from_environment)
        if proxy or other_proxy
        else None,
        ca_bundle=bundle,
        connect_timeout=merged.number("network.connect_timeout"),
        read_timeout=merged.number("network.read_timeout"),
    )


def _proxy(
    merged: Merged, environ: Mapping[str, str], scheme: str, sources: dict[str, str]
) -> tuple[Secret | None, bool]:
    """The proxy, and whether a common variable such as https_proxy names it.

    Such a variable is weaker than a flag or our own variable, and stronger than every file.
    """
    variable = proxy_variable(environ, scheme)
    environment_rank = 1
    if variable is None or merged.rank("oci.proxy") <= environment_rank:
        return _secret(merged.value("oci.proxy")), False
    source = f"environment {variable}"
    try:
        proxy = keys.proxy(environ[variable])
    except ValueError as error:
        raise errors.ConfigError(f"{source}: {error}") from error
    sources["proxy"] = source
    return proxy, True


def _check_bundle(path: str, source: str) -> None:
    """Refuse a CA bundle that cannot be one, before a connection fails on it or, worse, trusts something else.

    A directory of hashed certificates (`c_rehash`) is fine: libcurl and the SDK's HTTP library both take one.

    Raises:
        ConfigError: absent, unreadable, or without a certificate.
    """
    if Path(path).is_dir():
        return
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        reason = "there is no such file"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    else:
        if b"-----BEGIN CERTIFICATE-----" in data or b"-----BEGIN TRUSTED CERTIFICATE-----" in data:
            return
        reason = "it holds no certificate in PEM form"
    raise errors.ConfigError(f"{source}: CA bundle {path}: {reason}", resource=path)


def _secret(value: object) -> Secret | None:
    assert value is None or isinstance(value, Secret)
    return value


def _tags(value: object) -> Mapping[str, str]:
    assert value is None or isinstance(value, Mapping)
    return value or {}
