"""Steps that bring an exported object to where it was asked for: read, proven, then named.

Rules of this file: bytes that fail a proof are fetched again once, from the start; a replaced object is started again
once; a local name is given by `publish`, a name in Object Storage by a rename that is pinned to the proven etag.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hypersdk import errors, events
from hypersdk.disks.formats.reader import Reader
from hypersdk.disks.verify import verify_contents, verify_disk
from hypersdk.exports.context import Context
from hypersdk.exports.plan import Step, Target
from hypersdk.model import ByteRange, Checksum, Disk, ObjectInfo, Proof, format_size
from hypersdk.transfer.checksums import file_digests, new_digest, read_digests
from hypersdk.transfer.engine import download, verify_object
from hypersdk.transfer.partial import SealedPartial, discard, mark_of, partial_name
from hypersdk.transfer.proving import expect_as_received
from hypersdk.transfer.publish import publish
from hypersdk.transfer.readback import how_read
from hypersdk.wire.request import Request

DIGESTS = ("sha256", "crc32c")
"""SHA-256 because everybody can check it, CRC32C because Object Storage and our part journal speak it."""


def check_space(target: Target, size: int) -> None:
    """Refuse a download that the file system has no room for.

    Raises:
        PreflightRefused: says how much is missing; the run can be resumed.
    """
    if target.path is None:
        return
    directory, name = os.path.split(target.path)
    try:
        there = Path(directory, partial_name(name)).stat().st_blocks * 512  # POSIX counts blocks of 512 bytes
    except OSError:
        there = 0
    free = shutil.disk_usage(directory).free
    if free + there < size:
        raise errors.PreflightRefused(
            f"{directory} has {format_size(free)} free, the disk needs {format_size(size - there)} more",
            resource=directory,
            hint="make room, then give the same command again",
        )


def run_download(ctx: Context, step: Step) -> Mapping[str, Any]:
    """Fetch the object into the partial file."""
    target = ctx.plan.target(step)
    assert target.path is not None
    info = _exported(ctx, target)
    check_space(target, info.size)
    try:
        sealed = _fetch(ctx, step, info, target.path)
    except (errors.ObjectChanged, errors.VerificationError) as error:
        ctx.rooms.note(f"{error.message}: started again from the beginning")
        info = _look_again(ctx, target)
        sealed = _fetch(ctx, step, info, target.path)
    return {**seen_object(info), "checksums": _values(sealed.checksums)}


def seen_object(info: ObjectInfo) -> dict[str, Any]:
    """What a step's result keeps of an object, so that later steps read exactly this one."""
    return {
        "size": info.size,
        "etag": info.etag,
        "version": info.version,
        "service_checksums": _values(info.checksums),
    }


def _exported(ctx: Context, target: Target) -> ObjectInfo:
    """The object as it was last looked at by a finished step."""
    seen = ctx.result("download", target.format) or ctx.result("verify-object", target.format)
    seen = seen or ctx.result("await-object", target.format)
    checksums = _checksums(seen["service_checksums"])
    renamed = ctx.result("rename", target.format)
    if renamed and target.final is not None:
        # Another machine had fetched it before it got its final name, and did not come back.
        return ObjectInfo(target.final, seen["size"], renamed["etag"], checksums, version=renamed["version"])
    return ObjectInfo(target.staging, seen["size"], seen["etag"], checksums, version=seen["version"])


def _look_again(ctx: Context, target: Target) -> ObjectInfo:
    info = ctx.call("look at the object", lambda: ctx.rooms.store.head(_exported(ctx, target).ref))
    ctx.drive.know("object", target.staging.name, etag=info.etag, size=info.size)
    return info


def _fetch(ctx: Context, step: Step, info: ObjectInfo, path: str) -> SealedPartial:
    rooms = ctx.rooms

    def fetch() -> SealedPartial | None:
        try:
            return download(
                rooms.store,
                info,
                path,
                wire=rooms.wire,
                retrier=rooms.retrier,
                options=rooms.transfer,
                advanced=_advanced(ctx, step),
            )
        except errors.FileInUse:
            # Whoever drove the run before us may be suspended, or about to notice; it leaves once it wakes.
            if not ctx.drive.taken_over:
                raise
            return None

    reason = f"the former process of run {ctx.plan.run_id} still has {path} open"
    sealed = rooms.waiter.wait_for(reason, fetch, every=IN_USE_EVERY, longest=rooms.host_grace)
    if sealed is None:
        raise errors.FileInUse(f"another process is writing {path}", resource=path, hint="stop it, then go on")
    return sealed


