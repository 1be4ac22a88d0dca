"""One call of the OCI SDK, with what can go wrong told in our tree. Never repeats, never waits.

The SDK wraps whatever `requests` raises in one class, so the kind of a broken connection is read from the chain of
exceptions below it. It also takes any 200 for an answer: a proxy's page becomes a list of empty models, and an empty
body a list without entries, which is why content type and length are checked here; over other JSON it stumbles.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from hypersdk import errors
from hypersdk.readers.http import read_retry_after
from hypersdk.vendors.oci.errors import translate

_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: (4\d\d)\b")
"""What Python's `http.client` says of a proxy that refuses CONNECT; it gives the status nowhere else."""


def sdk_call(what: str, resource: str, function: Callable[[], Any]) -> Any:
    """Run one SDK call.

    Args:
        what: the call for people ("list instances").
        resource: name of the resource for people.
        function: the call itself, on a client whose own retries are off.

    Returns:
        The SDK's response (`data`, `headers`).

    Raises:
        HypersdkError: what the service, the connection or the SDK objects to, with the SDK's exception as its cause.
    """
    from oci import exceptions

    try:
        response = function()
    except exceptions.ServiceError as error:
        raise _service_error(what, resource, error) from error
    except (exceptions.RequestException, exceptions.ConnectTimeout) as error:
        raise connection_error(what, resource, error) from error
    except exceptions.ClientError as error:
        raise errors.ConfigError(f"{what}: {resource}: {error}", resource=resource) from error
    except Exception as error:
        if not _came_from_reading(error):
            raise
        raise _refused(what, resource, "a reply that cannot be read") from error
    _demand_json(what, resource, response)
    return response


def _came_from_reading(error: BaseException) -> bool:
    """Whether the SDK stumbled over a reply's body, not over what it was given to ask for."""
    from traceback import walk_tb

    frames = (frame.f_code.co_name for frame, _ in walk_tb(error.__traceback__))
    return "deserialize_response_data" in frames


def _service_error(what: str, resource: str, error: Any) -> errors.HypersdkError:
    headers = {str(name).lower(): str(value) for name, value in (error.headers or {}).items()}
    return translate(
        error.status,
        error.code if isinstance(error.code, str) else None,
        error.message if isinstance(error.message, str) else "",
        resource=resource,
        request_id=error.request_id,
        retry_after=read_retry_after(headers),
        what=what,
    )


def connection_error(what: str, resource: str, error: BaseException) -> errors.HypersdkError:
    """Tell in our tree why no answer came, or half of one.

    Args:
        what: the call for people.
        resource: name of the resource for people.
        error: what the SDK or its HTTP library raised.
    """
    import ssl

    from oci import exceptions
    from urllib3 import exceptions as http

    chain = list(_causes(error))
    text = f"{what}: {resource}: {_root_text(chain)}"
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in chain):
        return errors.ConfigError(
            text, resource=resource, hint="name the authority that signed it with --cert-bundle, if you trust it"
        )
    if refused := _TUNNEL_REFUSED.search(text):
        refusal = translate(int(refused[1]), None, "", resource=resource, request_id=None, retry_after=None, what=what)
        refusal.hint = f"this is the answer of the proxy, not of the service: {refusal.hint}"
        return refusal
    if any(type(cause).__name__ == "TooManyRedirects" for cause in chain):
        return _refused(what, resource, "a redirect, which the service never sends")
    unreachable = (http.NewConnectionError, http.ConnectTimeoutError, http.ProxyError, exceptions.ConnectTimeout)
    if any(isinstance(cause, unreachable) for cause in chain):
        return errors.EndpointUnreachable(text, resource=resource, hint="check the network, the endpoint and the proxy")
    if any(isinstance(cause, OSError | http.HTTPError) and not _is_sdk_wrapper(cause) for cause in chain):
        return errors.NetworkError(text, resource=resource, hint="try again later")
    # Nothing below `requests` failed, so it refused what it was given: an impossible URL or proxy.
    return errors.ConfigError(text, resource=resource, hint="check the endpoint's and the proxy's URL")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and all below it; cycles cannot happen, Python breaks them when it sets the context."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _is_sdk_wrapper(error: BaseException) -> bool:
    # requests' own exceptions are OSErrors too and say nothing about a connection.
    return type(error).__module__.startswith("oci.")


def _root_text(chain: list[BaseException]) -> str:
    # The outer layers quote URLs and Oracle's support text; the innermost says what happened.
    for cause in reversed(chain):
        if text := " ".join(str(cause).split()):
            return text
    return type(chain[-1]).__name__


def _demand_json(what: str, resource: str, response: Any) -> None:
    """Refuse a 2xx that no service of OCI sent."""
    headers = response.headers
    if getattr(response.request, "response_type", None) in {None, "stream", "bytes"}:
        if not headers.get("opc-request-id"):
            raise _refused(what, resource, "a reply without opc-request-id, which the service always sends", response)
        return
    kind = str(headers.get("content-type", "")).partition(";")[0].strip().lower()
    if response.data is None or headers.get("content-length") == "0":
        raise _refused(what, resource, "an empty reply", response)
    if kind != "application/json":
        raise _refused(what, resource, f"a reply of type {kind or 'unknown'} instead of JSON", response)


def _refused(what: str, resource: str, found: str, response: Any = None) -> errors.ReplyRefused:
    return errors.ReplyRefused(
        f"{what}: {resource}: {found}",
        resource=resource,
        hint="something between here and the service answers in its place: check the proxy and the endpoint",
        request_id=response.headers.get("opc-request-id") if response is not None else None,
        status=response.status if response is not None else None,
    )
