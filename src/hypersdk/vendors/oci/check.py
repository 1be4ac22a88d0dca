"""Do these settings work? One signed call, and what can be said without one."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from hypersdk import errors
from hypersdk.readers.pem import classify
from hypersdk.vendors.oci.calls import sdk_call
from hypersdk.vendors.oci.credentials import OciSettings
from hypersdk.vendors.oci.session import OciSession


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


def file_warnings(settings: OciSettings) -> Iterator[str]:
    """Secrets that others can read, and a key without the label that Oracle asks for, one line each."""
    for key in ("private_key_path", "security_token_file"):
        path = Path(getattr(settings, key) or "/")
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
            yield f"{path} ({settings.where(key)}) can be read by others: chmod 600 {path}"
    key_file = Path(settings.private_key_path or "/")
    if key_file.is_file() and not classify(key_file.read_bytes()).labelled:
        yield f"{key_file} does not end with the line OCI_API_KEY, which Oracle asks for"
