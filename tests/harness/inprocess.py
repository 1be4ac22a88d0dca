"""A cloud without a process, a socket or a real clock: requests go straight to the handlers, time moves on request."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from unittest.mock import Mock

from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.http import RawRequestMessage
from emulator import USER, Reply, Seed
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from hypersdk_emulator.app import OPERATIONS
from hypersdk_emulator.call import Call
from hypersdk_emulator.cloud import Cloud, Options
from hypersdk_emulator.compute.records import unfinished_jobs
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.facts import facts_of
from hypersdk_emulator.objectstorage import storage
from hypersdk_emulator.routes import ROUTES
from hypersdk_emulator.routing import Router
from hypersdk_emulator.seeds import seeding
from hypersdk_emulator.seeds.seed import Reader
from hypersdk_emulator.signatures import Principal

START = 1_800_000_000.0
STEP_SECONDS = 0.002  # real time for qemu-img and its like
ROUTER = Router(ROUTES)
_PROTOCOL = Mock(_reading_paused=False, peername=None, ssl_context=None)


class InProcess:
    """One cloud on a state directory.

    Args:
        state: Its directory; continued if it exists.
        seed: Applied when the state is new.
        options: Further options, such as `pace` or `assume`.
    """

    def __init__(self, state: Path, seed: Seed, **options: Any) -> None:
        self.seed = seed
        self.loop = asyncio.new_event_loop()
        fresh = not state.exists()
        self.cloud = Cloud(Options(state, random_seed="machines", **options), OPERATIONS, wall=lambda: START)
        if fresh:
            self.run(seeding.apply(self.cloud, Reader(seed.folder, None).read(seed.value)))
        self.run(seeding.resume(self.cloud))

    def run(self, work: Any) -> Any:
        """Run a coroutine to its end."""
        return self.loop.run_until_complete(work)

    @property
    def now(self) -> float:
        """Virtual now."""
        return self.cloud.clock.timestamp()

    def advance(self, seconds: float) -> None:
        """Move the virtual clock, and wait for the end of all compute work that is due."""
        self.cloud.clock.advance(seconds)
        while any(job.work.due <= self.now for job in unfinished_jobs(self.cloud.db)):
            self.run(asyncio.sleep(STEP_SECONDS))

    def fault(self, operation: str, effect: str) -> None:
        """Declare a fault that shows in the work of a call, such as `work-request-fails`; others need a real server."""
        self.cloud.faults.declare({"operation": operation, "effect": effect})

    def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        """One request by the seed's user; bytes go as they are, anything else as JSON."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.run(self._call(method, path, data, headers or {}))

    async def _call(self, method: str, path: str, data: bytes, headers: Mapping[str, str]) -> Reply:
        sent = CIMultiDict({"host": "machine", "content-length": str(len(data)), **headers})
        raw = tuple((name.encode(), value.encode()) for name, value in sent.items())
        # Not to be closed, not compressed, no upgrade, not chunked.
        wire = {"should_close": False, "compression": None, "upgrade": False, "chunked": False}
        where = URL(path, encoded=True)
        message = RawRequestMessage(method, path, HttpVersion11, CIMultiDictProxy(sent), raw, **wire, url=where)
        payload = StreamReader(_PROTOCOL, 1 << 20, loop=self.loop)
        payload.feed_data(data)
        payload.feed_eof()
        request = web.BaseRequest(message, payload, _PROTOCOL, Mock(), Mock(), self.loop)
        try:
            route, params = ROUTER.find(method, path.partition("?")[0], request.headers)
            call = Call(request, self.cloud, route, params, Principal("api_key", USER), "request")
            call.fault = self.cloud.faults.take(await facts_of(call)) if self.cloud.faults.waiting else None
            response = await route.handler(call)
        except ServiceError as error:
            text = json.dumps({"code": error.code, "message": error.message})
            return Reply(error.status, {}, text.encode())
        assert isinstance(response, web.Response), response
        assert response.body is None or isinstance(response.body, bytes)
        return Reply(response.status, {n.lower(): v for n, v in response.headers.items()}, response.body or b"")

    def object_bytes(self, bucket: str, name: str) -> bytes | None:
        """The bytes of an object's latest version, from the files that hold them."""
        found = storage.latest(self.cloud, bucket, name)
        if found is None or found.marker:
            return None
        statement = "SELECT file FROM segments WHERE body = ? AND file != '' ORDER BY start"
        rows = self.cloud.db.all(statement, found.content.body)
        pieces = []
        for row in rows:
            with self.cloud.bodies.open(row["file"]) as file:
                pieces.append(file.read())
        return b"".join(pieces)

    def restarted(self) -> Self:
        """The same cloud after an end and a new start at the same virtual time."""
        now = self.now
        self.close()
        again = type(self)(self.cloud.options.state, self.seed)
        assert again.now == now
        return again

    def close(self) -> None:
        """End it; its state stays."""
        self.run(self.cloud.close())
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()
