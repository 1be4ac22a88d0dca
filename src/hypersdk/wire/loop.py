"""Bodies by libcurl's multi interface: one loop, many connections, in the caller's thread.

Rules of this file: nothing is retried here and nothing waits longer than the caller allows; each submitted request ends
as exactly one completion, or is abandoned; a connection whose body was not read to its end is closed, never pooled
(libcurl does so for every transfer that is aborted or removed half-way). One `Wire` belongs to one thread at a time.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from hypersdk import errors
from hypersdk.bandwidth import Bucket
from hypersdk.governor import Governors
from hypersdk.model import ConnectionSettings
from hypersdk.network import NetworkMonitor
from hypersdk.wire import replies
from hypersdk.wire.exchange import Exchange, Sink
from hypersdk.wire.request import Body, Explain, Reply, Request

if TYPE_CHECKING:
    from types import ModuleType

SMALL_BODY = 16 * 1024 * 1024
"""Most bytes of a reply that is kept in memory."""


_WATCHED = object()
"""Marks descriptors in the selector that are no connections."""


@dataclass(frozen=True, slots=True)
class Completion:
    """How one request ended: exactly one of `reply` and `error` is set.

    Attributes:
        token: as it was submitted.
        reply: a good reply.
        error: why there is none.
        endpoint: origin of the server that answered or failed.
        waited: seconds from the request's end to the first byte of its answer; None = there was none.
    """

    token: Hashable
    reply: Reply | None
    error: errors.HypersdkError | None
    endpoint: str = ""
    waited: float | None = None


class Wire:
    """Sends requests and moves their bodies. `governor` says how many should be in flight where; callers heed it.

    Args:
        connection: proxy, CA bundle, timeouts.
        connections: connections that are kept alive for reuse, and the most that `governor` ever allows.
        explain: turns refusals by the service into errors; None = by HTTP status alone.
        tick: called at least every second while `call` waits: heartbeats, and the stop flag, which ends the call.
        bucket: the bandwidth limit; None = none.
        monitor: knows which connections cannot have survived; None = nobody does.
    """

    def __init__(
        self,
        connection: ConnectionSettings,
        *,
        connections: int = 8,
        explain: Explain | None = None,
        tick: Callable[[], None] = lambda: None,
        bucket: Bucket | None = None,
        monitor: NetworkMonitor | None = None,
    ) -> None:
        self._connection = connection
        self._connections = connections
        self.governor = Governors(connections)
        self._explain = explain or replies.explain_plainly
        self._tick = tick
        self._bucket = bucket
        self._monitor = monitor or NetworkMonitor(None)
        self._moved: dict[str, int] = {}  # by endpoint, of requests that have ended
        self._received = 0
        self._told = 0
        self._multi: Any = None
        self._selector: selectors.BaseSelector | None = None
        self._timer: float | None = None
        self._idle: list[Any] = []
        self._flying: dict[Hashable, tuple[Any, Exchange]] = {}
        self._tokens: dict[Any, Hashable] = {}
        self._fed: dict[Hashable, Hashable] = {}
        self._resumed: list[Hashable] = []
        self._hurried = False
        self._done: list[Completion] = []

    @property
    def moved(self) -> int:
        """Bytes of bodies that moved since the start, both ways."""
        return sum(self._moved.values()) + sum(exchange.moved for _, exchange in self._flying.values())

    @property
    def received(self) -> int:
        """Bytes of bodies that came since the start."""
        return self._received + sum(exchange.received for _, exchange in self._flying.values())

    def moved_at(self, endpoint: str) -> int:
        """The same for one server."""
        flying = (exchange.moved for _, exchange in self._flying.values() if exchange.endpoint == endpoint)
        return self._moved.get(endpoint, 0) + sum(flying)

    @property
    def limited(self) -> bool:
        """Whether a bandwidth limit is in force."""
        return self._bucket is not None and self._bucket.rate() is not None

    def endpoints(self, token: Hashable) -> set[str]:
        """Origins that a request in flight speaks to; two, if another one feeds it."""
        both = (token, self._fed.get(token))
        return {self._flying[each][1].endpoint for each in both if each in self._flying}

    def paused(self, token: Hashable) -> bool:
        """Whether a request in flight waits for our side: its sink has no room, or its body nothing to send."""
        return token not in self._fed and token in self._flying and self._flying[token][1].paused

    def submit(
        self,
        request: Request,
        *,
        sink: Sink | None = None,
        body: Body | None = None,
        token: Hashable,
        limit: int = SMALL_BODY,
        feeds: Hashable = None,
    ) -> None:
        """Begin a request.

        Args:
            request: what to ask; signed here and now.
            sink: takes the reply's body, only if its head is good; an exception of our tree aborts the request and
                becomes its error, any other is raised from `completed`. None = the body is kept in `Reply.body`.
            body: what to send.
            token: names the request in its completion; must not be in flight already.
            limit: most bytes kept when there is no sink.
            feeds: token of the request in flight that sends on what this one receives. The two end as one completion,
                that of the fed one: it fails with this one's error, and when it ends this one is dropped.
        """
        from hypersdk.wire import handles, survival

        assert token not in self._flying, f"token {token!r} is in flight"
        multi, pycurl = self._start()
        exchange = Exchange(request, sink, body, limit, self._explain)
        headers = dict(request.headers)
        if request.sign is not None:
            headers = dict(request.sign(request.method, request.url.reveal(), headers))
        handle = self._idle.pop() if self._idle else pycurl.Curl()
        handles.set_connection(handle, self._connection, request.url.reveal())
        handles.set_exchange(handle, exchange, headers)
        survival.pass_over_dead(handle, self._monitor)
        multi.add_handle(handle)
        self._flying[token] = (handle, exchange)
        self._tokens[handle] = token
        if feeds is not None:
            self._fed[feeds] = token

    def resume(self, token: Hashable) -> None:
        """Go on with a request whose sink had no room, or whose body had nothing to send. Others are not touched.

        Callbacks of libcurl may call it, so nothing is called back before the next turn.
        """
        self._resumed.append(token)

    @property
    def descriptor(self) -> int | None:
        """Can be read when `completed` has something to do, timers apart; None = this system has no such thing."""
        self._start()
        number: Callable[[], int] | None = getattr(self._selector, "fileno", None)
        return number() if number is not None else None

    def twin(self) -> Wire:
        """Another wire with the same settings and bandwidth limit, for one request that goes on beside a loop."""
        return Wire(
            self._connection,
            connections=1,
            explain=self._explain,
            tick=self._tick,
            bucket=self._bucket,
            monitor=self._monitor,
        )

    def hurry(self) -> None:
        """Have the next `completed` move what can be moved at once, and return: there is other work to do."""
        self._hurried = True

    def watch(self, descriptor: int) -> None:
        """Have `completed` return as soon as a descriptor (a pipe, a socket, a terminal) can be read; once."""
        self._start()
        assert self._selector is not None
        if descriptor not in self._selector.get_map():
            with suppress(PermissionError):  # some devices can be read at any time, and not be watched
                self._selector.register(descriptor, selectors.EVENT_READ, _WATCHED)

    def unwatch(self, descriptor: int) -> None:
        """Watch a descriptor no more; to be called before it is closed. Unwatched ones are fine."""
        key = self._selector.get_map().get(descriptor) if self._selector is not None else None
        if key is not None and key.data is _WATCHED:
            assert self._selector is not None
            self._selector.unregister(descriptor)

    def completed(self, timeout: float) -> list[Completion]:
        """Move bytes until a request ends.

        Args:
            timeout: longest time in seconds; 0 = move what can be moved at once.

        Returns:
            All requests that ended; empty after the timeout, or at once when none is in flight.
        """
        deadline = time.monotonic() + (0.0 if self._hurried else timeout)
        while not self._done and self._flying:
            self._turn(max(0.0, deadline - time.monotonic()))
            if self._hurried or time.monotonic() >= deadline:
                break
        self._hurried = False
        done, self._done = self._done, []
        return done

    def call(
        self, request: Request, body: Body | None = None, limit: int = SMALL_BODY, *, to_the_end: bool = False
    ) -> Reply:
        """Send one request and wait for its reply; requests in flight move on meanwhile.

        Args:
            request: what to ask.
            body: what to send.
            limit: most bytes of the reply.
            to_the_end: nobody can stop it; for clean-ups, which come when somebody has asked to stop.

        Raises:
            HypersdkError: no good reply came.
            Stopped: somebody asked to stop; the connection is dropped.
        """
        from hypersdk.wire import survival

        token = object()
        self.submit(request, body=body, token=token, limit=limit)
        silence = survival.Silence(self._monitor, time.monotonic())
        try:
            while token in self._flying:
                if not to_the_end:
                    self._tick()
                self._turn(0.5)
                if token in self._flying:
                    silence.check(self._flying[token][1], time.monotonic())
        except BaseException:
            self.abandon(token)
            raise
        mine = next(completion for completion in self._done if completion.token is token)
        self._done.remove(mine)
        if mine.error:
            raise mine.error
        assert mine.reply is not None
        return mine.reply

    def abandon(self, token: Hashable) -> None:
        """Drop a request; its connection is closed, no completion comes. Unknown tokens are fine."""
        if token in self._flying and self._flying[token][1].source is not None:
            from hypersdk.wire import survival

            survival.take_back(self._flying[token][0])
        self._drop(token)
        self._done = [completion for completion in self._done if completion.token != token]

    def close(self) -> None:
        """Drop everything in flight and close all connections."""
        for token in list(self._flying):
            self.abandon(token)
        for handle in self._idle:
            handle.close()
        self._idle.clear()
        if self._multi is not None:
            self._multi.close()
            self._multi = None
        if self._selector is not None:
            self._selector.close()
            self._selector = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> tuple[Any, ModuleType]:
        # Imported at the first request: commands that move nothing never load libcurl.
        import pycurl

        if self._multi is None:
            self._selector = selectors.DefaultSelector()
            self._multi = pycurl.CurlMulti()
            # Twice, because a part that is relayed holds one connection to each side.
            self._multi.setopt(pycurl.M_MAXCONNECTS, 2 * self._connections)
            self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_NOTHING)
            self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
            self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        return self._multi, pycurl

    def _on_socket(self, what: int, descriptor: int, _multi: Any, _data: Any) -> None:
        # `what` is CURL_POLL_IN 1, OUT 2, INOUT 3, REMOVE 4: the first two are the bits of selectors' events.
        selector = self._selector
        assert selector is not None
        known = descriptor in selector.get_map()
        if what not in {1, 2, 3}:
            if known:
                selector.unregister(descriptor)
        elif known:
            selector.modify(descriptor, what)
        else:
            selector.register(descriptor, what)

    def _on_timer(self, milliseconds: int) -> None:
        self._timer = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000

    def _turn(self, timeout: float) -> None:
        multi, pycurl = self._start()
        assert self._selector is not None
        self._wake(pycurl)
        if self._timer is not None:
            timeout = min(timeout, max(0.0, self._timer - time.monotonic()))
        if owed := self._owed():
            assert self._bucket is not None
            self._bucket.rest(min(owed, timeout))
            if owed > timeout:
                return
            timeout = 0.0
        for key, events in self._selector.select(timeout):
            if key.data is _WATCHED:
                self._selector.unregister(key.fd)
                self._hurried = True
                continue
            # EVENT_READ 1 and EVENT_WRITE 2 are CURL_CSELECT_IN and CURL_CSELECT_OUT.
            multi.socket_action(key.fd, events)
            if self._owed():
                break  # the other connections wait too: a turn of many would be a burst
        if self._timer is not None and time.monotonic() >= self._timer:
            self._timer = None
            multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._harvest(multi)

    def _wake(self, pycurl: ModuleType) -> None:
        resumed, self._resumed = self._resumed, []
        for token in dict.fromkeys(resumed):
            if token not in self._flying:
                continue
            handle, exchange = self._flying[token]
            exchange.paused = False
            try:
                handle.pause(pycurl.PAUSE_CONT)  # calls back at once with what was refused
            except pycurl.error as error:
                self._finish(handle, *error.args)

    def _owed(self) -> float:
        """Seconds to wait for the bandwidth limit before more may move."""
        if self._bucket is None:
            return 0.0
        moved = self.moved
        self._told, news = moved, moved - self._told
        return self._bucket.took(news)

    def _harvest(self, multi: Any) -> None:
        queued = 1
        while queued:
            queued, good, bad = multi.info_read()
            for handle in good:
                self._finish(handle, 0, "")
            for handle, code, text in bad:
                self._finish(handle, code, text)

    def _finish(self, handle: Any, code: int, text: str) -> None:
        from hypersdk.wire import handles

        if handle not in self._tokens:
            return  # it was dropped since libcurl told of its end
        token = self._tokens[handle]
        _, exchange = self._flying[token]
        failure = handles.failure_of(handle, exchange, self._connection, code, text) if code else None
        waited = handles.first_byte_after(handle) if exchange.source is None else None
        fed = next((fed for fed, feeder in self._fed.items() if feeder == token), None)
        self._drop(token)
        if exchange.crash is not None:
            raise exchange.crash
        try:
            reply = exchange.outcome(failure)
        except errors.HypersdkError as error:
            if fed is not None:
                self._drop(fed)
            self._done.append(Completion(token if fed is None else fed, None, error, exchange.endpoint, waited))
        else:
            if fed is None:
                self._done.append(Completion(token, reply, None, exchange.endpoint, waited))

    def _drop(self, token: Hashable) -> None:
        """Have a request, and what feeds it, in flight no more."""
        for each in (token, self._fed.pop(token, None)):
            if each is not None and each in self._flying:
                self._retire(self._flying[each][0])

    def _retire(self, handle: Any) -> None:
        token = self._tokens.pop(handle)
        exchange = self._flying.pop(token)[1]
        self._moved[exchange.endpoint] = self._moved.get(exchange.endpoint, 0) + exchange.moved
        self._received += exchange.received
        self._multi.remove_handle(handle)
        handle.reset()
        self._idle.append(handle)
