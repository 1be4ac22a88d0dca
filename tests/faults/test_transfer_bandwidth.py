"""Bandwidth limits of real transfers over a socket."""

from __future__ import annotations

import time
from pathlib import Path

from http_store import HttpStore, info_of, retrier
from raw_server import OneObject, RawServer

from hypersdk.bandwidth import Bucket
from hypersdk.model import ConnectionSettings
from hypersdk.transfer.engine import download
from hypersdk.transfer.options import MIB, TransferOptions
from hypersdk.waiting import StopFlag
from hypersdk.wire.loop import Wire

BODY = bytes(range(256)) * 4096 * 8  # 8 MiB
SECONDS = 2


def test_limit_holds_over_all_connections(tmp_path: Path):
    """Several connections together take as long as the limit says, and the bytes are right."""
    rate = len(BODY) // SECONDS
    bucket = Bucket(lambda: rate, time.monotonic, StopFlag().wait)
    began = time.monotonic()
    with (
        RawServer(OneObject(BODY)) as server,
        Wire(ConnectionSettings(connect_timeout=5, read_timeout=5), bucket=bucket) as wire,
    ):
        sealed = download(
            HttpStore(server.url),
            info_of(BODY),
            str(tmp_path / "disk"),
            wire=wire,
            retrier=retrier(),
            options=TransferOptions(MIB, 4),
        )
    assert time.monotonic() - began >= SECONDS * 0.85  # a tenth of a second may come at once
    assert Path(sealed.path).read_bytes() == BODY
