"""The pure half of the wire: which replies are believed, and what refusals and broken connections mean."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypersdk import errors
from hypersdk.model import ByteRange, Secret
from hypersdk.wire import replies
from hypersdk.wire.failures import Failure, translate
from hypersdk.wire.request import Expectation, Request

TEN = ByteRange(10, 20)
GOOD = {"content-range": "bytes 10-19/100", "content-length": "10", "etag": "e1"}


def asking(wanted: ByteRange | None = TEN, size: int | None = 100, etag: str | None = "e1", **fields):
    return Request(
        fields.pop("method", "GET"),
        Secret("https://host/p/very-secret/o"),
        "oci://ns/b/o",
        expect=Expectation(range=wanted, size=size, etag=etag, **fields),
    )


def test_good_reply_is_believed():
    """A reply that satisfies its expectation says how many bytes are due."""
    assert replies.check_head(asking(), 206, GOOD) == 10
    assert replies.check_head(asking(None), 200, {"etag": '"e1"'}) == 100
    assert replies.check_head(asking(None, None, None), 200, {}) is None
    assert replies.check_head(asking(None, method="HEAD"), 200, {"etag": "e1", "content-length": "100"}) is None


@pytest.mark.parametrize(
    ("status", "changed", "word"),
    [
        (200, {}, "whole object"),
        (200, {"content-range": "bytes 10-19/100"}, "whole object"),
        (204, {}, "204"),
        (302, {"location": "https://other/"}, "redirect"),
        (206, {"content-range": "bytes 11-20/100"}, "Content-Range"),
        (206, {"content-range": "bytes 10-18/100"}, "Content-Range"),
        (206, {"content-range": "bytes 10-19/101"}, "101 bytes"),
        (206, {"content-range": "bytes 10-19/*"}, "Content-Range"),
        (206, {"content-range": "bytes 10-19/100, bytes 0-9/100"}, "Content-Range"),
        (206, {"content-range": ""}, "Content-Range"),
        (206, {"content-length": "9"}, "announces 9"),
        (206, {"etag": "e2"}, "etag e2"),
        (206, {"etag": ""}, "etag"),
        (206, {"content-encoding": "gzip", "content-length": "7"}, "gzip"),
    ],
)
def test_wrong_reply_is_refused(status, changed, word):
    """C013: a reply that is not the range asked for is refused before its body, and can be tried again."""
    with pytest.raises(errors.ReplyRefused, match=word) as caught:
        replies.check_head(asking(), status, GOOD | changed)
    assert caught.value.retryable
    assert "very-secret" not in str(caught.value)


def test_stored_encoding_is_kept_raw():
    """C022: an object stored gzip-encoded is taken raw, since its length is the stored one."""
    assert replies.check_head(asking(), 206, GOOD | {"content-encoding": "gzip"}) == 10


def test_encoding_of_unknown_length_is_refused():
    """C022: an encoding nobody asked for is refused when no length tells raw from encoded."""
    with pytest.raises(errors.ReplyRefused, match="br"):
        replies.check_head(asking(None, None), 200, {"etag": "e1", "content-encoding": "br", "content-length": "5"})


@settings(deadline=None)
@given(start=st.integers(0, 50), length=st.integers(1, 50), shift=st.integers(-3, 3), grow=st.integers(-3, 3))
def test_only_the_exact_range_passes(start, length, shift, grow):
    """C013: for any range, exactly the Content-Range that was asked for passes."""
    wanted = ByteRange(start, start + length)
    text = f"bytes {start + shift}-{start + shift + length + grow - 1}/200"
    headers = {"content-range": text, "etag": "e1"}
    request = asking(wanted, 200)
    if shift == 0 and grow == 0:
        assert replies.check_head(request, 206, headers) == length
    else:
        with pytest.raises(errors.ReplyRefused):
            replies.check_head(request, 206, headers)


def test_body_must_be_whole():
    """Fewer or more bytes than are due are refused."""
    replies.check_received(asking(), 10, 10)
    replies.check_received(asking(), 7, None)
    for received in (9, 11):
        with pytest.raises(errors.ReplyRefused, match=f"{received} bytes where 10"):
            replies.check_received(asking(), received, 10)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.RequestRefused),
        (401, errors.NotAuthenticated),
        (403, errors.PermissionDenied),
        (404, errors.NotFoundError),
        (407, errors.AuthError),
        (409, errors.StateConflict),
        (412, errors.PreconditionFailed),
        (416, errors.RequestRefused),
        (429, errors.ThrottledError),
        (500, errors.ServiceError),
        (501, errors.RequestRefused),
        (599, errors.ServiceError),
    ],
)
def test_refusals_by_status(status, kind):
    """Each refusal becomes its own error, and survives pickling."""
    error = replies.explain_plainly(asking(), status, {"retry-after": "7"})
    assert type(error) is kind
    assert error.status == status
    assert type(pickle.loads(pickle.dumps(error))) is kind
    assert "very-secret" not in str(error)


@pytest.mark.parametrize(
    ("code", "facts", "kind"),
    [
        (6, {}, errors.EndpointUnreachable),
        (7, {}, errors.EndpointUnreachable),
        (28, {}, errors.EndpointUnreachable),
        (28, {"connected": True}, errors.NetworkError),
        (18, {"connected": True}, errors.NetworkError),
        (56, {"connected": True}, errors.NetworkError),
        (92, {"connected": True}, errors.NetworkError),
        (60, {}, errors.ConfigError),
        (77, {}, errors.ConfigError),
        (3, {}, errors.RequestRefused),
        (56, {"proxy_status": 407}, errors.AuthError),
        (56, {"proxy_status": 403}, errors.PermissionDenied),
        (56, {"proxy_status": 503}, errors.ServiceError),
    ],
)
def test_broken_connections(code, facts, kind):
    """Each way in which a connection fails becomes its own error, with the CA bundle named where it matters."""
    known = {"text": "said curl", "connected": False, "proxy_status": 0, "read_timeout": 60.0, "ca_bundle": "/ca.pem"}
    error = translate(asking(), Failure(code=code, **(known | facts)))
    assert type(error) is kind
    if code in {60, 77}:
        assert "/ca.pem" in str(error)
        assert "--cert-bundle" in str(error)
