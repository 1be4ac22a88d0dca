"""OCI's error replies in our tree."""

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk import errors
from hypersdk.retry import UNLIMITED, Budget, RetryPolicy
from hypersdk.vendors.oci.calls import sdk_call
from hypersdk.vendors.oci.errors import read_error_body, translate, translate_reply

TABLE = [
    (400, "InvalidParameter", errors.RequestRefused, 1),
    (400, "LimitExceeded", errors.RequestRefused, 1),
    (400, "RelatedResourceNotAuthorizedOrNotFound", errors.RequestRefused, 1),
    (400, "InsufficientServicePermissions", errors.PermissionDenied, 4),
    (400, "UnmatchedContentMD5", errors.NetworkError, 8),
    (401, "NotAuthenticated", errors.NotAuthenticated, 4),
    (401, None, errors.NotAuthenticated, 4),
    (403, "NotAuthorized", errors.PermissionDenied, 4),
    (403, "NotAllowed", errors.PermissionDenied, 4),
    (404, "NotAuthorizedOrNotFound", errors.NotFoundError, 5),
    (404, "BucketNotFound", errors.NotFoundError, 5),
    (404, None, errors.NotFoundError, 5),
    (405, "MethodNotAllowed", errors.RequestRefused, 1),
    (407, None, errors.AuthError, 4),
    (408, None, errors.ServiceError, 8),
    (409, "IncorrectState", errors.StateConflict, 8),
    (409, "Conflict", errors.StateConflict, 8),
    (409, "ResourceLocked", errors.BusyError, 8),
    (409, "LockConflict", errors.BusyError, 8),
    (409, "ExternalServerIncorrectState", errors.BusyError, 8),
    (409, "ConcurrentObjectUpdate", errors.BusyError, 8),
    (409, "BucketAlreadyExists", errors.AlreadyExists, 6),
    (409, "NotAuthorizedOrResourceAlreadyExists", errors.AlreadyExists, 6),
    (409, "InvalidatedRetryToken", errors.RequestRefused, 1),
    (409, "NotRestored", errors.RequestRefused, 1),
    (409, "BucketNotEmpty", errors.RequestRefused, 1),
    (409, None, errors.RequestRefused, 1),
    (412, "NoEtagMatch", errors.PreconditionFailed, 1),
    (412, "IfMatchFailed", errors.PreconditionFailed, 1),
    (412, "IfNoneMatchFailed", errors.AlreadyExists, 6),
    (412, "LimitTooHigh", errors.RequestRefused, 1),
    (412, None, errors.PreconditionFailed, 1),
    (413, "RequestEntityTooLarge", errors.RequestRefused, 1),
    (416, "InvalidRange", errors.RequestRefused, 1),
    (418, "Surprise", errors.RequestRefused, 1),
    (429, "TooManyRequests", errors.ThrottledError, 8),
    (429, None, errors.ThrottledError, 8),
    (500, "InternalServerError", errors.ServiceError, 8),
    (501, "MethodNotImplemented", errors.RequestRefused, 1),
    (502, None, errors.ServiceError, 8),
    (503, "ServiceUnavailable", errors.ServiceError, 8),
    (504, None, errors.ServiceError, 8),
    (302, None, errors.ReplyRefused, 8),
]

RETRIED = {errors.ThrottledError, errors.ServiceError, errors.BusyError, errors.NetworkError, errors.ReplyRefused}


def tell(status: int, code: str | None = None, message: str = "", **more: object) -> errors.HypersdkError:
    facts = {"resource": "web-01", "request_id": None, "retry_after": None, "what": "get instance"} | more
    return translate(status, code, message, **facts)


@pytest.mark.parametrize(("status", "code", "kind", "exit_code"), TABLE)
def test_reply_becomes_its_type(
    status: int, code: str | None, kind: type[errors.HypersdkError], exit_code: int
) -> None:
    """Each status and code of OCI's table has one type, exit code and retry decision."""
    error = tell(status, code, "the service's sentence")
    assert type(error) is kind
    assert (error.exit_code, error.status, error.service_code) == (exit_code, status, code)
    budget = Budget(RetryPolicy(), UNLIMITED)
    assert (budget.spend(error, 0.0, Random()) is not None) == (kind in RETRIED)


