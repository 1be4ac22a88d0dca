"""Addresses that authorize themselves, from the command line and the library: no credentials, no SDK, little memory."""

from __future__ import annotations

import json
import os
import random
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from emulator import Emulator, make_seed
from private_ca import make_private_ca
from raw_server import Asked, OneObject, RawServer, send

import hypersdk
from hypersdk import errors
from hypersdk.model import ObjectRef
from hypersdk.storage import url
from hypersdk.waiting import Waiter
from hypersdk.wiring import Wiring

MIB = 1 << 20
PART = 64 * 1024
BODY = random.Random(6).randbytes(9 * PART + 1)
QUICK = {"HYPEREXPORT_RETRY_INITIAL_DELAY": "0.01s", "HYPEREXPORT_RETRY_MAX_DELAY": "0.05s"}
SMALL = {"HYPEREXPORT_TRANSFER_PART_SIZE": "64KiB", "HYPEREXPORT_TRANSFER_PARALLEL": "2"}
WATCHED = """
import re, sys
from pathlib import Path
from hypersdk.cli import run
code = run(sys.argv[1:])
heavy = {"oci", "sqlalchemy", "yaml", "pydantic", "rich", "requests"} & {name.partition(".")[0] for name in sys.modules}
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024
print(code, peak, sorted(heavy), file=sys.stderr)
"""
"""The command, and behind its own output: status, peak of its memory in MiB, heavy modules that it loaded."""


