"""What the contestants talk to: nginx over TLS with an OCI-shaped path, the stub beside it, keys and objects.

nginx serves objects from disk by sendfile and reads and drops the bodies of PUTs; what it cannot answer itself goes to
`transfer_stub.py` over a Unix socket. No signature is checked, so that nobody is slowed down by that; all of them sign.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from transfer_stub import BUCKET, BUCKET_PATH, NAMESPACE, joined

from hypersdk.transfer.checksums import crc32c

HERE = Path(__file__).parent
MIB = 1 << 20
GIB = 1 << 30
SMALL_COUNT, SMALL_SIZE = 2000, 64 << 10
LINK_ADDRESS = "198.18.77.2"
"""Of the relay in its namespace; the range is set aside for benchmarks (RFC 2544)."""

_TENANCY = "ocid1.tenancy.oc1..bench"
_USER = "ocid1.user.oc1..bench"

NGINX = """
daemon off; worker_processes 2; pid {folder}/pid; error_log {folder}/error.log error; {user}
events {{ worker_connections 1024; }}
http {{
  log_format bodies '$request_method $uri $status $body_bytes_sent $content_length';
  access_log {folder}/access.log bodies;
  map_hash_max_size 16384; map_hash_bucket_size 256;
  sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 100000000; client_max_body_size 0;
  client_body_buffer_size 256m; client_body_temp_path {folder}/body; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem; ssl_session_cache shared:tls:1m;
  upstream stub {{ server unix:{folder}/stub.sock; keepalive 64; }}
  map $uri $crc {{ default ""; {crcs} }}
  server {{
    listen 127.0.0.1:{port} ssl; listen unix:{folder}/tls.sock ssl;
    root {folder}/www; proxy_http_version 1.1;
    proxy_set_header connection ""; proxy_set_header content-length ""; proxy_set_header x-length $content_length;
    location = {bucket}/u {{ proxy_set_header connection ""; proxy_pass http://stub; }}
    location / {{ proxy_pass_request_body off; proxy_pass http://stub; }}
    location {bucket}/o/ {{
      add_header opc-request-id $request_id; add_header opc-content-crc32c $crc;
      try_files $uri @stub;
    }}
    location @stub {{ proxy_pass_request_body off; proxy_pass http://stub; }}
  }}
}}
"""


@dataclass(frozen=True)
class Site:
    """A running site.

    Attributes:
        folder: everything that it made.
        port: where nginx listens on loopback.
    """

    folder: Path
    port: int

    @property
    def endpoint(self) -> str:
        """The base URL on loopback."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def authority(self) -> Path:
        """The certificate to trust."""
        return self.folder / "cert.pem"

    @property
    def profile(self) -> Path:
        """Credentials in the form of ~/.oci/config."""
        return self.folder / "oci" / "config"

    @property
    def objects(self) -> Path:
        """Directory of the objects that nginx serves."""
        return self.folder / "www" / BUCKET_PATH.lstrip("/") / "o"

    @property
    def socket(self) -> Path:
        """A Unix socket where nginx speaks TLS, too; other network namespaces reach it."""
        return self.folder / "tls.sock"

    def uploaded(self, name: str) -> int:
        """Bytes of an object that was uploaded; -1 = it is not there."""
        with contextlib.closing(self._connect()) as connection:
            connection.request("HEAD", f"{BUCKET_PATH}/o/{name}")
            reply = connection.getresponse()
            return int(reply.headers["content-length"]) if reply.status == 200 else -1

    def listed(self, prefix: str) -> int:
        """How many objects have this prefix."""
        start: str | None = ""
        count = 0
        with contextlib.closing(self._connect()) as connection:
            while start is not None:
                connection.request("GET", f"{BUCKET_PATH}/o?prefix={quote(prefix)}&start={quote(start)}")
                page = json.loads(connection.getresponse().read())
                count, start = count + len(page["objects"]), page.get("nextStartWith")
        return count

    def _connect(self) -> HTTPSConnection:
        return HTTPSConnection("127.0.0.1", self.port, context=ssl.create_default_context(cafile=self.authority))

    def bodies(self) -> tuple[int, int]:
        """Bytes of object bodies sent and received so far."""
        time.sleep(0.1)  # nginx logs a request after its last byte is sent
        sent = received = 0
        for line in (self.folder / "access.log").read_text().splitlines():
            method, _, status, out, into = line.split(" ")
            sent += int(out) if method == "GET" and status in {"200", "206"} else 0
            received += int(into) if method == "PUT" and into != "-" else 0
        return sent, received


def prepare(folder: Path, sizes: dict[str, int]) -> None:
    """Make certificate, profile and objects; what is there of an earlier run with the same sizes is kept.

    Args:
        folder: where; objects are named "random-<GiB>", "sparse-<GiB>", "zero-<GiB>", "ninety-<GiB>" and "link".
        sizes: name -> bytes.
    """
    site = Site(folder, 0)
    (site.objects / "small").mkdir(parents=True, exist_ok=True)
    if not site.authority.exists():
        _certificate(folder)
        _profile(site)
    for name, size in sizes.items():
        path = site.objects / name
        if not path.exists() or path.stat().st_size != size:
            _fill(path, size, name.partition("-")[0])
    for number in range(SMALL_COUNT):
        path = site.objects / "small" / f"{number:04}"
        if not path.exists():
            path.write_bytes(os.urandom(SMALL_SIZE))


def _fill(path: Path, size: int, kind: str) -> None:
    """Write an object; of "ninety" 1 MiB in 10 is random in runs of 64 KiB, "sparse" is a hole."""
    print(f"making {path.name}: {size / MIB:,.0f} MiB", file=sys.stderr)
    block = os.urandom(64 * MIB)
    with path.open("wb") as file:
        file.truncate(size)
        if kind in {"sparse", "zero"}:
            return
        step = 64 << 10 if kind == "ninety" else len(block)
        for at in range(0, size, step * (10 if kind == "ninety" else 1)):
            file.seek(at)
            file.write(block[at % len(block) :][: min(step, size - at)])
        if kind == "random":  # no two blocks of 64 MiB alike
            for at in range(0, size, len(block)):
                file.seek(at)
                file.write(os.urandom(min(4096, size - at)))


def _certificate(folder: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    now = dt.datetime.now(dt.UTC)
    addresses = [x509.IPAddress(ipaddress.ip_address(each)) for each in ("127.0.0.1", LINK_ADDRESS)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    _write_key(folder / "key.pem", key)


def _write_key(path: Path, key: rsa.RSAPrivateKey) -> None:
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))


def _profile(site: Site) -> None:
    site.profile.parent.mkdir(parents=True, exist_ok=True)
    key = rsa.generate_private_key(65537, 2048)
    path = site.profile.parent / "api.pem"
    _write_key(path, key)
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    fingerprint = hashlib.md5(der, usedforsecurity=False).digest().hex(":")
    site.profile.touch(mode=0o600)
    site.profile.write_text(
        f"[DEFAULT]\nuser={_USER}\nfingerprint={fingerprint}\ntenancy={_TENANCY}\nregion=us-ashburn-1\nkey_file={path}\n"
    )


def blocks_of(path: Path) -> list[int]:
    """CRC32C of each MiB of a file; of its holes only the length is looked at."""
    size, zeros = path.stat().st_size, crc32c(bytes(MIB))
    blocks = []
    with path.open("rb", buffering=0) as file:
        for at in range(0, size, MIB):
            try:
                data = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                data = size
            if data >= at + MIB <= size:
                blocks.append(zeros)
                continue
            file.seek(at)
            blocks.append(crc32c(file.read(MIB)))
    return blocks


def crc_of(path: Path) -> int:
    """CRC32C of a file."""
    return joined(blocks_of(path), path.stat().st_size)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Site]:
    """Start stub and nginx for the objects in the folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        site = Site(folder, free.getsockname()[1])
    catalogue, crcs = _catalogue(site)
    (folder / "catalogue.json").write_text(json.dumps(catalogue))
    user = "user root;" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        NGINX.format(folder=folder, port=site.port, user=user, crcs=crcs, bucket=BUCKET_PATH)
    )
    for name in ("tls.sock", "stub.sock", "access.log"):
        (folder / name).unlink(missing_ok=True)
    stub = subprocess.Popen(
        [sys.executable, HERE / "transfer_stub.py", folder / "stub.sock", folder / "catalogue.json"]
    )
    nginx = subprocess.Popen(["/usr/sbin/nginx", "-p", folder, "-c", folder / "nginx.conf"])
    try:
        while not ((folder / "stub.sock").exists() and _answers(site.port)):
            if nginx.poll() is not None or stub.poll() is not None:
                raise SystemExit(f"the site did not start, see {folder}/error.log")
            time.sleep(0.02)
        yield site
    finally:
        for process in (nginx, stub):
            process.terminate()
            process.wait()
        (folder / "tls.sock").unlink(missing_ok=True)


def _answers(port: int) -> bool:
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def _catalogue(site: Site) -> tuple[list[dict[str, object]], str]:
    """Entries for the stub's lists, and nginx's map from path to CRC32C; what was computed before is remembered."""
    remembered = site.folder / "facts.json"
    known: dict[str, Any] = json.loads(remembered.read_text()) if remembered.exists() else {}
    entries: list[dict[str, object]] = []
    crcs = []
    for path in sorted(each for each in site.objects.rglob("*") if each.is_file()):
        name, stat = str(path.relative_to(site.objects)), path.stat()
        mark = f"{name} {stat.st_size} {stat.st_mtime_ns}"
        if mark not in known:
            small = stat.st_size <= MIB  # only of such an object does a client compare the MD5
            md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).digest() if small else b""
            blocks = blocks_of(path)
            crc = base64.b64encode(joined(blocks, stat.st_size).to_bytes(4)).decode()
            known[mark] = {"md5": base64.b64encode(md5).decode(), "crc32c": crc, "blocks": blocks}
        etag = f'"{int(stat.st_mtime):x}-{stat.st_size:x}"'  # as nginx makes them
        entries.append({"name": name, "size": stat.st_size, "etag": etag, **known[mark]})
        crcs.append(f'"{BUCKET_PATH}/o/{name}" "{known[mark]["crc32c"]}";')
    remembered.write_text(json.dumps(known))
    return entries, "\n".join(crcs)


__all__ = ["BUCKET", "NAMESPACE", "Site", "crc_of", "prepare", "running"]
