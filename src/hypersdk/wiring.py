"""The one file that knows every concrete backend and provider, and joins them with settings, retry and waiting."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypedDict

from hypersdk import errors, events
from hypersdk.bandwidth import Bucket, minute_of_week
from hypersdk.config import Config
from hypersdk.network import NetworkMonitor
from hypersdk.retry import Call, Retrier
from hypersdk.storage import url
from hypersdk.storage.protocol import Store
from hypersdk.waiting import Waiter

if TYPE_CHECKING:
    from hypersdk.exports.context import ExportRooms
    from hypersdk.exports.options import ExportOptions
    from hypersdk.exports.plan import Surroundings
    from hypersdk.fleet.sharing import Shared
    from hypersdk.model import Instance
    from hypersdk.providers.protocol import Provider
    from hypersdk.runs.store import RunStore
    from hypersdk.storage.backends.oci import OciStore
    from hypersdk.storage.backends.web import WebStore
    from hypersdk.storage.protocol import PutOptions
    from hypersdk.transfer.copies.copyplan import CopyPlan, Wish
    from hypersdk.transfer.copies.items import Means
    from hypersdk.transfer.options import TransferOptions
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
        self._elsewhere: dict[str, Wiring] = {}
        self._home: Wiring | None = None
        self._twin: Wiring | None = None  # the same credentials and region, of another thread
        self.shared: Shared | None = None
        self.command = "a program"
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
        from hypersdk.vendors.oci.login import Login, signing_in
        from hypersdk.vendors.oci.session import open_session

        # Nothing is known of the network yet: a principal's first requests are repeated, not waited for.
        first = Retrier(self.config.retry, self.waiter, NetworkMonitor(None))
        again = self.config.again
        settings = None if again is None else lambda: again().oci
        call: Call = first.call
        standing = None
        if self._twin is not None:
            call, standing = signing_in(Login(self._twin.session), first), self._twin.session.standing
        session = open_session(self.config.oci, call=call, again=settings, standing=standing)
        self.retrier.login = login = Login(session, self.waiter.report)
        self.waiter.hooks.append(login.remind)
        self._cleanup.callback(self.waiter.hooks.remove, login.remind)
        return session

    @cached_property
    def monitor(self) -> NetworkMonitor:
        """Watches the endpoints in use, through the same proxy and authorities."""
        monitor = self._monitor
        if monitor is None:
            monitor = NetworkMonitor(clock=self.waiter.clock) if self.config.network_monitor else NetworkMonitor(None)
            self._cleanup.callback(monitor.close)
        own = monitor.over(self._endpoints)
        if own is not monitor:
            self._cleanup.callback(own.close)
        # Whoever waits or works ticks: so it notices what happened meanwhile.
        self.waiter.hooks.append(own.tick)
        self._cleanup.callback(self.waiter.hooks.remove, own.tick)
        return own

    def _endpoints(self) -> dict[str, Callable[[], str | None]]:
        """Every endpoint in use, by the name that people see, and who asks it."""
        from hypersdk.wire.probe import ask, name_of

        places = {place for web in self._webs.values() for place in web.endpoints}
        # A region that is a slip of a known one has no host: nobody should wait for that network to come up.
        if "session" in self.__dict__ and not self.session.explain_unreachable():
            places.add(self.session.object_storage_url)
        connection = self.config.oci.connection
        return {name_of(connection, place): partial(ask, connection, place) for place in places}

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

        shared = self._home.shared if self._home is not None else None
        wire = Wire(
            self.config.oci.connection,
            connections=self.config.transfer.parallel,
            tick=self.waiter.tick,
            bucket=shared.bucket if shared else self._bucket(),
            monitor=self.monitor,
        )
        if shared is not None:
            wire.governor = shared.governors(self.config.transfer.parallel)
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
        """The run store; once it is open, our waiter waits while it cannot be reached.

        Raises:
            ConfigError: it cannot be used.
        """
        if self._home is not None:
            return self._home.runs.patient(self.waiter)
        import platform

        from hypersdk.runs.store import RunStore
        from hypersdk.version import __version__

        runs = RunStore(self.config.state, host=platform.node(), version=__version__)
        self._cleanup.callback(runs.close)
        return runs.patient(self.waiter)

    def in_region(self, region: str) -> Wiring:
        """The same account in another region: with rooms of its own, and our run store, waiter and monitor.

        Args:
            region: full name; our own region gives these rooms.
        """
        if region in {"", self.session.region}:
            return self
        if region not in self._elsewhere:
            config = replace(self.config, oci=replace(self.config.oci, region=region))
            other = Wiring(config, self.waiter, self.monitor)
            other._home = self
            other.command = self.command
            self._cleanup.callback(other.close)
            self._elsewhere[region] = other
        return self._elsewhere[region]

    def apart(self, region: str, waiter: Waiter) -> Wiring:
        """The same account for another thread: connections of its own.

        Run store, monitor, bandwidth, and who asked to slow down are shared.

        Args:
            region: one that `in_region` has been asked for already, by the thread that owns these rooms.
            waiter: of that thread.
        """
        home = self.in_region(region)
        other = Wiring(home.config, waiter, home.monitor)
        other._home, other._twin, other.command = self, home, self.command
        return other

    def share(self) -> None:
        """Make what threads with rooms `apart` keep to together: one rate, one monitor, and who asked to slow down."""
        from hypersdk.fleet.sharing import Shared

        self.monitor  # noqa: B018 - the property makes it
        self.shared = self.shared or Shared(self._bucket())

    @cached_property
    def export_rooms(self) -> ExportRooms:
        """What an export needs; an unusable run store is noticed before the first call to the cloud."""
        from hypersdk.exports.context import ExportRooms

        runs = self.runs
        return ExportRooms(
            self.provider,
            self.oci_store,
            self.wire,
            runs,
            self.retrier,
            self.config.transfer,
            logs=None if self.config.logs is None else Path(self.config.logs),
            command=self.command,
            limits=self.config.limits,
        )

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
        from hypersdk.transfer.copies.copyplan import plan_copy
        from hypersdk.transfer.copies.items import Means

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
