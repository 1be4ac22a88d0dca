"""Immutable body files: taken in as a stream with digests, given by rename, handed out by name.

Nothing here knows buckets or objects. A file that the database names is complete; whatever else a crash leaves here is
thrown away at the next start. Memory stays bounded: of an upload one batch is in flight, while its connection reads a
little ahead.
"""

import asyncio
import os
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from hypersdk_emulator.checksums import Digests, Hasher

BATCH = 1 << 18  # bytes handed to the hashing thread at once; four times as many are no faster, measured
INLINE = 1 << 16  # bodies below this many bytes are hashed on the loop: a thread switch costs more


@dataclass(frozen=True)
class Received:
    """A body that came in whole; `file` is empty for an empty body."""

    file: str
    size: int
    digests: Digests


class BodyStore:
    """The folder of body files.

    Args:
        folder: `bodies/` of the state directory; made if absent.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._pool = ThreadPoolExecutor(max(2, os.cpu_count() or 2), "body")
        self._readers: Counter[str] = Counter()
        self._doomed: set[str] = set()
        self._folders: set[str] = set()

    def close(self) -> None:
        """Stop the hashing threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def receive(self, chunks: AsyncIterator[bytes], algorithms: Collection[str] = ()) -> Received:
        """Store a stream as a new file; if the stream fails nothing stays.

        Args:
            chunks: The body.
            algorithms: Additional checksums to compute, by OCI's names.
        """
        hasher = Hasher(algorithms)
        first = await _batch(chunks)
        if len(first) < INLINE:
            hasher.update(first)
            return Received(self._keep_bytes(first), hasher.size, hasher.digests())
        loop = asyncio.get_running_loop()
        path = self._incoming / secrets.token_hex(16)
        try:
            with path.open("xb", buffering=0) as out:
                batch = first
                while batch:
                    await loop.run_in_executor(self._pool, _take, hasher, out, batch)
                    batch = await _batch(chunks)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Received(self._publish(path), hasher.size, hasher.digests())

    def keep(self, data: bytes, algorithms: Collection[str] = ()) -> Received:
        """Store bytes that are in memory."""
        hasher = Hasher(algorithms)
        hasher.update(data)
        return Received(self._keep_bytes(data), hasher.size, hasher.digests())

    def incoming(self) -> Path:
        """A fresh path for a temporary file; what a crash leaves there goes at the next start."""
        return self._incoming / secrets.token_hex(16)

    def open(self, file: str) -> FileIO:
        """Open a body file for reading, unbuffered; `hold` it for longer than a moment."""
        return FileIO(self._path(file))

    def hold(self, files: Iterable[str]) -> None:
        """Keep files readable although they may be discarded meanwhile; `done` must follow for each."""
        self._readers.update(files)

    def done(self, files: Iterable[str]) -> None:
        """A reader has finished with files; those discarded meanwhile go now."""
        for file in files:
            self._readers[file] -= 1
            if self._readers[file] <= 0:
                del self._readers[file]
                if file in self._doomed:
                    self._doomed.discard(file)
                    self._path(file).unlink(missing_ok=True)

    def discard(self, files: Iterable[str]) -> None:
        """Delete files that nothing refers to any more, at once or when their last reader has finished."""
        for file in files:
            if self._readers[file] > 0:
                self._doomed.add(file)
            elif file:
                self._path(file).unlink(missing_ok=True)

    def sweep(self, referenced: Collection[str]) -> None:
        """At start: delete what a crash left, that is incoming files and files that nothing refers to."""
        for path in self._incoming.iterdir():
            path.unlink()
        for path in self._folder.glob("[0-9a-f][0-9a-f]/*"):
            if path.name not in referenced:
                path.unlink()

    def _path(self, file: str) -> Path:
        return self._folder / file[:2] / file

    def _keep_bytes(self, data: bytes) -> str:
        if not data:
            return ""
        file = secrets.token_hex(16)
        path = self._place(file)
        try:
            path.write_bytes(data)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return file

    def _publish(self, path: Path) -> str:
        file = secrets.token_hex(16)
        path.rename(self._place(file))
        return file

    def _place(self, file: str) -> Path:
        """The path for a new file, whose folder is there."""
        path = self._path(file)
        if file[:2] not in self._folders:
            path.parent.mkdir(exist_ok=True)
            self._folders.add(file[:2])
        return path


async def _batch(chunks: AsyncIterator[bytes]) -> bytes:
    """The next bytes of a stream, about BATCH of them; empty at the end."""
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size >= BATCH:
            break
    return b"".join(parts)


def _take(hasher: Hasher, out: FileIO, batch: bytes) -> None:
    hasher.update(batch)
    rest = memoryview(batch)
    while rest:  # a disk that fills up takes a piece before it refuses
        rest = rest[out.write(rest) :]