@dataclass
class Stranger:
    """Runs the command in a home without any credentials."""

    home: Path

    def run(self, *arguments: str, code: str | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        start = ["-c", code] if code else ["-m", "hypersdk.cli"]
        environ = {"HOME": str(self.home), "PATH": os.environ["PATH"], **QUICK, **environ}
        return subprocess.run(
            [sys.executable, *start, *arguments],
            cwd=self.home,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def stranger(tmp_path: Path) -> Stranger:
    (tmp_path / "home").mkdir()
    return Stranger(tmp_path / "home")


@dataclass
class Link:
    """A pre-authenticated request."""

    emulator: Emulator
    id: str
    url: str

    @property
    def token(self) -> str:
        """What nobody may read."""
        return self.url.partition("/p/")[2].partition("/")[0]

    def withdraw(self) -> None:
        """End it."""
        path = f"/n/{self.emulator.namespace}/b/exports/p/{self.id}"
        assert self.emulator.call("DELETE", path).status == 204


@pytest.fixture
def link(emulator: Emulator) -> Callable[..., Link]:
    """Makes links: `link("ObjectRead", "name")`, `link("AnyObjectReadWrite", listing=True)`."""

    def make(access: str, name: str | None = None, *, listing: bool = False) -> Link:
        details: dict[str, Any] = {"name": "link", "accessType": access}
        details["timeExpires"] = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        details |= {"objectName": name} if name else {}
        details |= {"bucketListingAction": "ListObjects"} if listing else {}
        made = emulator.call("POST", f"/n/{emulator.namespace}/b/exports/p", details).json
        return Link(emulator, made["id"], made["fullPath"])

    return make


# ---------------------------------------------------------------- https


@pytest.fixture
def tls(tmp_path: Path) -> tuple[str, ssl.SSLContext]:
    return make_private_ca(tmp_path)


def endless(size: int) -> Callable[[Asked, Any], None]:
    """A server of an object of this size that costs nothing to keep."""
    block = random.Random(1).randbytes(256 * 1024)

    def answer(asked: Asked, peer: Any) -> None:
        if asked.method == "HEAD":
            send(peer, 200, content_length=str(size), accept_ranges="bytes", etag='"1"')
            return
        assert asked.range is not None
        start, stop = asked.range
        place, left = f"bytes {start}-{stop - 1}/{size}", stop - start
        send(peer, 206, content_length=str(left), content_range=place, etag='"1"')
        while left:
            peer.sendall(block[: min(left, len(block))])
            left -= min(left, len(block))

    return answer


def test_https_needs_no_sdk_and_little_memory(tls: tuple[str, ssl.SSLContext], stranger: Stranger) -> None:
    """A download over TLS by many connections loads no SDK and nothing else that is heavy, and stays within 80 MiB."""
    bundle, context = tls
    with RawServer(endless(192 * MIB), context) as server:
        address = f"{server.url}/disk.raw?signature=s3cr3t"
        ended = stranger.run("cp", address, "disk.raw", "--cert-bundle", bundle, code=WATCHED)
        assert len({asked.connection for asked in server.asked}) >= 4
    code, memory, heavy = ended.stderr.splitlines()[-1].split(maxsplit=2)
    assert (code, heavy) == ("0", "[]"), ended.stderr
    assert int(memory) <= 80
    assert (stranger.home / "disk.raw").stat().st_size == 192 * MIB
    assert "s3cr3t" not in ended.stdout + ended.stderr
    assert [entry.name for entry in stranger.home.iterdir()] == ["disk.raw"]


def test_https_knows_its_authorities(tls: tuple[str, ssl.SSLContext], stranger: Stranger) -> None:
    """A server whose certificate nobody vouches for is refused; a bundle from any place of the configuration helps."""
    bundle, context = tls
    with RawServer(OneObject(BODY), context) as server:
        refused = stranger.run("cp", f"{server.url}/disk", "disk")
        assert refused.returncode != 0
        assert "certificate" in refused.stderr.lower()
        assert not (stranger.home / "disk").exists()
        for number, environ in enumerate(({"OCI_CLI_CERT_BUNDLE": bundle}, {"HYPEREXPORT_OCI_CERT_BUNDLE": bundle})):
            ended = stranger.run("cp", f"{server.url}/disk", f"disk-{number}", **environ)
            assert ended.returncode == 0, ended.stderr
            assert (stranger.home / f"disk-{number}").read_bytes() == BODY


def test_an_endpoint_is_not_for_https(stranger: Stranger) -> None:
    """`--endpoint`, and OCI switched off, change nothing for an address that names its own host."""
    (stranger.home / "hypersdk.yaml").write_text("oci:\n  enabled: false\n")
    with RawServer(OneObject(BODY)) as server:
        ended = stranger.run("cp", f"{server.url}/disk", "disk", "--endpoint", "http://127.0.0.1:9")
        assert ended.returncode == 0, ended.stderr
        assert not any("authorization" in asked.headers for asked in server.asked)
    assert (stranger.home / "disk").read_bytes() == BODY


def test_a_proxy_is_used_for_plain_addresses_too(stranger: Stranger) -> None:
    """The proxy of the configuration carries http and https addresses alike."""
    good = OneObject(BODY)
    with RawServer(good) as proxy:
        ended = stranger.run("cp", "http://host.example/disk", "disk", "--proxy", proxy.url)
        assert ended.returncode == 0, ended.stderr
        assert {asked.target for asked in proxy.asked} == {"http://host.example/disk"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ls", "{}/disk?x=s3cr3t"), "list"),
        (("rm", "--yes", "{}/disk?x=s3cr3t"), "delete"),
        (("rm", "-r", "--yes", "{}/"), "list"),
    ],
)
def test_what_a_plain_address_cannot_do_is_said(stranger: Stranger, arguments: tuple[str, ...], says: str) -> None:
    """`ls` and `rm` of a plain https address exit 2 in one line that names it without its query; nobody is asked."""
    with RawServer(OneObject(BODY)) as server:
        ended = stranger.run(*(each.format(server.url) for each in arguments))
        assert server.asked == []
    assert (ended.returncode, ended.stdout) == (2, "")
    assert len(ended.stderr.splitlines()) == 1
    assert f"nobody can {says} objects" in ended.stderr
    assert "oci://" in ended.stderr
    assert "s3cr3t" not in ended.stderr


def test_stat_of_a_plain_address(stranger: Stranger) -> None:
    """`stat` shows what the server says of an object."""
    with RawServer(OneObject(BODY)) as server:
        shown = json.loads(stranger.run("stat", f"{server.url}/dir/disk?x=s3cr3t", "--json").stdout)["object"]
        assert (shown["size"], shown["etag"], shown["url"]) == (len(BODY), "etag-1", f"{server.url}/dir/disk")


def test_a_size_that_nobody_told_is_told_by_none(stranger: Stranger) -> None:
    """A server that sends no ranges and no size gives a whole file, whose size is shown then and not before."""

    def answer(asked: Asked, peer: Any) -> None:
        if asked.method == "HEAD":
            send(peer, 200, content_length="-")
        else:
            peer.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")

    with RawServer(answer) as server:
        web = f"{server.url}/disk"
        runs = [stranger.run("cp", web, "disk", "--json"), stranger.run("cp", web, "disk", "--json")]
        rows = [json.loads(ended.stdout)["copy"]["items"][0] for ended in runs]
        assert [(each["outcome"], each["size"], each["moved"]) for each in rows] == [
            ("done", 3, 3),
            ("refused", None, 0),
        ]
        assert json.loads(stranger.run("stat", web, "--json").stdout)["object"]["size"] is None
        streamed = stranger.run("cp", web, "-")
    assert (streamed.returncode, streamed.stdout) == (0, "abc")
    assert "sends no ranges" in streamed.stderr
    assert (stranger.home / "disk").read_bytes() == b"abc"


def test_other_users_cannot_read_secrets_off_the_command_line(stranger: Stranger) -> None:
    """While a copy runs, its command line shows stars in place of the signature and of the proxy's password."""
    seen: list[bytes] = []

    def answer(asked: Asked, peer: Any) -> bool | None:
        seen.extend(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if started(path))
        return good(asked, peer)

    def started(cmdline: Path) -> bool:
        with suppress(OSError):
            return str(stranger.home).encode() in cmdline.read_bytes()
        return False

    good, target = OneObject(BODY), str(stranger.home / "disk")
    with RawServer(answer) as proxy:
        web = "http://host.example/disk?signature=s1gned"
        ended = stranger.run("cp", web, target, "--proxy", f"http://me:pr0xy@127.0.0.1:{proxy.port}")
        assert ended.returncode == 0, ended.stderr
        assert {asked.target for asked in proxy.asked} == {web}
    assert seen
    for line in seen:
        assert b"host.example/disk?****************" in line
        assert b"http://me:*****@127.0.0.1" in line
    assert (stranger.home / "disk").read_bytes() == BODY


# ---------------------------------------------------------------- pre-authenticated requests


def test_a_tree_comes_and_goes_through_a_link(
    emulator: Emulator, link: Callable[..., Link], stranger: Stranger
) -> None:
    """C031: `cp -r`, `ls -r`, `stat` work through a link to a bucket, both ways, without credentials; `rm` refuses."""
    wide = link("AnyObjectReadWrite", listing=True)
    bodies = {"small": b"x" * 100, "dir/large": BODY, "dir/empty": b"", "dir/ünï %": b"1"}
    for name, body in bodies.items():
        path = stranger.home / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    sent = stranger.run("cp", "-r", "tree", f"{wide.url}copy/", "--json", "--debug", **SMALL)
    assert sent.returncode == 0, sent.stderr
    assert sorted(emulator.names("exports")) == sorted(f"copy/{name}" for name in bodies)
    listed = stranger.run("ls", "-r", f"{wide.url}copy/", "--json")
    assert {each["name"]: each["size"] for each in json.loads(listed.stdout)["objects"]} == {
        f"copy/{name}": len(body) for name, body in bodies.items()
    }
    back = stranger.run("cp", "-r", f"{wide.url}copy/", "back", "--debug", "--jsonl", **SMALL)
    assert back.returncode == 0, back.stderr
    assert {name: (stranger.home / "back" / name).read_bytes() for name in bodies} == bodies
    shown = stranger.run("stat", f"{wide.url}copy/small")
    assert shown.returncode == 0, shown.stderr
    refused = stranger.run("rm", "-r", "--yes", f"{wide.url}copy/")
    assert refused.returncode == 2
    for ended in (sent, listed, back, shown, refused):
        assert wide.token not in ended.stdout + ended.stderr


def test_a_download_goes_on_with_a_new_link_and_with_credentials(
    emulator: Emulator, link: Callable[..., Link], stranger: Stranger
) -> None:
    """A link that ends half-way says so; a new one, and then the object's own address, fetch only what is missing."""
    emulator.put("exports", "disk", BODY)
    first, second = link("ObjectRead", "disk"), link("ObjectRead", "disk")
    emulator.fault("GetObject", "error", status=404, code="NotAuthorizedOrNotFound", skip=4, times="any")
    ended = stranger.run("cp", first.url, "disk", "--debug", **SMALL)
    assert ended.returncode == 5, ended.stderr
    assert "get a new one" in ended.stderr
    first.withdraw()
    emulator.remote.drop_faults()
    journal = next(stranger.home.glob(".hx-*.journal")).read_bytes()
    assert journal.count(b'"range"') >= 2
    before = len(emulator.remote.log(operation="GetObject"))

    emulator.fault("GetObject", "error", status=404, code="NotAuthorizedOrNotFound", skip=2, times="any")
    assert stranger.run("cp", second.url, "disk", **SMALL).returncode == 5
    emulator.remote.drop_faults()
    config = ("--config-file", str(emulator.config_file), "--endpoint", emulator.endpoint)
    last = stranger.run("cp", f"oci://{emulator.namespace}/exports/disk", "disk", *config, **SMALL)
    assert last.returncode == 0, last.stderr
    assert (stranger.home / "disk").read_bytes() == BODY
    good = [each for each in emulator.remote.log(operation="GetObject") if each["status"] == 206]
    assert len(good) == 10, "each of ten ranges once"
    assert len(good) > before - 2
    left = journal + b"".join(path.read_bytes() for path in stranger.home.rglob("*") if path.is_file())
    for text in (first.token, second.token, "127.0.0.1"):
        assert text.encode() not in left
        assert text == "127.0.0.1" or text not in ended.stderr + ended.stdout + last.stderr


def test_a_link_that_only_writes_takes_a_file(
    emulator: Emulator, link: Callable[..., Link], stranger: Stranger
) -> None:
    """A file goes in parts, a small one whole, through links that read nothing back; one that only reads refuses."""
    (stranger.home / "large").write_bytes(BODY)
    (stranger.home / "small").write_bytes(BODY[:100])
    for name, size in (("large", len(BODY)), ("small", 100)):
        sent = stranger.run("cp", name, link("ObjectWrite", name).url, **SMALL)
        assert sent.returncode == 0, sent.stderr
        assert emulator.get("exports", name).body == BODY[:size]
    assert len(emulator.remote.log(operation="UploadPart")) == 10
    refused = stranger.run("cp", "small", link("ObjectRead", "other").url, **SMALL)
    assert refused.returncode == 5
    assert "get a new one" in refused.stderr
    assert emulator.remote.leftovers()["multipartUploads"] == []


def test_a_presigned_address_may_change_its_signature(stranger: Stranger) -> None:
    """A download goes on when the query of its address is another one, and never says either."""
    good = OneObject(BODY, etag='"1"')
    ended = [False]

    def answer(asked: Asked, peer: Any) -> bool | None:
        if "first" in asked.target and asked.range is not None and asked.range[0] >= 4 * PART:
            ended[0] = True
        return send(peer, 403) if ended[0] and "first" in asked.target else good(asked, peer)

    with RawServer(answer) as server:
        failed = stranger.run("cp", f"{server.url}/disk?signature=first", "disk", "--debug", **SMALL)
        assert failed.returncode == 4
        assert "get a new one" in failed.stderr
        before = len(server.asked)
        fine = stranger.run("cp", f"{server.url}/disk?signature=second", "disk", "--debug", **SMALL)
        assert fine.returncode == 0, fine.stderr
        again = [asked.range for asked in server.asked[before:] if asked.range]
    assert (stranger.home / "disk").read_bytes() == BODY
    assert sum(stop - start for start, stop in again) < len(BODY) - 2 * PART
    assert "signature=" not in failed.stderr + failed.stdout + fine.stderr + fine.stdout


def test_the_library_takes_every_kind_of_address(emulator: Emulator, link: Callable[..., Link], tmp_path: Path) -> None:
    """upload, download and open_store take links and paths as they take oci:// addresses."""
    config = hypersdk.load_config({}, {}, cwd=str(tmp_path), home=str(tmp_path))
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(BODY)
    both = link("ObjectReadWrite", "disk")
    assert hypersdk.upload(str(source), both.url, config).size == len(BODY)
    hypersdk.download(both.url, str(back), config)
    assert back.read_bytes() == BODY
    hypersdk.download(str(source), str(tmp_path / "copy"), config)
    assert (tmp_path / "copy").read_bytes() == BODY
    assert hypersdk.open_store(both.url, config).head(url.parse(both.url).ref).size == len(BODY)
    with RawServer(OneObject(BODY)) as server, pytest.raises(errors.UsageError, match="written"):
        hypersdk.open_store(f"{server.url}/x", config).create_multipart_upload(ObjectRef("http", "h", "", "x"))


# ---------------------------------------------------------------- how the rooms are joined


@pytest.fixture
def wiring(tmp_path: Path) -> Iterator[Wiring]:
    flags = {"config_file": str(make_seed(tmp_path / "seed").config_file), "endpoint": "http://127.0.0.1:9"}
    with Wiring(hypersdk.load_config(flags, {}, cwd=str(tmp_path), home=str(tmp_path)), Waiter()) as wiring:
        yield wiring


def test_no_session_is_opened_for_addresses_that_authorize_themselves(wiring: Wiring) -> None:
    """Only an oci:// address signs in; one link serves all names below it, and one store each other address."""
    link = url.parse("https://objectstorage.us-ashburn-1.oraclecloud.com/p/t0ken/n/ns/b/b/o/x")
    other = url.parse("https://objectstorage.us-ashburn-1.oraclecloud.com/p/t0ken/n/ns/b/b/o/y")
    web = url.parse("https://host.example/x?a")
    assert wiring.store(link) is wiring.store(other)
    assert wiring.store(web) is not wiring.store(url.parse("https://host.example/x?b"))
    assert "session" not in wiring.__dict__
    assert wiring.store(url.parse("oci://ns/b/x")) is wiring.oci_store
    assert "session" in wiring.__dict__


def test_the_monitor_asks_the_servers_that_are_used(wiring: Wiring) -> None:
    """Down is what the address's own server is, whatever the endpoint of the credentials answers."""
    with RawServer(lambda _, peer: send(peer, 404)) as server:
        wiring.store(url.parse(f"{server.url}/disk"))
        assert not wiring.monitor.failed()
    assert wiring.monitor.failed()
    assert wiring.monitor.down_since is not None


def test_an_address_of_another_region_is_refused(tmp_path: Path) -> None:
    """Oracle's own addresses are taken if they are in our region, by whichever of its hosts; others name the flag."""
    flags = {"config_file": str(make_seed(tmp_path / "seed").config_file)}
    config = hypersdk.load_config(flags, {}, cwd=str(tmp_path), home=str(tmp_path))
    with Wiring(config, Waiter()) as wiring:
        for host in (
            "objectstorage.us-ashburn-1.oraclecloud.com",
            "ns.objectstorage.us-ashburn-1.oci.customer-oci.com",
        ):
            assert wiring.store(url.parse(f"https://{host}/n/ns/b/b/o/x")) is wiring.oci_store
        with pytest.raises(errors.UsageError, match="--region"):
            wiring.store(url.parse("https://objectstorage.eu-frankfurt-1.oraclecloud.com/n/ns/b/b/o/x"))