def test_message_says_what_where_why_and_what_to_do() -> None:
    """A person reads the call, the resource, the service's sentence, the request id and a hint."""
    error = tell(
        404, "NotAuthorizedOrNotFound", "Authorization failed", request_id="A/B/C", resource="ocid1.instance.x"
    )
    for part in (
        "get instance",
        "ocid1.instance.x",
        "absent or not allowed",
        "404",
        "Authorization failed",
        "A/B/C",
        "policies",
    ):
        assert part in str(error)


def test_throttled_call_waits_as_long_as_the_service_asks() -> None:
    """Retry-After of a reply outlasts the policy's own delay."""
    error = translate_reply(429, {"retry-after": "77"}, b"", resource="bucket b", what="list objects")
    assert Budget(RetryPolicy(max_delay=30), UNLIMITED).spend(error, 0.0, Random()) == 77


@given(st.binary(max_size=300))
def test_no_error_body_breaks_the_reader(body: bytes) -> None:
    """Whatever bytes a proxy sends as an error, an error of our tree comes out and its message is one line."""
    error = translate_reply(503, {}, body, resource="x", what="w")
    assert type(error) is errors.ServiceError
    assert "\n" not in error.message


def test_error_body_is_read_or_quoted() -> None:
    """OCI's shape gives code and message; a page of a proxy gives no code and a short quote."""
    assert read_error_body(b'{"code": "IncorrectState", "message": "no"}') == ("IncorrectState", "no")
    assert read_error_body(b'["x"]') == (None, '["x"]')
    assert read_error_body(b"[" * 100_000)[0] is None
    page = translate_reply(502, {}, b"<html>\n" + b"x" * 10**6, resource="x", what="w")
    assert page.service_code is None
    assert len(page.message) < 500


class Answering:
    """A server on loopback that answers each connection with the next of `replies`."""

    def __init__(self, *replies: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, args=(replies,))
        self._thread.start()

    def _serve(self, replies: tuple[bytes, ...]) -> None:
        self._listener.settimeout(5)
        for reply in replies:
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(reply)

    def close(self) -> None:
        self._thread.join()
        self._listener.close()


def reply(status: str, body: object, **headers: str) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Type": "application/json", "Content-Length": str(len(data)), "Connection": "close"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    head = f"HTTP/1.1 {status}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return head.encode() + b"\r\n" + data


@pytest.fixture(scope="module")
def make_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from oci import circuit_breaker, identity, retry, signer

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    names = {"tenancy": "ocid1.tenancy.oc1..t", "user": "ocid1.user.oc1..u", "fingerprint": ":".join(["aa"] * 16)}
    made = signer.Signer(*names.values(), None, private_key_content=key.decode())
    clients = []

    def make(url: str) -> identity.IdentityClient:
        client = identity.IdentityClient(
            names | {"region": "us-ashburn-1", "key_content": key.decode()},
            signer=made,
            service_endpoint=url,
            retry_strategy=retry.NoneRetryStrategy(),
            circuit_breaker_strategy=circuit_breaker.NoCircuitBreakerStrategy(),
            timeout=(2, 2),
        )
        client.base_client.session.trust_env = False
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.base_client.session.close()


def ask(make_client: object, *replies: bytes) -> object:
    server = Answering(*replies)
    try:
        client = make_client(server.url)
        return sdk_call("list regions", "the tenancy", client.list_regions)
    finally:
        server.close()


def test_sdk_call_gives_the_response(make_client: object) -> None:
    """A good reply passes through with data and headers."""
    response = ask(make_client, reply("200 OK", [{"key": "IAD", "name": "us-ashburn-1"}], opc_next_page="p2"))
    assert response.data[0].name == "us-ashburn-1"
    assert response.headers["opc-next-page"] == "p2"


