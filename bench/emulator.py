"""What the emulator does per second, beside a bare nginx that serves and takes the same bodies in the same run.

Usage: python bench/emulator.py [ROUNDS]; prints a table for bench/results. Every measure runs ROUNDS times (5),
shuffled among the others, for both servers; the table has medians. The load comes from one process: an epoll loop over
keep-alive connections that replays requests signed before the clock starts (a signature is good for five minutes),
sends part bodies by sendfile and throws reply bodies away. Its own CPU is in the table, so that its cost can be judged.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import platform
import random
import re
import resource
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests" / "harness"))
from emulator import MIB, NAMESPACE, Emulator, make_seed

SECONDS = 1.0  # of one measure of small calls
BULK = 1 << 30  # bytes of one measure of big bodies
BIG = 16 * MIB  # a range, a part
SMALL = 4096
LISTED = 1000
BUCKET = f"/n/{NAMESPACE}/b/exports"
FIELDS = "name,size,etag,md5,timeCreated,timeModified,storageTier,archivalState"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


# ---------------------------------------------------------------- load


@dataclass(frozen=True)
class Request:
    """Bytes to send as they are, then perhaps a body from a file; `bodiless` for a HEAD, whose reply has none."""

    head: bytes
    body: int | None = None
    size: int = 0
    bodiless: bool = False


@dataclass
class Connection:
    """One keep-alive connection with one request under way."""

    sock: socket.socket
    request: Request
    sent: int = 0
    reply: bytes = b""
    missing: int = -1

    def begin(self, request: Request) -> None:
        """Send the first bytes of the next request."""
        self.request, self.sent, self.reply, self.missing = request, 0, b"", -1
        self.send()

    def send(self) -> None:
        """Send as much as the socket takes."""
        head, at = self.request.head, self.sent
        with contextlib.suppress(BlockingIOError):
            if at < len(head):
                self.sent += self.sock.send(head[at:], socket.MSG_MORE if self.request.size else 0)
            while len(head) <= self.sent < self.wanted:
                at = self.sent - len(head)
                assert self.request.body is not None
                self.sent += os.sendfile(self.sock.fileno(), self.request.body, at, self.request.size - at)

    @property
    def wanted(self) -> int:
        """Bytes of the request."""
        return len(self.request.head) + self.request.size

    def receive(self, buffer: bytearray) -> bool:
        """Take what has come; True when the reply is complete."""
        while True:
            try:
                count = self.sock.recv_into(buffer)
            except BlockingIOError:
                return False
            assert count, "the server closed the connection"
            if self.missing < 0:
                self.reply += buffer[:count]
                end = self.reply.find(b"\r\n\r\n")
                if end < 0:
                    continue
                assert self.reply[9:10] == b"2", self.reply[:400]
                length = _LENGTH.search(self.reply, 0, end + 2)
                body = 0 if length is None or self.request.bodiless else int(length[1])
                self.missing = body - (len(self.reply) - end - 4)
            else:
                self.missing -= count
            if self.missing == 0:
                return True


def load(address: tuple[str, int], requests: Iterator[Request], connections: int) -> None:
    """Send requests over this many connections until there are no more."""
    buffer = bytearray(MIB)
    poll = select.epoll()
    by_fd: dict[int, Connection] = {}
    for request in [r for _, r in zip(range(connections), requests, strict=False)]:
        sock = socket.create_connection(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(0)
        by_fd[sock.fileno()] = each = Connection(sock, request)
        each.begin(request)
        poll.register(sock, select.EPOLLIN | (select.EPOLLOUT if each.sent < each.wanted else 0))
    busy = len(by_fd)
    while busy:
        for fd, events in poll.poll():
            each = by_fd[fd]
            if events & select.EPOLLOUT:
                each.send()
                if each.sent == each.wanted:
                    poll.modify(fd, select.EPOLLIN)
            if events & ~select.EPOLLOUT and each.receive(buffer):
                following = next(requests, None)
                if following is None:
                    poll.unregister(fd)
                    busy -= 1
                    continue
                each.begin(following)
                if each.sent < each.wanted:
                    poll.modify(fd, select.EPOLLIN | select.EPOLLOUT)
    poll.close()
    for each in by_fd.values():
        each.sock.close()


def for_seconds(requests: Sequence[Request], seconds: float, done: list[int]) -> Iterator[Request]:
    """The same requests round and round until the time is over; `done` gets one item: how many there were."""
    end = time.perf_counter() + seconds
    count = 0
    while time.perf_counter() < end:
        yield requests[count % len(requests)]
        count += 1
    done.append(count)


# ---------------------------------------------------------------- servers


@dataclass
class Server:
    """Something that listens; CPU and memory are those of its process and of that one's children."""

    name: str
    address: tuple[str, int]
    pid: int

    def pids(self) -> list[int]:
        """The process and its children."""
        children = pathlib.Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def cpu(self) -> float:
        """CPU seconds so far."""
        stats = [pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.pids()]
        return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")

    def peak(self) -> float:
        """Peak resident memory so far, MiB."""
        texts = [pathlib.Path(f"/proc/{pid}/status").read_text() for pid in self.pids()]
        return sum(int(re.findall(r"VmHWM:\s+(\d+)", text)[0]) for text in texts) / 1024


