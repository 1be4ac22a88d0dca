"""Transfers whose requests cannot be signed for a while: renewing a token is a call like others, and may fail."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from http_store import HttpStore, info_of, new_wire, ranges_asked, retrier
from raw_server import OneObject, RawServer

from hypersdk import errors
from hypersdk.model import ByteRange, ObjectInfo
from hypersdk.transfer.engine import download
from hypersdk.transfer.options import TransferOptions
from hypersdk.waiting import Waiter
from hypersdk.wire.request import Request

PART = 64 * 1024
BODY = random.Random(7).randbytes(12 * PART + 1)


@dataclass
class Signed(HttpStore):
    """A store whose signatures fail as they are told: one entry for each, None = it can be made."""

    failures: Callable[[int], errors.HypersdkError | None] = lambda _: None
    signed: int = 0

    def range_request(self, info: ObjectInfo, wanted: ByteRange) -> Request:
        """The request for a range, which has to be signed."""
        return replace(super().range_request(info, wanted), sign=self._sign)

    def _sign(self, _method: str, _url: str, headers):
        number, self.signed = self.signed, self.signed + 1
        if (failure := self.failures(number)) is not None:
            raise failure
        return headers


def fetch(store: Signed, destination: Path, parallel: int = 3, **fields) -> bytes:
    with new_wire() as wire:
        fields = {"retrier": retrier()} | fields
        options = TransferOptions(PART, parallel)
        sealed = download(store, info_of(BODY), str(destination), wire=wire, options=options, **fields)
    return Path(sealed.path).read_bytes()


def test_a_signature_that_fails_for_a_moment_is_tried_again(tmp_path):
    """Passing faults while a token is renewed cost tries of the part at hand; every range is asked for once."""
    kinds = (errors.ServiceError, errors.NetworkError, errors.ThrottledError)
    failing = lambda n: kinds[n % 3]("away") if n % 4 == 2 else None  # noqa: E731 - a table entry
    with RawServer(OneObject(BODY)) as server:
        assert fetch(Signed(server.url, failing), tmp_path / "disk") == BODY
        assert len(ranges_asked(server)) == 13


def test_a_signature_that_cannot_be_made_any_more_ends_it_with_parts_kept(tmp_path):
    """A session that ended for good ends the transfer at once; what was fetched is not fetched again."""
    with RawServer(OneObject(BODY)) as server:
        ended = lambda n: errors.AuthError("the session token expired") if n >= 6 else None  # noqa: E731
        store = Signed(server.url, ended)
        with pytest.raises(errors.AuthError, match="expired"):
            fetch(store, tmp_path / "disk", parallel=1)
        assert store.signed == 7
        first = set(ranges_asked(server))
        assert fetch(Signed(server.url), tmp_path / "disk") == BODY
        assert len(ranges_asked(server)) == 13
        assert len(first) == 6


def test_a_signature_that_keeps_failing_gives_up_after_the_policys_tries(tmp_path):
    """As many tries as the policy allows for one part, then the fault is told."""
    with RawServer(OneObject(BODY)) as server:
        store = Signed(server.url, lambda n: errors.ServiceError("503") if n >= 2 else None)
        with pytest.raises(errors.ServiceError):
            fetch(store, tmp_path / "disk", parallel=1, retrier=retrier(attempts=3))
        assert store.signed == 2 + 3


def test_while_the_network_is_down_a_signature_costs_nothing(tmp_path):
    """Renewing a token needs the network too: while it is down nothing is tried, and with one try all arrives."""
    probes, now = iter([False] * 3), [0.0]

    def sleep(seconds: float) -> bool:
        now[0] += seconds
        return False

    waiter = Waiter(clock=lambda: now[0], sleep=sleep)
    with RawServer(OneObject(BODY)) as server:
        store = Signed(server.url, lambda n: errors.EndpointUnreachable("no host") if n == 5 else None)
        once = retrier(attempts=1, probe=lambda: next(probes, True), waiter=waiter)
        assert fetch(store, tmp_path / "disk", parallel=1, retrier=once) == BODY
    assert now[0] >= 2.0
