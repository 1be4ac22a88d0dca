"""What programs call: one function per job, each with its own configuration, waiting and connections.

Each opens a `Wiring`, does its job and closes it; `hypersdk` itself exports these names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from hypersdk import errors, events
from hypersdk.config import Config, load_config
from hypersdk.model import Checksum, ObjectInfo, Proof
from hypersdk.network import NetworkMonitor
from hypersdk.storage import url
from hypersdk.storage.protocol import Store
from hypersdk.waiting import StopFlag, Waiter
from hypersdk.wiring import Wiring

if TYPE_CHECKING:
    from hypersdk.exports.options import ExportOptions
    from hypersdk.exports.plan import ExportPlan
    from hypersdk.exports.result import ExportResult
    from hypersdk.providers.protocol import Provider
    from hypersdk.transfer.copies.items import Outcome
    from hypersdk.transfer.flows.inflow import Readable
    from hypersdk.transfer.flows.outflow import Writable


def connect(kind: str, config: Config, monitor: NetworkMonitor | None = None) -> Provider:
    """Connect to a cloud that owns instances.

    Args:
        kind: "oci".
        config: from `load_config`.
        monitor: knows whether the network is down; None = our own.

    Raises:
        UsageError: no such kind.
        ConfigError: the settings cannot work.
        AuthError: the credentials cannot be used.
    """
    if kind != "oci":
        raise errors.UsageError(f"no provider {kind!r}", hint="the provider is 'oci'")
    return Wiring(config, Waiter(), monitor).provider


def open_store(address: str, config: Config, monitor: NetworkMonitor | None = None) -> Store:
    """Open the store that an address belongs to.

    Args:
        address: "oci://namespace/bucket/prefix", a pre-authenticated request, "https://host/path", "file:///path" or a
            path.
        config: from `load_config`.
        monitor: knows whether the network is down; None = our own.

    Raises:
        UsageError: not an address.
    """
    return Wiring(config, Waiter(), monitor).store(url.parse(address))


def upload(
    path: str,
    address: str,
    config: Config | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    stop: StopFlag | None = None,
    monitor: NetworkMonitor | None = None,
) -> ObjectInfo:
    """Upload a file; each part and the whole are compared with what the service has. The same call resumes.

    Args:
        path: the file; one that changes meanwhile is never committed.
        address: "oci://namespace/bucket/name", or a pre-authenticated request that may write.
        config: None = loaded as the command does.
        progress: `progress(done, total)` in bytes.
        stop: ends the upload; finished parts are kept.
        monitor: knows whether the network is down; None = our own.

    Raises:
        HypersdkError: it could not be uploaded; `__notes__` say which parts stay in the bucket, if any.
    """
    from hypersdk.transfer.uploads.upload import upload

    with Wiring(config or load_config(), Waiter(stop=stop or StopFlag()), monitor) as wiring:
        to = _object_of(address)
        return upload(path, wiring.store(to), to.ref, journal=wiring.config.uploads, **wiring.moving(progress))


def download(
    address: str,
    path: str,
    config: Config | None = None,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    stop: StopFlag | None = None,
    monitor: NetworkMonitor | None = None,
) -> Proof:
    """Download an object; nothing appears at `path` before it is whole and proven. The same call resumes.

    Args:
        address: "oci://namespace/bucket/name", a pre-authenticated request, or "https://host/path?query".
        path: the final path; its directory must exist.
        config: None = loaded as the command does.
        overwrite: replace what is there.
        progress: `progress(done, total)` in bytes.
        stop: ends the download; finished parts are kept.
        monitor: knows whether the network is down; None = our own.

    Raises:
        HypersdkError: it could not be downloaded; what was there is as it was.
    """
    from hypersdk.transfer.files import fetch_file

    with Wiring(config or load_config(), Waiter(stop=stop or StopFlag()), monitor) as wiring:
        source = _object_of(address)
        return fetch_file(wiring.store(source), source.ref, path, overwrite=overwrite, **wiring.moving(progress))


def copy(
    source: str,
    target: str,
    config: Config | None = None,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    stop: StopFlag | None = None,
    monitor: NetworkMonitor | None = None,
) -> ObjectInfo:
    """Copy one object between any two places, as `hyperexport cp` does; between two clouds nothing is stored here.

    What stands at the target with the same bytes is left as it is. Metadata and content type of an object go along.

    Args:
        source: "oci://namespace/bucket/name", a pre-authenticated request, "https://host/path?query", or a path.
        target: the same kinds; a directory, or an address that ends with "/", takes the copy under its own name.
        config: None = loaded as the command does.
        overwrite: replace what stands at the target with other bytes.
        progress: `progress(done, total)` in bytes.
        stop: ends the copy; finished parts of a file are kept.
        monitor: knows whether the network is down; None = our own.

    Returns:
        The copy as it stands.

    Raises:
        AlreadyExists: another object stands there.
        DestinationExists: another file stands there.
        HypersdkError: it could not be copied; what was there is as it was.
    """
    from hypersdk.storage.protocol import NO_OPTIONS
    from hypersdk.transfer.copies.copyplan import Wish, carry_out
    from hypersdk.transfer.engine import unwatched

    with Wiring(config or load_config(), Waiter(stop=stop or StopFlag()), monitor) as wiring:
        one, other = url.parse(source), url.parse(target)
        plan, means = wiring.plan_copy(Wish(one.ref, other.ref), one, other, put=NO_OPTIONS, overwrite=overwrite)
        if plan.many:
            raise errors.UsageError(f"one object is needed, this is a pattern: {one}", resource=str(one))
        (outcome,) = carry_out(plan, means, progress or unwatched)
        if outcome.error is not None:
            raise outcome.error
        assert outcome.target is not None
        return outcome.target


def copy_tree(
    source: str,
    target: str,
    config: Config | None = None,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    reporter: events.Reporter | None = None,
    stop: StopFlag | None = None,
    monitor: NetworkMonitor | None = None,
) -> Iterator[Outcome]:
    """Copy all objects under an address, or those that a pattern means, as `hyperexport cp -r` does.

    What stands at its target with the same bytes is skipped; one failure ends no other. The same call goes on with what
    an interrupted one left.

    Args:
        source: "oci://namespace/bucket/prefix", a pre-authenticated request that lists, or a path; or a pattern.
        target: the prefix or directory under which each lies at its path relative to the source.
        config: None = loaded as the command does.
        include: patterns of names relative to the source; none = everything.
        exclude: patterns of names that are left out; they win.
        overwrite: replace what stands at a target with other bytes.
        progress: `progress(done, total)` in bytes.
        reporter: told what happens.
        stop: ends the copy; finished parts are kept.
        monitor: knows whether the network is down; None = our own.

    Yields:
        How each ended, as it ends; the copy goes on while they are taken.

    Raises:
        HypersdkError: before the first byte: the source cannot be listed to its end, or nothing can go to the target.
    """
    from hypersdk.storage.protocol import NO_OPTIONS
    from hypersdk.storage.selection import Filter
    from hypersdk.transfer.copies.copyplan import Wish, carry_out
    from hypersdk.transfer.engine import unwatched

    waiter = Waiter(stop=stop or StopFlag(), report=reporter or events.null_reporter)
    with Wiring(config or load_config(), waiter, monitor) as wiring:
        one, other = url.parse(source), url.parse(target)
        wish = Wish(one.ref, other.ref, recursive=True, chosen=Filter(include, exclude))
        plan, means = wiring.plan_copy(wish, one, other, put=NO_OPTIONS, overwrite=overwrite)
        yield from carry_out(plan, means, progress or unwatched)


def upload_stream(
    file: Readable,
    address: str,
    config: Config | None = None,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    stop: StopFlag | None = None,
    monitor: NetworkMonitor | None = None,
) -> ObjectInfo:
    """Upload all bytes of a file object, however many they turn out to be, in bounded memory.

    Each part and the whole are compared with what the service has. A stream cannot be read twice, so an interrupted
    upload leaves nothing and begins anew.

    Args:
        file: open for reading bytes: a pipe, a socket's file, anything with `read`. It is not closed.
        address: "oci://namespace/bucket/name", a pre-authenticated request that may write, or a path.
        config: None = loaded as the command does.
        overwrite: replace what stands there.
        progress: `progress(done, read so far)` in bytes.
        stop: ends the upload; nothing is left of it.
        monitor: knows whether the network is down; None = our own.

    Raises:
        AlreadyExists: the name is taken; nothing was read.
        HypersdkError: it could not be uploaded; nothing is left of it.
    """
    from hypersdk.storage.protocol import PutCondition, PutOptions
    from hypersdk.transfer.flows.streams import upload_stream
    from hypersdk.transfer.uploads.sending import look

    with Wiring(config or load_config(), Waiter(stop=stop or StopFlag()), monitor) as wiring:
        to = _object_of(address)
        store = wiring.store(to)
        if not overwrite:
            with suppress(errors.AuthError):  # a link that may only write: the condition of the write decides
                if look(store, to.ref, wiring.retrier) is not None:
                    raise errors.AlreadyExists(f"the name is taken: {to}", resource=str(to))
        put = PutOptions(PutCondition(if_absent=not overwrite))
        return upload_stream(file, store, to.ref, put=put, **wiring.moving(progress))


def download_stream(
    address: str,
    file: Writable,
    config: Config | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    stop: StopFlag | None = None,
    monitor: NetworkMonitor | None = None,
) -> tuple[Checksum, ...]:
    """Write all bytes of an object to a file object, in order, read by several requests at once, in bounded memory.

    Args:
        address: "oci://namespace/bucket/name", a pre-authenticated request, "https://host/path?query", or a path.
        file: open for writing bytes: a pipe, a socket's file, anything with `write`. It is flushed, not closed.
        config: None = loaded as the command does.
        progress: `progress(done, total)` in bytes.
        stop: ends the download.
        monitor: knows whether the network is down; None = our own.

    Returns:
        The checksums of the bytes that were written, compared with the service's.

    Raises:
        VerificationError: the bytes are not those that the service vouches for; the last of them were not written.
        BrokenPipeError: nobody reads any more.
        HypersdkError: it could not be read whole; what was written is its start.
    """
    from hypersdk.transfer.flows.streams import download_stream

    with Wiring(config or load_config(), Waiter(stop=stop or StopFlag()), monitor) as wiring:
        source = _object_of(address)
        store = wiring.store(source)
        info = wiring.retrier.call(f"look at {source}", lambda: store.head(source.ref))
        return download_stream(store, info, file, **wiring.moving(progress))


def _object_of(text: str) -> url.Address:
    address = url.parse(text)
    if address.ref.scheme not in {"http", "https"} and not address.ref.name:
        raise errors.UsageError(f"not the address of an object: {address}", resource=str(address), hint=url.OCI_FORMS)
    return address


def plan_export(
    instance_id: str,
    options: ExportOptions | None = None,
    config: Config | None = None,
    *,
    stop: StopFlag | None = None,
    monitor: NetworkMonitor | None = None,
) -> ExportPlan:
    """Plan an export; nothing is created.

    Args:
        instance_id: OCID, or exact name.
        options: how; None = the defaults.
        config: None = loaded as the command does.
        stop: ends every wait.
        monitor: knows whether the network is down; None = our own.

    Raises:
        HypersdkError: the instance cannot be found, or the options cannot work.
    """
    from hypersdk.exports.api import plan_export
    from hypersdk.exports.options import ExportOptions

    options = options or ExportOptions()
    with Wiring(config or load_config(), Waiter(stop=stop or StopFlag()), monitor) as wiring:
        rooms = wiring.export_rooms
        return plan_export(rooms, wiring.find_instance(instance_id), options, wiring.surroundings(options))


def export_instance(
    instance_id: str,
    options: ExportOptions | None = None,
    config: Config | None = None,
    *,
    reporter: events.Reporter | None = None,
    stop: StopFlag | None = None,
    monitor: NetworkMonitor | None = None,
) -> ExportResult:
    """Take an instance out of the cloud into verified disks; the same call resumes an unfinished export.

    Args:
        instance_id: OCID, or exact name.
        options: how; None = the defaults.
        config: None = loaded as the command does.
        reporter: told what happens; None = that of the options.
        stop: ends the export cleanly; the same call resumes it.
        monitor: knows whether the network is down; None = our own.

    Raises:
        HypersdkError: how it ended, if not well; `__notes__` say what stays in the tenancy.
    """
    from hypersdk.exports.api import export
    from hypersdk.exports.options import ExportOptions

    options = options or ExportOptions()
    waiter = Waiter(stop=stop or StopFlag(), report=reporter or options.progress_reporter or events.null_reporter)
    with Wiring(config or load_config(), waiter, monitor) as wiring:
        rooms = wiring.export_rooms
        return export(rooms, wiring.find_instance(instance_id), options, wiring.surroundings(options))