NGINX = """
daemon off; worker_processes 2; pid {folder}/pid; error_log stderr crit; {user}
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 100000000; client_max_body_size 0;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; root {folder}/www;
  server {{ listen 127.0.0.1:{port}; location / {{ dav_methods PUT; }} }}
}}
"""


@contextlib.contextmanager
def nginx(folder: pathlib.Path) -> Iterator[Server]:
    """A bare nginx: two workers, sendfile, PUT by its dav module; files below `www`."""
    (folder / "www").mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    user = "user root;" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, user=user))
    process = subprocess.Popen(["/usr/sbin/nginx", "-p", folder, "-c", folder / "nginx.conf"])
    try:
        for _ in range(500):
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.01)
        yield Server("nginx", ("127.0.0.1", port), process.pid)
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def emulator(folder: pathlib.Path) -> Iterator[tuple[Server, Emulator]]:
    """A fresh emulator with a bucket `exports`."""
    running = Emulator(make_seed(folder / "seed"), folder / "state").start()
    try:
        host, _, port = running.host.partition(":")
        yield Server("emulator", (host, int(port)), running.process.pid), running
    finally:
        running.stop()


# ---------------------------------------------------------------- measures


@dataclass
class Measure:
    """One row: what is sent to each server and how it is counted.

    `requests` makes the requests for a server's name; `bulk` is the bytes of one (0: calls are counted, not bytes).
    """

    name: str
    requests: Callable[[str], Sequence[Request]]
    connections: int = 1
    bulk: int = 0
    rates: dict[str, list[float]] = field(default_factory=dict)
    server_cpu: dict[str, list[float]] = field(default_factory=dict)
    load_cpu: dict[str, list[float]] = field(default_factory=dict)

    def run(self, server: Server) -> None:
        """Measure one server once."""
        requests = self.requests(server.name)
        done: list[int] = []
        if self.bulk:
            done.append(BULK // self.bulk)
            stream = iter(requests[n % len(requests)] for n in range(done[0]))
        else:
            stream = for_seconds(requests, SECONDS, done)
        own, theirs, begin = _own_cpu(), server.cpu(), time.perf_counter()
        load(server.address, stream, self.connections)
        seconds = time.perf_counter() - begin
        for found, value in (
            (self.rates, done[0] * (self.bulk / 1e9 or 1) / seconds),
            (self.server_cpu, (server.cpu() - theirs) / seconds),
            (self.load_cpu, (_own_cpu() - own) / seconds),
        ):
            found.setdefault(server.name, []).append(value)

    def row(self, scale: float = 1) -> str:
        """A line of the table."""
        rate = {name: statistics.median(values) * scale for name, values in self.rates.items()}
        form = "{:.2f}" if self.bulk else "{:,.0f}"
        cells = [self.name, str(self.connections)]
        for name in ("emulator", "nginx"):
            cpus = [f"{statistics.median(cpu[name]):.0%}" for cpu in (self.server_cpu, self.load_cpu)]
            cells += [form.format(rate[name]), *cpus]
        return f"| {' | '.join(cells)} | {rate['emulator'] / rate['nginx']:.2f} |"


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Requests:
    """Makes requests for both servers: signed ones for the emulator, plain ones for nginx."""

    def __init__(self, cloud: Emulator) -> None:
        self._cloud = cloud

    def make(
        self,
        method: str,
        path: str,
        plain: str,
        headers: dict[str, str] | None = None,
        file: pathlib.Path | None = None,
    ) -> Callable[[str], Sequence[Request]]:
        """A request to `path` of the emulator or to the file `plain` of nginx, with a body from a file."""
        body = os.open(file, os.O_RDONLY) if file else None
        size = file.stat().st_size if file else 0
        more = {**(headers or {}), **({"content-length": str(size)} if file else {})}

        def for_server(server: str) -> Sequence[Request]:
            if server == "nginx":
                target, lines = f"/{plain}", {"host": "localhost", **more}
            else:
                target, lines = path, self._cloud.signed_headers(method, path, None, more)
            text = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in lines.items()) + "\r\n"
            return [Request(text.encode(), body, size, bodiless=method == "HEAD")]

        return for_server


