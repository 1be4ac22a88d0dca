"""A cloud and its users in network namespaces of their own, joined by cables that can be pulled.

A namespace belongs to a process that waits for the end of its standard input: when the test process ends, however it
ends, nothing is left: no namespace, no interface, no rule. Traffic never leaves the namespaces. Takes root.
"""

from __future__ import annotations

import copy
import ctypes
import json
import os
import re
import socket
import struct
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from emulator import RUNNING, Emulator, make_seed
from hyperexport import INSTALLED, Ended, Hyperexport

NEW_NETWORK = 0x40000000
"""CLONE_NEWNET; Python has `os.setns` only from 3.12 on."""

RATE = "24mbit"
"""What a cable carries each way, so that a transfer of a few MiB lasts for seconds."""

PATIENCE = 90.0
MOVES = 128 * 1024
"""Bytes on a cable that are more than packets sent again or a few questions: a transfer moves."""

_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace, with its loopback up."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n", "no network namespace could be made"
        self.pid = self._holder.pid

    def run(self, *command: str) -> str:
        """Run a command in it, which must work; returns what it prints."""
        whole = ["nsenter", f"--net=/proc/{self.pid}/ns/net", *command]
        done = subprocess.run(whole, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets and processes that this thread makes meanwhile are in it."""
        with Path("/proc/thread-self/ns/net").open() as home, Path(f"/proc/{self.pid}/ns/net").open() as here:
            _enter(here.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def close(self) -> None:
        """Give it up."""
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.wait(10)
        self._holder.stdout.close()


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "setns")


@dataclass
class Provider:
    """An emulator in a namespace, which any number of sites are joined to."""

    folder: Path
    space: Namespace = field(default_factory=Namespace)
    arguments: tuple[str, ...] = ()
    emulator: Emulator = field(init=False)
    _sites: int = 0

    def start(self, **seed: Any) -> Self:
        """Start the emulator, or start it again after `stop`."""
        if not self._sites and not hasattr(self, "emulator"):
            arguments = ("--host", "0.0.0.0", *self.arguments)
            self.emulator = Emulator(make_seed(self.folder / "seed", **seed), self.folder / "state", arguments)
        with self.space.inside():
            self.emulator.start()
        RUNNING.pop(id(self.emulator))  # what looks at every emulator after a test cannot reach this one
        # It listens everywhere; its controls are taken on loopback only.
        self.emulator.endpoint = self.emulator.endpoint.replace("0.0.0.0", "127.0.0.1")
        self.emulator.remote.endpoint = self.emulator.endpoint
        return self

    def restart(self, seconds: float = 0.0) -> None:
        """Kill the emulator, and start it again after a while."""
        self.emulator.kill()
        time.sleep(seconds)
        self.start()

    def close(self) -> None:
        """Stop it."""
        if self.emulator.process.poll() is None:
            self.emulator.kill()  # it would wait for answers to peers that are gone
        self.space.close()

    def put(self, name: str, body: bytes) -> str:
        """Store an object; returns its URL."""
        with self.space.inside():
            self.emulator.put("exports", name, body)
        return self.address(name)

    def address(self, name: str) -> str:
        """The URL of an object."""
        return f"oci://{self.emulator.namespace}/exports/{name}"

    def body(self, name: str) -> bytes:
        """What is stored."""
        with self.space.inside():
            return self.emulator.get("exports", name).body

    def asked(self, name: str, operation: str) -> list[dict[str, Any]]:
        """Requests about an object."""
        with self.space.inside():
            log = self.emulator.log(operation=operation)
        return [each for each in log if urllib.parse.unquote(each["path"].partition("?")[0]).endswith(f"/{name}")]

    def leftovers(self) -> dict[str, Any]:
        """Temporary things that nobody cleaned up."""
        with self.space.inside():
            return dict(self.emulator.control("GET", "leftovers"))

    def site(self, folder: Path) -> Site:
        """A new place from which the cloud is used."""
        self._sites += 1
        return Site(self, folder, self._sites)


class Site:
    """A namespace with a cable to the provider's, where commands run."""

    def __init__(self, provider: Provider, folder: Path, number: int) -> None:
        self.provider = provider
        self.space = Namespace()
        self.far = f"10.77.{number}.1"
        self.near = f"10.77.{number}.2"
        self.port = urllib.parse.urlsplit(provider.emulator.endpoint).port
        self._cable = f"site{number}"
        self._number = number
        self.folder = folder
        self._stack = ExitStack()
        self._stack.callback(self.space.close)
        folder.mkdir(exist_ok=True)
        here, there = self.space.run, provider.space.run
        here("ip", "link", "add", "eth0", "type", "veth", "peer", "name", self._cable, "netns", str(provider.space.pid))
        there("ip", "address", "add", f"{self.far}/24", "dev", self._cable)
        there("ip", "link", "set", self._cable, "up")
        here("ip", "address", "add", f"{self.near}/24", "dev", "eth0")
        here("ip", "link", "set", "eth0", "up")
        here("ip", "route", "add", "default", "via", self.far)
        shape = ("root", "tbf", "rate", RATE, "burst", "64k", "latency", "100ms")
        here("tc", "qdisc", "add", "dev", "eth0", *shape)
        there("tc", "qdisc", "add", "dev", self._cable, *shape)

    def close(self) -> None:
        """Give it up; its cable goes with it."""
        self._stack.close()

    # -- what can go wrong

    def plug(self, *, into: bool) -> None:
        """Pull the cable out at the far end, or plug it in."""
        self.provider.space.run("ip", "link", "set", self._cable, "up" if into else "down")

    def lose(self, *rules: str) -> None:
        """Lose packets without a word, by rules of nftables in the hook of that name.

        Args:
            rules: "input ..." or "output ...".
        """
        self.space.run("nft", "add", "table", "inet", "loss")
        for hook in ("input", "output"):
            chain = f"{{ type filter hook {hook} priority 0; }}"
            self.space.run("nft", "add", "chain", "inet", "loss", hook, chain)
        for rule in rules:
            self.space.run("nft", "add", "rule", "inet", "loss", *rule.split(), "drop")

    def lose_no_more(self) -> None:
        """Let everything pass again."""
        self.space.run("nft", "delete", "table", "inet", "loss")

    def take_another_address(self) -> None:
        """The address is replaced, as after moving to another network."""
        old, self.near = self.near, self.near[:-1] + "3"
        self.space.run("ip", "address", "delete", f"{old}/24", "dev", "eth0")
        self.space.run("ip", "address", "add", f"{self.near}/24", "dev", "eth0")
        self.space.run("ip", "route", "add", "default", "via", self.far)

    def route(self, *, there: bool) -> None:
        """Take away the ways to the provider, or lay them again."""
        network = f"10.77.{self._number}.0/24"
        if there:
            self.space.run("ip", "route", "add", network, "dev", "eth0", "src", self.near)
            self.space.run("ip", "route", "add", "default", "via", self.far)
        else:
            self.space.run("ip", "route", "delete", "default")
            self.space.run("ip", "route", "delete", network)

    # -- what is seen

    def carried(self) -> int:
        """Bytes that came and went through the cable, as the near end counts them."""
        told = json.loads(self.space.run("ip", "-json", "-statistics", "link", "show", "eth0"))[0]["stats64"]
        return int(told["rx"]["bytes"]) + int(told["tx"]["bytes"])

    def seconds_until_it_moves(self, since: int, *commands: Command) -> float:
        """Wait until the cable has carried `MOVES` more bytes than this; returns how long that took.

        Args:
            since: bytes that it had carried.
            commands: must run meanwhile.
        """
        began = time.monotonic()
        while self.carried() < since + MOVES:
            for each in commands:
                assert each.running(), f"it ended: {each.err}"
            assert time.monotonic() < began + PATIENCE, "it does not move again"
            time.sleep(0.05)
        return time.monotonic() - began

    # -- commands

    @property
    def endpoint(self) -> str:
        """The cloud as it is seen from here."""
        return f"http://{self.far}:{self.port}"

    def start(
        self,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        names: str | None = None,
        host: str | None = None,
        output: str = "command",
    ) -> Command:
        """Start the installed command here.

        Args:
            arguments: of `hyperexport`.
            environ: further variables.
            names: address of a name server; None = that of the machine, which cannot be reached.
            host: name of the cloud in its URL; None = its address.
            output: name of the files that take its output.
        """
        emulator = copy.copy(self.provider.emulator)
        emulator.endpoint = f"http://{host or self.far}:{self.port}"
        hyper = Hyperexport(emulator, self.folder)
        cloud = ["--config-file", str(emulator.config_file), "--endpoint", emulator.endpoint]
        line = [INSTALLED, *arguments, *cloud]
        if names is not None:
            resolv = self.folder / "resolv.conf"
            resolv.write_text(f"nameserver {names}\noptions timeout:1 attempts:1\n")
            mount = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
            line = ["unshare", "--mount", "sh", "-c", mount, str(resolv), *line]
        settings = {
            **hyper.environ,
            "HYPEREXPORT_TRANSFER_PART_SIZE": "1M",
            "HYPEREXPORT_TRANSFER_PARALLEL": "4",
            # One attempt that an outage spends ends the command.
            "HYPEREXPORT_RETRY_MAX_ATTEMPTS": "1",
            **(environ or {}),
        }
        with self.space.inside():
            command = Command(line, settings, self.folder, output)
        self._stack.callback(command.end)
        return command


class Command:
    """A command that runs."""

    def __init__(self, line: list[str], environ: Mapping[str, str], folder: Path, output: str) -> None:
        self._out, self._err = folder / f"{output}.out", folder / f"{output}.err"
        with self._out.open("w") as out, self._err.open("w") as err:
            self._process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=dict(environ), cwd=folder
            )
        self.pid = self._process.pid

    @property
    def err(self) -> str:
        """Its standard error so far."""
        return self._err.read_text()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def running(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def wait(self, seconds: float = PATIENCE) -> Ended:
        """Wait for its end."""
        code = self._process.wait(seconds)
        return Ended(code, self._out.read_text(), self.err)

    def says(self, text: str, seconds: float = PATIENCE) -> float:
        """Wait until its standard error matches a pattern; returns how long that took."""
        began = time.monotonic()
        while not re.search(text, self.err):
            assert self.running(), f"it ended and never said {text!r}: {self.err}"
            assert time.monotonic() < began + seconds, f"it does not say {text!r}: {self.err}"
            time.sleep(0.02)
        return time.monotonic() - began

    def end(self) -> None:
        """Kill it, unless it has ended."""
        self._process.kill()
        self._process.wait(10)


class NameServer:
    """Answers every question for an address (RFC 1035) with one address.

    Args:
        space: where it listens, on every address.
        address: its answer.
    """

    def __init__(self, space: Namespace, address: str) -> None:
        with space.inside():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.bind(("0.0.0.0", 53))
        self._address = address
        self._thread = threading.Thread(target=self._serve, name="names", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            question, asker = self._socket.recvfrom(512)
            if not question:
                return
            end = question.index(b"\0", 12) + 5
            wanted = struct.unpack("!H", question[end - 4 : end - 2])[0]
            answer = struct.pack("!HHHIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton(self._address)
            has = wanted == 1
            head = question[:2] + struct.pack("!HHHHH", 0x8180, 1, int(has), 0, 0)
            self._socket.sendto(head + question[12:end] + (answer if has else b""), asker)

    def close(self) -> None:
        """End."""
        address = ("127.0.0.1", 53)
        self._socket.sendto(b"", address)
        self._thread.join(10)
        self._socket.close()


def is_root() -> bool:
    """Whether namespaces can be made."""
    return os.geteuid() == 0
