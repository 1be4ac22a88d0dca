"""What a refusal by Object Storage means, for signed requests and for pre-authenticated ones. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from hypersdk import errors
from hypersdk.vendors.oci.errors import translate_reply
from hypersdk.wire.request import Request

LINK_ENDED = (
    "a link that has ended, was withdrawn, or is not for this answers the same: get a new one, and the same command "
    "with it goes on where this one stopped"
)


def explain(request: Request, status: int, headers: Mapping[str, str], body: bytes) -> errors.HypersdkError:
    """The meaning of a refusal."""
    return translate_reply(status, headers, body, resource=request.resource, what=request.method)


def explain_link(request: Request, status: int, headers: Mapping[str, str], body: bytes) -> errors.HypersdkError:
    """The meaning of a refusal of a pre-authenticated request: no credentials of ours are to blame."""
    error = explain(request, status, headers, body)
    if isinstance(error, errors.AuthError | errors.NotFoundError) and error.service_code != "ObjectNotFound":
        error.hint = LINK_ENDED
    return error