IN_USE_EVERY = 5.0
"""Seconds between two tries to open a file that a former process of the run has open."""


def run_verify(ctx: Context, step: Step) -> Mapping[str, Any]:
    """Prove that the partial file is the disk that it must be; a file that is not is fetched again once."""
    target = ctx.plan.target(step)
    assert target.path is not None
    partial = Path(target.path).with_name(partial_name(Path(target.path).name))
    fetch_step = ctx.plan.step("download", step.format)
    if not partial.exists():
        _repeat_download(ctx, fetch_step)
    try:
        return _prove(ctx, step, target, str(partial))
    except errors.VerificationError as error:
        ctx.rooms.note(f"{error.message}: fetched again from the beginning, in case the fault lay on the way")
        discard(target.path)
        _repeat_download(ctx, fetch_step)
        return _prove(ctx, step, target, str(partial))


def _repeat_download(ctx: Context, fetch_step: Step) -> None:
    ctx.store_result(fetch_step, run_download(ctx, fetch_step))


def _prove(ctx: Context, step: Step, target: Target, partial: str) -> Mapping[str, Any]:
    fetched = ctx.result("download", target.format)
    mark = mark_of(partial)
    disk, sentences = _inspect(ctx, target, partial)
    if disk.file_size != fetched["size"]:
        raise errors.VerificationError(
            f"{partial} has {disk.file_size} bytes, the object {fetched['size']}", resource=partial
        )
    wanted = ctx.rooms.transfer
    running = {name: new_digest(name) for name in (*DIGESTS, *wanted.digests)}
    ticking = _ticking(ctx, step, disk.file_size)
    digests, past_cache = read_digests(partial, running, tick=ticking, from_device=wanted.reread)
    expect_as_received(partial, digests, _checksums(fetched["checksums"]))
    if wanted.reread:
        sentences = (how_read(past_cache=past_cache), *sentences)
    return {
        "size": disk.file_size,
        "mark": mark,
        "virtual_size": disk.virtual_size,
        "checksums": _values(digests),
        "proof": [f"{disk.file_size} bytes, as many as the object has", *sentences],
    }


def _inspect(ctx: Context, target: Target, partial: str) -> tuple[Disk, tuple[str, ...]]:
    disk, sentences = verify_disk(partial, target.format, waiter=ctx.rooms.waiter)
    _check_claim(ctx, disk.virtual_size, partial)
    return disk, sentences


def _check_claim(ctx: Context, virtual_size: int, where: str) -> None:
    # The image's size is what OCI shows as provisioned: an exported disk may be smaller, never larger.
    largest = ctx.result("await-image").get("size")
    if largest and virtual_size > largest + _ROUNDING:
        raise errors.VerificationError(
            f"the disk claims {format_size(virtual_size)} for the guest, the image has {format_size(largest)}",
            resource=where,
        )


_ROUNDING = 16 * 1024**2
"""Bytes by which formats round a size up (a VHD to a cylinder, others to a MiB)."""


def run_publish(ctx: Context, step: Step) -> Mapping[str, Any]:
    """Give the proven file its final name."""
    target = ctx.plan.target(step)
    assert target.path is not None
    proven = ctx.result("verify", step.format)
    checksums = _checksums(proven["checksums"])
    proof = Proof(proven["size"], checksums, tuple(proven["proof"]))
    partial = Path(target.path).with_name(partial_name(Path(target.path).name))
    publish(
        SealedPartial(str(partial), proven["size"], checksums, proven["mark"]),
        proof,
        target.path,
        overwrite=ctx.options.overwrite,
    )
    return {"path": target.path}


def add_digests(ctx: Context, target: Target) -> None:
    """Take the digests of a published disk that nobody asked for before its run was resumed.

    Raises:
        VerificationError: the file is no longer the one that was proven.
    """
    proven = ctx.result("verify", target.format)
    missing = [name for name in ctx.rooms.transfer.digests if name not in proven["checksums"]] if target.path else []
    if not missing:
        return
    assert target.path is not None
    found = file_digests(target.path, (DIGESTS[0], *missing), tick=lambda _: ctx.rooms.waiter.tick())
    expect_as_received(target.path, found, _checksums(proven["checksums"]))
    checksums = {**proven["checksums"], **_values(found)}
    ctx.store_result(ctx.plan.step("verify", target.format), {**proven, "checksums": checksums})