def measures(cloud: Emulator, folder: pathlib.Path, www: pathlib.Path) -> list[Measure]:
    """All rows; what they read is put first."""
    requests = Requests(cloud)
    small, part, big = (folder / name for name in ("small", "part", "big"))
    small.write_bytes(os.urandom(SMALL))
    part.write_bytes(os.urandom(BIG))
    with big.open("wb") as out:
        for _ in range(BULK // BIG):
            out.write(os.urandom(BIG))
    for file in (small, big):
        os.link(file, www / file.name)
        send_file(cloud, f"{BUCKET}/o/{file.name}", file)
    for number in range(LISTED):
        cloud.put("exports", f"list/{number:06}", b"x")
    list_path = f"{BUCKET}/o?limit={LISTED}&prefix=list%2F&fields={FIELDS.replace(',', '%2C')}"
    page = cloud.call("GET", list_path)
    assert len(page.json["objects"]) == LISTED
    (www / "page").write_bytes(page.body)
    started = cloud.call("POST", f"{BUCKET}/u", {"object": "parts"}).json["uploadId"]
    upload = f"{BUCKET}/u/parts?uploadId={started}&uploadPartNum="
    rows = []
    for connections in (1, 16):
        rows += [
            Measure("HEAD, calls/s", requests.make("HEAD", f"{BUCKET}/o/small", "small"), connections),
            Measure("GET 4 KiB, calls/s", requests.make("GET", f"{BUCKET}/o/small", "small"), connections),
            Measure("PUT 4 KiB, calls/s", requests.make("PUT", f"{BUCKET}/o/put", "put", file=small), connections),
            Measure("list page of 1,000, pages/s", requests.make("GET", list_path, "page"), connections),
        ]
    for connections in (1, 4, 16):
        ranges = [
            requests.make("GET", f"{BUCKET}/o/big", "big", {"range": f"bytes={at}-{at + BIG - 1}"})
            for at in range(0, BULK, BIG)
        ]
        rows.append(Measure("GET 16 MiB range, GB/s", _all(ranges), connections, BIG))
        parts = [requests.make("PUT", f"{upload}{n}", f"part-{n}", file=part) for n in range(1, 33)]
        rows.append(Measure("UploadPart 16 MiB, GB/s", _all(parts), connections, BIG))
        crc = {"opc-checksum-algorithm": "CRC32C"}
        checked = [requests.make("PUT", f"{upload}{n}", f"part-{n}", crc, file=part) for n in range(1, 33)]
        rows.append(Measure("UploadPart 16 MiB with CRC32C, GB/s", _all(checked), connections, BIG))
    return rows


def _all(makers: Sequence[Callable[[str], Sequence[Request]]]) -> Callable[[str], Sequence[Request]]:
    return lambda server: [request for make in makers for request in make(server)]


def send_file(cloud: Emulator, path: str, file: pathlib.Path) -> None:
    """Put a file that is too long for memory."""
    headers = cloud.signed_headers("PUT", path, None, {"content-length": str(file.stat().st_size)})
    connection = cloud.connect(600)
    with file.open("rb") as body:
        connection.request("PUT", path, body, headers)
        assert connection.getresponse().status == 200
    connection.close()


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = pathlib.Path(temporary)
        with nginx(folder / "nginx") as other, emulator(folder / "emulator") as (ours, cloud):
            rows = measures(cloud, folder, folder / "nginx" / "www")
            idle = os.getloadavg()
            for _ in range(rounds):
                runs = [(row, server) for row in rows for server in (ours, other)]
                random.shuffle(runs)
                for row, server in runs:
                    row.run(server)
            print(
                f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {os.cpu_count()} cores, load "
                f"average {idle[0]:.1f} before, median of {rounds} shuffled rounds, "
                f"`python bench/emulator.py {rounds}`\n"
            )
            print("| measure | connections | emulator | its CPU | generator | nginx | its CPU | generator | ratio |")
            print("|---|---|---|---|---|---|---|---|---|")
            print("\n".join(row.row() for row in rows))
            print(
                f"\nPeak RSS of the emulator: {ours.peak():.0f} MiB; of nginx with its two workers: {other.peak():.0f}."
            )
            print(json.dumps({row.name + str(row.connections): row.rates for row in rows}), file=sys.stderr)


if __name__ == "__main__":
    main()
