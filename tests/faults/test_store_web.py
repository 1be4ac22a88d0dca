"""Objects behind plain addresses: presigned URLs, redirects, servers that know little."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from http_store import new_wire, retrier
from raw_server import Asked, OneObject, RawServer, send

from hypersdk import errors
from hypersdk.storage import url
from hypersdk.storage.backends.web import WebStore
from hypersdk.transfer.files import fetch_file
from hypersdk.transfer.options import TransferOptions

PART = 64 * 1024
BODY = random.Random(2).randbytes(8 * PART + 1)


def fetch(address: str, path: Path) -> bytes:
    """Fetch an address into a file."""
    where = url.parse(address)
    with new_wire() as wire:
        store = WebStore(where, wire)
        options = TransferOptions(part_size=PART, parallel=2)
        fetch_file(store, where.ref, str(path), wire=wire, retrier=retrier(refresh=store.refresh), options=options)
    return path.read_bytes()


def no_head(status: int) -> Callable:
    """A server that serves GET alone."""
    good = OneObject(BODY)
    return lambda asked, peer: send(peer, status) if asked.method == "HEAD" else good(asked, peer)


@pytest.mark.parametrize("status", [401, 403, 405])
def test_presigned_for_get_alone(tmp_path, status):
    """A server that refuses HEAD, as a URL presigned for GET makes it do, is read all the same."""
    with RawServer(no_head(status)) as server:
        assert fetch(f"{server.url}/disk.qcow2?signature=secret", tmp_path / "disk") == BODY
        assert {asked.target for asked in server.asked} == {"/disk.qcow2?signature=secret"}


def test_redirect_is_followed_once_and_nothing_goes_along(tmp_path):
    """C025: a redirect to another host is followed when the object is looked at; no range asks the first host again."""
    with RawServer(OneObject(BODY)) as target:
        moved = target.url.replace("127.0.0.1", "localhost") + "/signed?X=1"
        with RawServer(lambda _, peer: send(peer, 302, location=moved)) as first:
            assert fetch(f"{first.url}/disk", tmp_path / "disk") == BODY
            assert len(first.asked) == 1
    assert not any("authorization" in asked.headers for asked in target.asked)


def test_place_that_ends_in_mid_transfer_is_asked_for_anew(tmp_path):
    """C025: a signed target that expires costs one more look at the first address, and no part."""
    good, places = OneObject(BODY), []

    def first_host(_: Asked, peer) -> None:
        places.append(f"/signed-{len(places)}")
        send(peer, 302, location=target.url + places[-1])

    def second_host(asked: Asked, peer) -> bool | None:
        ended = asked.target == "/signed-0" and asked.range is not None and asked.range[0] >= 4 * PART
        return send(peer, 403) if ended else good(asked, peer)

    with RawServer(second_host) as target, RawServer(first_host) as first:
        assert fetch(f"{first.url}/disk", tmp_path / "disk") == BODY
        assert places == ["/signed-0", "/signed-1"]


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (lambda _, peer: send(peer, 302, location="/again"), errors.RequestRefused, "redirects"),
        (lambda _, peer: send(peer, 404), errors.NotFoundError, "404"),
    ],
)
def test_servers_that_cannot_serve(tmp_path, answer, error, words):
    """A server that redirects without end or has nothing ends it, without a file."""
    with RawServer(answer) as server, pytest.raises(error, match=words):
        fetch(f"{server.url}/disk", tmp_path / "disk")
    assert not list(tmp_path.iterdir())


def test_weak_validator_is_no_identity(tmp_path):
    """An etag that allows other bytes (W/) pins nothing: nothing of an earlier run is taken over by it."""
    with RawServer(OneObject(BODY, etag='W/"1"')) as server, new_wire() as wire:
        where = url.parse(f"{server.url}/disk")
        assert WebStore(where, wire).head(where.ref).etag == ""


def test_plain_addresses_have_few_verbs(tmp_path):
    """Lists, renames, deletes and multipart uploads are refused in one line that names the object, not its query."""
    where = url.parse("https://host.example/disk?signature=secret")
    with new_wire() as wire:
        store = WebStore(where, wire)
        for verb in (store.list, store.delete, store.create_multipart_upload):
            with pytest.raises(errors.UsageError, match=re.escape("https://host.example/disk: ")) as caught:
                verb(where.ref)
            assert "secret" not in str(caught.value)