def run_verify_object(ctx: Context, step: Step) -> Mapping[str, Any]:
    """Prove an object by reading all of it, without keeping it; what fails is read again once."""
    target = ctx.plan.target(step)
    try:
        return _prove_object(ctx, step, _exported(ctx, target))
    except (errors.ObjectChanged, errors.VerificationError) as error:
        ctx.rooms.note(f"{error.message}: read again from the beginning")
        return _prove_object(ctx, step, _look_again(ctx, target))


def _prove_object(ctx: Context, step: Step, info: ObjectInfo) -> Mapping[str, Any]:
    rooms = ctx.rooms
    structure, sentences = verify_contents(_remote_reader(ctx, info), str(step.format))
    _check_claim(ctx, structure.virtual_size, str(info.ref))
    checksums = verify_object(
        rooms.store,
        info,
        wire=rooms.wire,
        retrier=rooms.retrier,
        options=rooms.transfer,
        advanced=_advanced(ctx, step),
    )
    return {
        **seen_object(info),
        "virtual_size": structure.virtual_size,
        "checksums": _values(checksums),
        "proof": [f"all {info.size} bytes were read by ranges of one etag", *sentences],
    }


def _remote_reader(ctx: Context, info: ObjectInfo) -> Reader:
    """An object as parsers see it: each read is one ranged request."""
    rooms = ctx.rooms

    def read_at(offset: int, length: int) -> bytes:
        wanted = ByteRange(offset, min(offset + length, info.size))
        request = rooms.store.range_request(info, wanted)
        assert isinstance(request, Request), "objects of a cloud are read over the wire"
        try:
            return ctx.call("read the object", lambda: rooms.wire.call(request).body)
        except errors.PreconditionFailed as error:
            raise errors.ObjectChanged(f"{info.ref} was replaced while it was read", resource=str(info.ref)) from error

    return Reader(str(info.ref), info.size, read_at, rooms.waiter.tick)


def run_rename(ctx: Context, step: Step) -> Mapping[str, Any]:
    """Give the proven object its final name; a name that is taken stays as it is unless it may be replaced."""
    target = ctx.plan.target(step)
    final, store = target.final, ctx.rooms.store
    assert final is not None
    info = _exported(ctx, target)
    try:
        named = ctx.call("name the object", lambda: store.rename(info, final.name, if_absent=not ctx.options.overwrite))
    except (errors.NotFoundError, errors.AlreadyExists) as error:
        # An earlier try's reply was lost, or it was killed before it could note it: then these very bytes are there.
        named = ctx.call("look at the final object", lambda: store.head(final))
        if not _same_bytes(ctx, step, target, named):
            if isinstance(error, errors.AlreadyExists):
                raise
            raise errors.ObjectChanged(
                f"{target.staging} is gone and {final} is another object", resource=str(final)
            ) from None
    ctx.drive.close_intent("object", target.staging.name)
    return {"size": info.size, "etag": named.etag, "version": named.version}


def _same_bytes(ctx: Context, step: Step, target: Target, named: ObjectInfo) -> bool:
    rooms, proven = ctx.rooms, proof_of(ctx, target)
    if named.size != proven["size"]:
        return False
    try:
        verify_object(
            rooms.store,
            named,
            wire=rooms.wire,
            retrier=rooms.retrier,
            options=rooms.transfer,
            expected=_checksums(proven["checksums"]),
            advanced=_advanced(ctx, step),
        )
    except errors.VerificationError:
        return False
    return True


def proof_of(ctx: Context, target: Target) -> Mapping[str, Any]:
    """What was proven of a disk: size, virtual size, checksums and sentences."""
    proven = ctx.result("verify", target.format) or ctx.result("verify-object", target.format)
    return {key: proven[key] for key in ("size", "virtual_size", "checksums", "proof")}


def _advanced(ctx: Context, step: Step) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        ctx.rooms.waiter.report(events.StepAdvanced(ctx.plan.run_id, step.name, done, total))

    return report


def _ticking(ctx: Context, step: Step, total: int) -> Callable[[int], None]:
    advanced = _advanced(ctx, step)

    def tick(done: int) -> None:
        ctx.rooms.waiter.tick()
        advanced(done, total)

    return tick


def _values(checksums: tuple[Checksum, ...]) -> dict[str, str]:
    return {one.algorithm: one.value for one in checksums}


def _checksums(values: Mapping[str, str]) -> tuple[Checksum, ...]:
    return tuple(Checksum(name, value) for name, value in values.items())
