"""`hypersdk.copy`, `upload_stream` and `download_stream`: any two places, streams on either side."""

from __future__ import annotations

import io
import os
import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from raw_server import OneObject, RawServer
from two_buckets import PART, TwoBuckets, settings, two_buckets

import hypersdk
from hypersdk import errors
from hypersdk.config import Config
from hypersdk.transfer.checksums import as_checksum, crc32c

BODY = random.Random(13).randbytes(3 * PART + 1)


@pytest.fixture
def cloud(oci_emulator, tmp_path) -> Iterator[TwoBuckets]:
    with two_buckets(oci_emulator, tmp_path) as cloud:
        yield cloud


@pytest.fixture
def config(oci_emulator, tmp_path) -> Config:
    return settings(oci_emulator, tmp_path)


def test_between_any_two_places(cloud, config, tmp_path):
    """One function copies file to cloud, cloud to cloud, cloud to file, web to cloud and to file, with its progress."""
    path = tmp_path / "disk.raw"
    path.write_bytes(BODY)
    first, second = str(cloud.ref("disk.raw", "here")), str(cloud.ref("copy.raw"))
    seen: list[tuple[int, int]] = []
    assert hypersdk.copy(str(path), first, config, progress=lambda *now: seen.append(now)).size == len(BODY)
    assert seen[-1] == (len(BODY), len(BODY))
    assert hypersdk.copy(first, second, config).checksums[0] == as_checksum(crc32c(BODY))
    hypersdk.copy(second, str(tmp_path / "back"), config)
    with RawServer(OneObject(BODY)) as server:
        hypersdk.copy(f"{server.url}/disk.raw", str(cloud.ref("of-the-web")), config)
    assert cloud.names() == ["copy.raw", "of-the-web"]
    assert {cloud.body(name) for name in cloud.names()} | {(tmp_path / "back").read_bytes()} == {BODY}
    (tmp_path / "into").mkdir()
    hypersdk.copy(second, str(tmp_path / "into"), config)
    assert (tmp_path / "into" / "copy.raw").read_bytes() == BODY


def test_copy_replaces_only_what_it_may(cloud, config):
    """The same bytes are left alone, others are refused unless the caller says so; patterns are no one object."""
    source = cloud.put("disk", BODY, opc_checksum_algorithm="CRC32C")
    hypersdk.copy(str(source), str(cloud.ref("copy")), config)
    before = cloud.store.head(cloud.ref("copy")).etag
    assert hypersdk.copy(str(source), str(cloud.ref("copy")), config).etag == before
    cloud.put("disk", BODY[::-1], opc_checksum_algorithm="CRC32C")
    with pytest.raises(errors.AlreadyExists):
        hypersdk.copy(str(source), str(cloud.ref("copy")), config)
    assert cloud.body("copy") == BODY
    hypersdk.copy(str(source), str(cloud.ref("copy")), config, overwrite=True)
    assert cloud.body("copy") == BODY[::-1]
    with pytest.raises(errors.UsageError, match="one object"):
        hypersdk.copy(str(cloud.ref("d*k", "here")), str(cloud.ref("x/")), config)
    with pytest.raises(errors.NotFoundError):
        hypersdk.copy(str(cloud.ref("absent", "here")), str(cloud.ref("x")), config)


@pytest.mark.parametrize("when", ["before", "in the middle"])
def test_source_that_is_replaced_is_started_again_once(cloud, config, when):
    """An object that is replaced while it is copied is copied as it is then, not mixed."""
    source = cloud.put("disk", BODY)
    cloud.emulator.fault("GetObject", "object-replaced", skip=0 if when == "before" else 2)
    made = hypersdk.copy(str(source), str(cloud.ref("copy")), config)
    assert cloud.body("copy") == cloud.body("disk", "here") != BODY
    assert made.size == len(cloud.body("copy"))
    assert cloud.uploads() == []


def test_streams_both_ways(cloud, config, tmp_path):
    """A file object becomes an object or a file, and an object or a file fills a file object."""
    seen: list[tuple[int, int]] = []
    address = str(cloud.ref("copy"))
    made = hypersdk.upload_stream(io.BytesIO(BODY), address, config, progress=lambda *now: seen.append(now))
    assert made.size == len(BODY)
    assert seen[-1] == (len(BODY), len(BODY))
    out = io.BytesIO()
    assert hypersdk.download_stream(address, out, config)[0] == as_checksum(crc32c(BODY))
    assert out.getvalue() == BODY
    path = tmp_path / "file"
    hypersdk.upload_stream(io.BytesIO(BODY), str(path), config)
    assert path.read_bytes() == BODY
    out = io.BytesIO()
    hypersdk.download_stream(str(path), out, config)
    assert out.getvalue() == BODY


def test_taken_name_is_refused_before_a_byte_is_read(cloud, config):
    """A stream is not consumed for a name that is taken; it replaces what is there only if that was asked for."""
    cloud.put("copy", b"old", "there")
    stream = io.BytesIO(BODY)
    with pytest.raises(errors.AlreadyExists):
        hypersdk.upload_stream(stream, str(cloud.ref("copy")), config)
    assert stream.tell() == 0
    hypersdk.upload_stream(stream, str(cloud.ref("copy")), config, overwrite=True)
    assert cloud.body("copy") == BODY


def test_link_that_may_only_write(cloud, config):
    """A stream goes through a link that can look at nothing; the condition of the write keeps what stands there."""
    expires = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    details = {"name": "w", "accessType": "ObjectWrite", "objectName": "copy", "timeExpires": expires}
    made = cloud.sdk.create_preauthenticated_request(cloud.emulator.namespace, "there", details).data
    address = f"{cloud.emulator.endpoint}{made.access_uri}"
    for body in (BODY, BODY[:10]):
        assert hypersdk.upload_stream(io.BytesIO(body), address, config, overwrite=body != BODY).size == len(body)
        assert cloud.body("copy") == body
    with pytest.raises(errors.AlreadyExists):
        hypersdk.upload_stream(io.BytesIO(BODY[:5]), address, config)
    assert cloud.body("copy") == BODY[:10]
    assert cloud.uploads() == []


def test_stop_reaches_every_function(cloud, config):
    """The stop flag ends a copy and both streams, and nothing is left of them."""
    cloud.put("disk", BODY)
    stop = hypersdk.StopFlag()
    stop.set()
    source, target = str(cloud.ref("disk", "here")), str(cloud.ref("copy"))
    calls: list[Any] = [
        lambda: hypersdk.copy(source, target, config, stop=stop),
        lambda: hypersdk.upload_stream(io.BytesIO(BODY), target, config, stop=stop),
        lambda: hypersdk.download_stream(source, io.BytesIO(), config, stop=stop),
    ]
    for call in calls:
        with pytest.raises(errors.Interrupted):
            call()
    assert cloud.names() == []
    assert cloud.uploads() == []


def test_two_streams_make_a_pipe(cloud, config):
    """An object can be read into a pipe whose other end becomes an object."""
    cloud.put("disk", BODY * 9)
    reader, writer = os.pipe()

    def read() -> None:
        with os.fdopen(writer, "wb") as file:
            hypersdk.download_stream(str(cloud.ref("disk", "here")), file, config)

    thread = threading.Thread(target=read)
    thread.start()
    with os.fdopen(reader, "rb") as file:
        hypersdk.upload_stream(file, str(cloud.ref("copy")), config)
    thread.join(30)
    assert cloud.body("copy") == BODY * 9
