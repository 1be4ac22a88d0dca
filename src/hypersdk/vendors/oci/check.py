"""Do these settings work? One signed call, and what can be said without one."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from hypersdk import errors
from hypersdk.readers.pem import classify
from hypersdk.vendors.oci.calls import sdk_call
from hypersdk.vendors.oci.credentials import RESOURCE_PRINCIPAL, SECURITY_TOKEN, OciSettings
from hypersdk.vendors.oci.session import OciSession, credentials_of


def check_access(session: OciSession) -> str:
    """Ask for the tenancy's Object Storage namespace: the cheapest call that needs a good signature.

    Returns:
        The namespace.

    Raises:
        NotAuthenticated: with what most likely is the reason as its hint.
        NetworkError: no answer; the hint suggests a region if ours is unknown.
        HypersdkError: any other refusal.
    """
    client = session.client("ObjectStorageClient")
    try:
        reply = sdk_call("get namespace", session.object_storage_url, client.get_namespace)
    except errors.NotAuthenticated as error:
        error.hint = session.explain_not_authenticated()
        raise
    except errors.NetworkError as error:
        error.hint = session.explain_unreachable() or error.hint
        raise
    return str(reply.data)


def local_facts(settings: OciSettings) -> Iterator[tuple[str, str]]:
    """What a token that lies here says of whom it signs for, by name and without asking anybody; else nothing.

    Args:
        settings: who, where, how.
    """
    if settings.auth not in {SECURITY_TOKEN, RESOURCE_PRINCIPAL}:
        return
    try:
        credentials = credentials_of(settings)
        grant = None if credentials.renewable else credentials.obtain()
    except errors.HypersdkError as error:
        yield "token", f"not usable: {error.message}"
        return
    if grant is None:
        return
    who, expires = grant.who, grant.expires
    found = {
        "principal": who.principal,
        "principal_tenancy": who.tenancy_id,
        "principal_compartment": who.compartment_id,
        "principal_rule": f"ALL {{{who.rule}}}" if who.rule else None,
        "token_expires": f"{datetime.fromtimestamp(expires, UTC):%Y-%m-%d %H:%M:%S} UTC" if expires else None,
    }
    yield from ((name, value) for name, value in found.items() if value)


def missing_policies(session: OciSession, namespace: str) -> Iterator[str]:
    """Look at the bucket and the compartment that the settings name: one line for each that is hidden from us.

    Args:
        session: signed in.
        namespace: of the tenancy, unless the settings name another one.
    """
    settings, who = session.settings, session.who
    if settings.bucket:
        place = f"bucket {settings.namespace or namespace}/{settings.bucket}"
        storage = session.client("ObjectStorageClient")
        look = partial(storage.get_bucket, settings.namespace or namespace, settings.bucket)
        yield from _hidden(place, look, who.allow("read buckets", "B"), who.allow("manage objects", "B"))
    if compartment := settings.compartment_ocid:
        compute = session.client("ComputeClient")
        look = partial(compute.list_instances, compartment, limit=1)
        needed = who.allow("use instances", "C"), who.allow("manage instance-images", "C")
        yield from _hidden(f"the instances of compartment {compartment}", look, *needed)


def _hidden(place: str, look: Callable[[], object], *policies: str) -> Iterator[str]:
    try:
        sdk_call("look at", place, look)
    except (errors.NotFoundError, errors.PermissionDenied) as error:
        # A 404 says no more than this, on purpose.
        said = " ".join(str(part) for part in (error.status, error.service_code) if part)
        yield f"{place}: absent or not allowed ({said}); ask for: {'; '.join(policies)}"


def file_warnings(settings: OciSettings) -> Iterator[str]:
    """Secrets that others can read, and a key without the label that Oracle asks for, one line each."""
    for key in ("private_key_path", "security_token_file"):
        path = Path(getattr(settings, key) or "/")
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
            yield f"{path} ({settings.where(key)}) can be read by others: chmod 600 {path}"
    key_file = Path(settings.private_key_path or "/")
    if key_file.is_file() and not classify(key_file.read_bytes()).labelled:
        yield f"{key_file} does not end with the line OCI_API_KEY, which Oracle asks for"