def test_sdk_error_keeps_code_request_id_and_patience(make_client: object) -> None:
    """The SDK's exception becomes ours with the service's code, request id, Retry-After and itself as cause."""
    body = {"code": "TooManyRequests", "message": "Too many"}
    with pytest.raises(errors.ThrottledError) as caught:
        ask(make_client, reply("429 Too Many Requests", body, Retry_After="9", opc_request_id="R1"))
    error = caught.value
    assert (error.service_code, error.request_id, error.retry_after) == ("TooManyRequests", "R1", 9.0)
    assert type(error.__cause__).__name__ == "ServiceError"


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"", id="no reply at all"),
        pytest.param(reply("200 OK", [{"key": "IAD"}])[:-5], id="body cut short"),
        pytest.param(b"HTTP/1.1 garbage\r\n\r\n", id="not HTTP"),
    ],
)
def test_cut_connection_is_a_network_error(make_client: object, broken: bytes) -> None:
    """A reply that is missing or cut is a passing network fault, and not taken for an unreachable endpoint."""
    with pytest.raises(errors.NetworkError) as caught:
        ask(make_client, broken)
    assert type(caught.value) is errors.NetworkError


def test_nobody_listening_is_unreachable(make_client: object) -> None:
    """A refused connection is the network monitor's cue."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(errors.EndpointUnreachable, match="refused"):
        sdk_call("list regions", "the tenancy", make_client(f"http://127.0.0.1:{port}").list_regions)


def test_html_page_with_200_is_refused(make_client: object) -> None:
    """A captive portal's page is not taken for an empty answer, as the SDK would."""
    with pytest.raises(errors.ReplyRefused, match="text/html"):
        ask(make_client, reply("200 OK", b"<html>log in</html>", Content_Type="text/html"))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply("200 OK", b""), id="empty, which the SDK takes for a list without entries"),
        pytest.param(reply("200 OK", b"null"), id="null"),
        pytest.param(reply("200 OK", b"[1, 2]"), id="other JSON"),
        pytest.param(reply("502 Bad Gateway", b"\xff\xfe"), id="an error page in another encoding"),
    ],
)
def test_unreadable_reply_is_refused(make_client: object, answer: bytes) -> None:
    """A body that is not what the call promises is neither believed nor a crash."""
    with pytest.raises(errors.ReplyRefused):
        ask(make_client, answer)


def test_programming_error_is_not_taken_for_a_bad_reply() -> None:
    """What fails before a reply is there keeps its own type."""
    with pytest.raises(ZeroDivisionError):
        sdk_call("list regions", "the tenancy", lambda: 1 // 0)


def test_untrusted_certificate_is_a_matter_of_configuration() -> None:
    """A certificate that nobody vouches for is not retried; the message names the option."""

    def fail() -> object:
        from oci import exceptions

        cause = ssl.SSLCertVerificationError("self-signed certificate")
        raise exceptions.RequestException(cause) from cause

    with pytest.raises(errors.ConfigError, match="--cert-bundle"):
        sdk_call("list regions", "the tenancy", fail)


def test_proxy_that_refuses_is_not_waited_for(make_client: object) -> None:
    """A proxy's refusal of a tunnel is a matter of credentials, and no network that is down."""
    proxy = Answering(reply("407 Proxy Authentication Required", {}))
    client = make_client("https://objectstorage.example.com")
    client.base_client.session.proxies = {"https": proxy.url}
    with pytest.raises(errors.AuthError, match="proxy"):
        sdk_call("list regions", "the tenancy", client.list_regions)
    proxy.close()


def test_impossible_proxy_url_is_a_matter_of_configuration(make_client: object) -> None:
    """A proxy URL that cannot be used is reported at once and never retried."""
    client = make_client("http://127.0.0.1:9")
    client.base_client.session.proxies = {"http": "http:///"}
    with pytest.raises(errors.ConfigError):
        sdk_call("list regions", "the tenancy", client.list_regions)
