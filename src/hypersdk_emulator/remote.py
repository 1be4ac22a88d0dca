"""The control calls from a test's side. Standard library only: whoever tests with the emulator loads nothing else."""

import http.client
import json
import ssl
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

CALL_SECONDS = 30
OUTAGE_SECONDS = 90
"""A declared outage refuses control calls, too; they wait for its end, but not longer than this."""
_RETRY_SECONDS = 0.02


class ControlRefused(Exception):
    """A control call was refused; the text is the emulator's."""


class Remote:
    """Steers a running emulator.

    Args:
        endpoint: its URL, as it printed it.
        token: of its control calls, as it printed it.
        ca: file of its certificate authority if it serves TLS.
        alive: says whether its process still runs.
    """

    def __init__(
        self, endpoint: str, token: str, ca: Path | None = None, alive: Callable[[], bool] = lambda: True
    ) -> None:
        self.endpoint = endpoint
        self._token = token
        self._ca = ca
        self._alive = alive
        self._optional: set[str] = set()

    def control(self, method: str, what: str, body: Any = None) -> Any:
        """One control call; returns its JSON.

        Args:
            method: HTTP method.
            what: what follows `/_emulator/`.
            body: sent as JSON; None = no body.

        Raises:
            ControlRefused: the emulator did not like it.
            ConnectionError: there is no emulator.
        """
        end = time.monotonic() + OUTAGE_SECONDS
        while True:
            try:
                return self._control(method, what, None if body is None else json.dumps(body).encode())
            except ConnectionRefusedError:
                if not self._alive() or time.monotonic() > end:
                    raise
                time.sleep(_RETRY_SECONDS)

    def _control(self, method: str, what: str, data: bytes | None) -> Any:
        connection = self._connect()
        try:
            headers = {"authorization": f"Bearer {self._token}", "content-type": "application/json"}
            connection.request(method, f"/_emulator/{what}", data, headers)
            reply = connection.getresponse()
            found = json.loads(reply.read() or b"null")
        finally:
            connection.close()
        if reply.status != http.client.OK:
            raise ControlRefused(f"{method} {what}: {reply.status} {found['message']}")
        return found

    def _connect(self) -> http.client.HTTPConnection:
        at = urllib.parse.urlsplit(self.endpoint)
        if at.scheme == "https":
            context = ssl.create_default_context(cafile=str(self._ca))
            return http.client.HTTPSConnection(at.hostname or "", at.port, timeout=CALL_SECONDS, context=context)
        return http.client.HTTPConnection(at.hostname or "", at.port, timeout=CALL_SECONDS)

    def seed(self, value: Any) -> None:
        """Add compartments, users, buckets, objects, instances and what else a seed may hold."""
        self.control("PUT", "seed", value)

    def reset(self) -> None:
        """Empty the cloud."""
        self.control("POST", "reset")
        self._optional.clear()

    def fault(self, operation: str, effect: str, *, optional: bool = False, **fields: Any) -> Any:
        """Declare a fault.

        Args:
            operation: the call that it hits, by the SDK's name in camel case, or `*`.
            effect: what it does.
            optional: it need not hit: `unconsumed` does not name it.
            fields: further fields of matcher and effect, as documented.

        Returns:
            The fault with its `id`.

        Raises:
            ControlRefused: there is no such fault; the text says what is wrong with it.
        """
        made = self.control("POST", "faults", {"operation": operation, "effect": effect, **fields})
        if optional:
            self._optional.add(made["id"])
        return made

    def faults(self) -> list[dict[str, Any]]:
        """The declared faults with what became of them."""
        found: list[dict[str, Any]] = self.control("GET", "faults")["faults"]
        return found

    def unconsumed(self) -> list[dict[str, Any]]:
        """Faults that did not hit, or not as often as declared."""
        return [fault for fault in self.faults() if fault["unconsumed"] and fault["id"] not in self._optional]

    def drop_faults(self) -> None:
        """Forget all faults and let go what they hold."""
        self.control("DELETE", "faults")

    def release(self, fault_id: str | None = None) -> int:
        """Let the calls go on that this fault holds (None: any fault); returns how many."""
        return int(self.control("POST", "release", {"all": True} if fault_id is None else {"id": fault_id})["released"])

    def advance(self, seconds: float) -> None:
        """Move the virtual clock forward."""
        self.control("POST", "clock", {"advanceSeconds": seconds})

    def log(self, **filters: Any) -> list[dict[str, Any]]:
        """The requests that have come, control calls left out; filters as in `GET /_emulator/log`."""
        query = "?" + urllib.parse.urlencode(filters) if filters else ""
        found: list[dict[str, Any]] = self.control("GET", f"log{query}")["requests"]
        return found

    def leftovers(self) -> dict[str, list[dict[str, Any]]]:
        """What is left of exports, by kind; empty lists if nothing is."""
        found: dict[str, list[dict[str, Any]]] = self.control("GET", "leftovers")
        return found
