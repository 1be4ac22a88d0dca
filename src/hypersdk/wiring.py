"""The one file that knows every concrete backend and provider, and joins them with settings, retry and waiting."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from hypersdk import errors
from hypersdk.config import Config
from hypersdk.model import ObjectRef
from hypersdk.network import NetworkMonitor
from hypersdk.retry import Retrier
from hypersdk.storage import url
from hypersdk.storage.protocol import Store
from hypersdk.waiting import Waiter

if TYPE_CHECKING:
    from hypersdk.providers.protocol import Provider
    from hypersdk.storage.backends.oci import OciStore
    from hypersdk.vendors.oci.session import OciSession
    from hypersdk.wire.loop import Wire
    from hypersdk.wire.request import Request


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
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()
        if "session" in self.__dict__:
            self._advise(error)

    def _advise(self, error: BaseException | None) -> None:
        """Put into the hint what only a session knows: clock skew, an expired token, a mistyped region."""
        if isinstance(error, errors.NotAuthenticated):
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
        """
        from hypersdk.vendors.oci.session import open_session

        return open_session(self.config.oci)

    @cached_property
    def monitor(self) -> NetworkMonitor:
        """Watches the endpoint in use, through the same proxy and authorities."""
        if self._monitor is not None:
            return self._monitor
        session = self.session
        # A region that is a slip of a known one has no host: nobody should wait for that network to come up.
        if not self.config.network_monitor or session.explain_unreachable():
            return NetworkMonitor(None)
        from hypersdk.wire.probe import probe

        return NetworkMonitor(lambda: probe(session.connection, session.object_storage_url), clock=self.waiter.clock)

    @cached_property
    def retrier(self) -> Retrier:
        """Runs every control call."""
        return Retrier(self.config.retry, self.waiter, self.monitor, refresh=self.session.refresh)

    @cached_property
    def wire(self) -> Wire:
        """Moves every body."""
        from hypersdk.wire.loop import Wire

        wire = Wire(self.config.oci.connection, connections=self.config.transfer.parallel, explain=_explain_oci)
        self._cleanup.callback(wire.close)
        return wire

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

    def store(self, ref: ObjectRef) -> Store:
        """The store of an address.

        Raises:
            UsageError: no store speaks this scheme.
        """
        if ref.scheme == "oci":
            return self.oci_store
        if ref.scheme == "file":
            from hypersdk.storage.backends.file import FileStore

            return FileStore(self.waiter.report)
        raise errors.UsageError(f"no store for {ref.scheme}:// addresses", resource=str(ref), hint=url.OCI_FORMS)


def _explain_oci(request: Request, status: int, headers: Mapping[str, str], body: bytes) -> errors.HypersdkError:
    from hypersdk.vendors.oci.errors import translate_reply

    return translate_reply(status, headers, body, resource=request.resource, what=request.method)
