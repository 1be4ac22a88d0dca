"""The one file that knows every concrete backend and provider, and joins them with settings, retry and waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypedDict

from hypersdk import errors, events
from hypersdk.bandwidth import Bucket, minute_of_week
from hypersdk.config import Config, load_config
from hypersdk.model import Checksum, ObjectInfo, Proof
from hypersdk.network import NetworkMonitor
from hypersdk.retry import Retrier
from hypersdk.storage import url
from hypersdk.storage.protocol import Store
from hypersdk.waiting import StopFlag, Waiter

if TYPE_CHECKING:
    from hypersdk.exports.context import ExportRooms
    from hypersdk.exports.options import ExportOptions
    from hypersdk.exports.plan import ExportPlan, Surroundings
    from hypersdk.exports.result import ExportResult
    from hypersdk.model import Instance
    from hypersdk.providers.protocol import Provider
    from hypersdk.runs.store import RunStore
    from hypersdk.storage.backends.oci import OciStore
    from hypersdk.storage.backends.web import WebStore
    from hypersdk.storage.protocol import PutOptions
    from hypersdk.transfer.copyplan import CopyPlan, Wish
    from hypersdk.transfer.inflow import Readable
    from hypersdk.transfer.items import Means, Outcome
    from hypersdk.transfer.options import TransferOptions
    from hypersdk.transfer.outflow import Writable
    from hypersdk.vendors.oci.session import OciSession
    from hypersdk.wire.loop import Wire

_WEB = ("https://", "http://")


class _Moving(TypedDict):
    wire: Wire
    retrier: Retrier
    options: TransferOptions
    advanced: Callable[[int, int], None]


class Wiring:
    """The rooms, joined for one configuration; each part is made when it is first used.

    Args:
        config: what the user wants.
        waiter: clock, stop flag and reporter of everything that waits.
        monitor: a network monitor to use instead of our own.
    """

    def __init__(self, config: Config, waiter: Waiter, monitor: NetworkMonitor | None = None) -> None:
        self.config = config
        self.waiter = waiter
        self._monitor = monitor
        self._webs: dict[url.Address, WebStore] = {}
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()
        self.advise(error)

    def advise(self, error: BaseException | None) -> None:
        """Put into the hint what only a session knows: clock skew, an expired token, a mistyped region."""
        if "session" not in self.__dict__:
            return
        if isinstance(error, errors.NotAuthenticated) and not (error.resource or "").startswith(_WEB):
            error.hint = self.session.explain_not_authenticated()
        elif isinstance(error, errors.EndpointUnreachable):
            error.hint = self.session.explain_unreachable() or error.hint

    def close(self) -> None:
        """Close every connection."""
        self._cleanup.close()

    @cached_property
    def session(self) -> OciSession:
        """Signed in to Oracle Cloud.

        Raises:
            ConfigError: the settings cannot work.
            AuthError: the credentials cannot be used.
            PassingError: a principal's token could not be had.
        """
        from hypersdk.vendors.oci.session import open_session

        # Nothing is known of the network yet: a principal's first requests are repeated, not waited for.
        first = Retrier(self.config.retry, self.waiter, NetworkMonitor(None))
        return open_session(self.config.oci, call=first.call)

    @cached_property
    def monitor(self) -> NetworkMonitor:
        """Watches the endpoints in use, through the same proxy and authorities."""
        if self._monitor is not None:
            return self._monitor
        return NetworkMonitor(self._reachable if self.config.network_monitor else None, clock=self.waiter.clock)

    def _reachable(self) -> bool:
        """Whether every endpoint in use answers."""
        from hypersdk.wire.probe import probe

        endpoints = {place for web in self._webs.values() for place in web.endpoints}
        # A region that is a slip of a known one has no host: nobody should wait for that network to come up.
        if "session" in self.__dict__ and not self.session.explain_unreachable():
            endpoints.add(self.session.object_storage_url)
        return all(probe(self.config.oci.connection, place) for place in endpoints)

    @cached_property
    def retrier(self) -> Retrier:
        """Runs every control call."""
        return Retrier(self.config.retry, self.waiter, self.monitor, refresh=self._refresh)

    def _refresh(self) -> bool:
        """Get other credentials, and follow redirects anew, of all that take part."""
        refreshes = [web.refresh for web in self._webs.values()]
        if "session" in self.__dict__:
            refreshes.append(self.session.refresh)
        refreshed = [refresh() for refresh in refreshes]
        return any(refreshed)

    @cached_property
    def wire(self) -> Wire:
        """Moves every body."""
        from hypersdk.wire.loop import Wire

        wire = Wire(
            self.config.oci.connection,
            connections=self.config.transfer.parallel,
            tick=self.waiter.tick,
            bucket=self._bucket(),
        )
        self._cleanup.callback(wire.close)
        return wire

    def _bucket(self) -> Bucket | None:
        timetable, waiter = self.config.transfer.bandwidth, self.waiter
        if timetable is None:
            return None

        def rate() -> int | None:
            return timetable.at(minute_of_week(datetime.now().astimezone()))

        return Bucket(rate, waiter.clock, waiter.stop.wait)

    @cached_property
    def provider(self) -> Provider:
        """The cloud that owns the instances."""
        from hypersdk.providers.oci import OciProvider

        return OciProvider(self.session, call=self.retrier.call)

    @cached_property
    def oci_store(self) -> OciStore:
        """Object Storage of the same credentials."""
        from hypersdk.storage.backends.oci import OciStore

        return OciStore(self.session, self.wire, call=self.retrier.call)

    @cached_property
    def runs(self) -> RunStore:
        """The run store.

        Raises:
            ConfigError: it cannot be used.
        """
        import platform

        from hypersdk import __version__
        from hypersdk.runs.store import RunStore

        runs = RunStore(self.config.state, host=platform.node(), version=__version__)
        self._cleanup.callback(runs.close)
        return runs

    @cached_property
    def export_rooms(self) -> ExportRooms:
        """What an export needs; an unusable run store is noticed before the first call to the cloud."""
        from hypersdk.exports.context import ExportRooms

        runs = self.runs
        return ExportRooms(self.provider, self.oci_store, self.wire, runs, self.retrier, self.config.transfer)

    def find_instance(self, wanted: str) -> Instance:
        """The instance of this OCID or exact name."""
        from hypersdk.providers.lookup import find_instance

        return find_instance(self.provider, self.retrier, wanted, self.config.oci.compartment_ocid)

    def surroundings(self, options: ExportOptions) -> Surroundings:
        """Where a plan is made, as configured."""
        from hypersdk.exports.api import surroundings

        oci = self.config.oci
        return surroundings(self.export_rooms, options, bucket=oci.bucket, namespace=oci.namespace)

    def moving(self, progress: Callable[[int, int], None] | None) -> _Moving:
        """What every transfer takes: how bodies move, how calls are repeated, how they are cut, who watches."""
        from hypersdk.transfer.engine import unwatched

        return {
            "wire": self.wire,
            "retrier": self.retrier,
            "options": self.config.transfer,
            "advanced": progress or unwatched,
        }

    def plan_copy(
        self, wish: Wish, source: url.Address, target: url.Address, *, put: PutOptions, overwrite: bool
    ) -> tuple[CopyPlan, Means]:
        """What a copy will do, and what it takes; nothing is written.

        Args:
            wish: what is to be copied where.
            source: the address in it, as it was read.
            target: likewise.
            put: metadata and content type of what is written to a cloud.
            overwrite: replace what stands at a target with other bytes.

        Raises:
            HypersdkError: it cannot be, or the source cannot be listed to its end.
        """
        from hypersdk.transfer.copyplan import plan_copy
        from hypersdk.transfer.items import Means

        left_out: list[events.LeftOut] = []
        told = self.waiter.report

        def collect(event: events.Event) -> None:
            if isinstance(event, events.LeftOut):
                left_out.append(event)
            told(event)

        # A store keeps the reporter that it was made with.
        self.waiter.report = collect
        try:
            one = self.store(source)
        finally:
            self.waiter.report = told
        other = self.store(target)
        if put.metadata and not other.capabilities.metadata:
            raise errors.UsageError(f"no metadata can be kept there: {target}", resource=str(target))
        plan = plan_copy(wish, one, other, call=self.retrier.call, left_out=left_out)
        options, journal = self.config.transfer, self.config.uploads
        return plan, Means(one, other, self.wire, self.retrier, options, put, overwrite=overwrite, journal=journal)

    def store(self, address: url.Address) -> Store:
        """The store of an address, from `url.parse`; one that authorizes itself needs no credentials.

        Raises:
            UsageError: the address is at another endpoint of Oracle Cloud than ours.
        """
        if address.ref.scheme == "file":
            from hypersdk.storage.backends.file import FileStore

            return FileStore(self.waiter.report)
        if address.ref.scheme == "oci" and not address.token:
            self._demand_ours(address)
            return self.oci_store
        return self._web(address)

    def _demand_ours(self, address: url.Address) -> None:
        session = self.session
        same_region = address.region == session.region and not session.connection.endpoint
        if address.origin not in {"", session.object_storage_url} and not same_region:
            raise errors.UsageError(
                f"{address} is at another endpoint than ours, {session.object_storage_url}",
                resource=str(address),
                hint="choose it with --region or --endpoint",
            )

    def _web(self, address: url.Address) -> WebStore:
        from hypersdk.storage.backends.web import LinkStore, WebStore

        # One link reaches many objects, another address is its one object.
        key = replace(address, ref=replace(address.ref, name="")) if address.token else address
        if key not in self._webs:
            store = LinkStore if address.token else WebStore
            self._webs[key] = store(address, self.wire, self.retrier.call)
        return self._webs[key]


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
    from hypersdk.transfer.upload import upload

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
    from hypersdk.transfer.copyplan import Wish, carry_out
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
    from hypersdk.transfer.copyplan import Wish, carry_out
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
    from hypersdk.transfer.sending import look
    from hypersdk.transfer.streams import upload_stream

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
    from hypersdk.transfer.streams import download_stream

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
) -> ExportPlan:
    """Plan an export; nothing is created.

    Args:
        instance_id: OCID, or exact name.
        options: how; None = the defaults.
        config: None = loaded as the command does.
        stop: ends every wait.

    Raises:
        HypersdkError: the instance cannot be found, or the options cannot work.
    """
    from hypersdk.exports.api import plan_export
    from hypersdk.exports.options import ExportOptions

    options = options or ExportOptions()
    with Wiring(config or load_config(), Waiter(stop=stop or StopFlag())) as wiring:
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
