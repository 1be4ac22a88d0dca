"""The few small requests that get a token: to the metadata service, the federation service, a cluster. One try each.

The SDK's own clients for them retry and wait by themselves, read proxies from the environment and know no CA bundle of
ours (`oci/auth/federation_client.py`, `certificate_retriever.py`); that is why they are not used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hypersdk import errors
from hypersdk.model import ConnectionSettings
from hypersdk.vendors.oci.calls import connection_error
from hypersdk.vendors.oci.connecting import connect_as_asked
from hypersdk.vendors.oci.errors import translate_reply

MOST_BYTES = 1 << 20
"""Longest answer that is read: a token or a certificate has a few KiB."""

MOST_SECONDS = (5.0, 10.0)
"""Longest time to connect and between two bytes: while a token is renewed, the bytes of a transfer stand still."""


_OK = 200


@dataclass(frozen=True, slots=True)
class Question:
    """One small request.

    Attributes:
        what: the request for people ("get the instance's certificate").
        url: where.
        body: JSON to send, perhaps with secrets; None = GET.
        headers: to send; may hold secrets.
        sign: signer of the SDK's HTTP library; None = the request is not signed.
        direct: never through a proxy, because the other end belongs to this machine or cluster.
        trust: PEM file of the only trusted authorities; None = those of the connection.
        timeouts: longest times to connect and between two bytes, in seconds.
    """

    what: str
    url: str
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    sign: Any = field(default=None, repr=False)
    direct: bool = False
    trust: str | None = None
    timeouts: tuple[float, float] = MOST_SECONDS


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; names of headers in lower case."""

    headers: Mapping[str, str]
    body: bytes


def ask(question: Question, connection: ConnectionSettings) -> Answer:
    """Send one request.

    Args:
        question: what to ask.
        connection: proxy, CA bundle and time-outs; shorter times of the question count.

    Raises:
        EndpointUnreachable, NetworkError: no answer, or half of one.
        ConfigError: the address, the proxy or a certificate cannot work.
        HypersdkError: the answer is a refusal.
    """
    # The HTTP library inside the SDK: a second one would be a second set of habits about proxies and certificates.
    from oci._vendor import requests

    data = None if question.body is None else json.dumps(question.body).encode()
    headers = dict(question.headers)
    if data is not None:
        headers["content-type"] = "application/json"
    connect, read = question.timeouts
    with requests.Session() as session:
        connect_as_asked(session, connection, question.url, direct=question.direct)
        if question.trust is not None:
            session.verify = question.trust
        try:
            with session.request(
                "GET" if data is None else "POST",
                question.url,
                data=data,
                headers=headers,
                auth=question.sign or _unsigned,
                timeout=(min(connect, connection.connect_timeout), min(read, connection.read_timeout)),
                allow_redirects=False,
                stream=True,
            ) as response:
                body = _body(response)
        except (requests.RequestException, OSError) as error:
            raise connection_error(question.what, question.url, error) from error
    return _judged(question, response, body)


def _judged(question: Question, response: Any, body: bytes) -> Answer:
    if len(body) > MOST_BYTES:
        raise errors.ReplyRefused(f"{question.what}: {question.url}: the answer is too long", resource=question.url)
    headers = {str(name).lower(): str(value) for name, value in response.headers.items()}
    if response.status_code != _OK:
        raise translate_reply(response.status_code, headers, body, resource=question.url, what=question.what)
    return Answer(headers, body)


def _unsigned(request: Any) -> Any:
    # Without this the HTTP library would look for a password in ~/.netrc.
    return request


def _body(response: Any) -> bytes:
    body = bytearray()
    for piece in response.iter_content(1 << 16):
        body += piece
        if len(body) > MOST_BYTES:
            break
    return bytes(body)


def read_json(question: Question, body: bytes, *names: str) -> tuple[str, ...]:
    """The texts of these names in a JSON answer.

    Raises:
        ReplyRefused: it is something else; what it is is not told, since it may hold a token.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) and found[name] for name in names):
        raise errors.ReplyRefused(
            f"{question.what}: {question.url}: the answer is not what it should be (expected {', '.join(names)})",
            resource=question.url,
            hint="something between here and the service may answer in its place: check the address and the proxy",
        )
    return tuple(found[name] for name in names)
