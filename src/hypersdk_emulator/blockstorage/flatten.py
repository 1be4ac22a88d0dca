"""A disk's layers as one raw file, for programs that read files; holes stay holes."""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from hypersdk_emulator import qemu
from hypersdk_emulator.blockstorage.layers import LayerStore, Source

CHUNK = 1 << 20
_ZEROS = bytes(CHUNK)


async def make_readable(store: LayerStore, layer: int) -> None:
    """Give every QCOW2 file in a chain the raw file from which its blocks are read.

    Raises:
        DiskError: a file is no such disk.
    """
    for each in store.qcow2s(layer):
        assert each.file is not None
        work = store.scratch()
        try:
            await qemu.convert(each.file, each.format, work, "raw")
            work.replace(store.raw_file(each))
        finally:
            work.unlink(missing_ok=True)


@asynccontextmanager
async def opened(store: LayerStore, layer: int) -> AsyncIterator[tuple[Path, str]]:
    """A frozen disk as (file, format) to read while the block runs: its own file if that is all, else a flat copy.

    Raises:
        DiskError: a QCOW2 below it is none.
    """
    with store.reading(layer):
        top = store.layer(layer)
        if top.file is not None:
            yield top.file, top.format
            return
        await make_readable(store, layer)
        target = store.scratch()
        stop = threading.Event()
        try:
            await asyncio.to_thread(_write_flat, store.sources(layer, 0, top.length), top.length, target, stop)
            yield target, "raw"
        finally:
            stop.set()
            target.unlink(missing_ok=True)


def _write_flat(sources: list[Source], length: int, target: Path, stop: threading.Event) -> None:
    if stop.is_set():
        return
    with target.open("xb", buffering=0) as out:
        out.truncate(length)
        for source in sources:
            with source.file.open("rb", buffering=0) as file:
                for offset, data in _data(file.fileno(), source.start, min(source.stop, length)):
                    if stop.is_set():
                        return
                    os.pwrite(out.fileno(), data, offset)


def _data(descriptor: int, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """The bytes of a range that are neither a hole of the file nor zeros, in chunks with their offsets."""
    while start < stop:
        try:
            start = os.lseek(descriptor, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but holes up to the end
                return
            raise
        end = min(stop, os.lseek(descriptor, start, os.SEEK_HOLE))
        while start < end:
            data = os.pread(descriptor, min(CHUNK, end - start), start)
            if not data:
                return
            if data != _ZEROS[: len(data)]:
                yield start, data
            start += len(data)
