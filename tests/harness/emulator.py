"""Runs the emulator as a real process for tests: seeds, signed requests, controls, faults that must be consumed."""

from __future__ import annotations

import base64
import copy
import functools
import hashlib
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from hypersdk_emulator.remote import Remote

MIB = 1 << 20
DISK_SIZE = 64 * MIB
REGION = "us-ashburn-1"
NAMESPACE = "testns"
TENANCY = "ocid1.tenancy.oc1..aaaatests"
USER = "ocid1.user.oc1..aaaatester"
PLATFORM_IMAGE = "ocid1.image.oc1.iad.aaaaplatform"
READY_SECONDS = 30
RUNNING: dict[int, Emulator] = {}
"""Every emulator of this process that runs; after each test their faults must have hit (`tests/conftest.py`)."""


# ---------------------------------------------------------------- seed


@functools.cache
def private_key() -> rsa.RSAPrivateKey:
    """The key of the seed's user; one per test process, because making one takes a tenth of a second."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def private_pem(key: rsa.RSAPrivateKey) -> bytes:
    """A key as a PEM file holds it."""
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def public_pem(key: rsa.RSAPrivateKey) -> str:
    """The public half, PEM."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def fingerprint(key: rsa.RSAPrivateKey) -> str:
    """MD5 of the public key's DER, as OCI writes it."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    digest = hashlib.md5(
        key.public_key().public_bytes(serialization.Encoding.DER, form), usedforsecurity=False
    ).digest()
    return ":".join(f"{byte:02x}" for byte in digest)


def write_disk(path: Path, label: str, size: int = DISK_SIZE) -> None:
    """A sparse raw disk: a boot sector with its signature, and data that differs by label at a few places."""
    with path.open("wb") as disk:
        disk.truncate(size)
        sector = bytearray(hashlib.shake_256(label.encode()).digest(510)) + b"\x55\xaa"
        disk.write(sector)
        for number, at in enumerate((MIB, size // 2, size - 300_000)):
            disk.seek(at)
            disk.write(hashlib.shake_256(f"{label}/{number}".encode()).digest(200_000))


@dataclass(frozen=True)
class Seed:
    """A prepared seed: `value` is the JSON; `path`, `config_file` and `key_file` are its files."""

    folder: Path
    value: dict[str, Any]

    @property
    def path(self) -> Path:
        """seed.json."""
        return self.folder / "seed.json"

    @property
    def config_file(self) -> Path:
        """An `~/.oci/config` for the seed's user."""
        return self.folder / "config"

    @property
    def key_file(self) -> Path:
        """The private key of the seed's user."""
        return self.folder / "key.pem"

    @property
    def namespace(self) -> str:
        """Object Storage namespace."""
        return str(self.value["namespace"])

    @property
    def compartment(self) -> str:
        """OCID of the first compartment."""
        return str(self.value["compartments"][0]["id"])

    @property
    def key_id(self) -> str:
        """`keyId` of the user's signatures."""
        return f"{self.value['tenancyId']}/{self.value['users'][0]['id']}/{fingerprint(private_key())}"

    def instance(self, name: str) -> dict[str, Any]:
        """The seeded instance of this display name."""
        return next(i for i in self.value["instances"] if i["displayName"] == name)

    def disk(self, name: str) -> Path:
        """The file behind the boot volume of an instance."""
        return Path(self.instance(name)["bootVolume"]["file"])


def compartment_id(name: str) -> str:
    """The OCID that `make_seed` gives to a compartment."""
    return f"ocid1.compartment.oc1..aaaa{name}"


def instance_id(name: str) -> str:
    """The OCID that `make_seed` gives to an instance."""
    return f"ocid1.instance.oc1.iad.aaaa{name.replace('-', '')}"


def make_seed(
    folder: Path,
    *,
    instances: Mapping[str, str] | Sequence[str] = ("web-01",),
    compartments: Mapping[str, str | None] | Sequence[str] = ("main",),
    buckets: Iterable[str] = ("exports",),
    disks: int = 2,
    disk_size: int = DISK_SIZE,
    transition_seconds: float = 0.0,
    user: Mapping[str, Any] | None = None,
    assume: Mapping[str, Any] | None = None,
    change: Callable[[dict[str, Any]], None] | None = None,
) -> Seed:
    """Write key.pem, config, boot disks and seed.json.

    Args:
        folder: Where to; made if absent.
        instances: Display names, or name -> lifecycle state (default state STOPPED); all in the first compartment.
        compartments: Names, or name -> name of the parent compartment (None: the tenancy).
        buckets: Bucket names, in the first compartment.
        disks: How many different boot disks the instances share.
        disk_size: Their virtual size in bytes.
        transition_seconds: How long STOPPING, CREATING_IMAGE and the like last.
        user: Further fields of the user, such as `{"federated": True}`.
        assume: Assumptions of the seed.
        change: Last change of the seed JSON before it is written.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    states = dict(instances) if isinstance(instances, Mapping) else dict.fromkeys(instances, "STOPPED")
    parents = dict(compartments) if isinstance(compartments, Mapping) else dict.fromkeys(compartments)
    first = compartment_id(next(iter(parents)))
    files = [folder / f"boot-{n}.raw" for n in range(min(disks, len(states)))]
    for n, file in enumerate(files):
        write_disk(file, f"disk-{n}", disk_size)
    value: dict[str, Any] = {
        "region": REGION,
        "namespace": NAMESPACE,
        "tenancyId": TENANCY,
        "compartments": [
            {"id": compartment_id(name), "name": name, **({"parentId": compartment_id(parent)} if parent else {})}
            for name, parent in parents.items()
        ],
        "users": [
            {
                "id": USER,
                "apiKeys": [{"fingerprint": fingerprint(private_key()), "publicKeyPem": public_pem(private_key())}],
                **(user or {}),
            }
        ],
        "buckets": [{"name": name, "compartmentId": first} for name in buckets],
        "images": [
            {
                "id": PLATFORM_IMAGE,
                "compartmentId": None,
                "displayName": "Platform-Linux",
                "operatingSystem": "Oracle Linux",
                "operatingSystemVersion": "9",
            }
        ],
        "instances": [
            {
                "id": instance_id(name),
                "displayName": name,
                "compartmentId": first,
                "availabilityDomain": "Test:US-ASHBURN-AD-1",
                "shape": "VM.Standard.E4.Flex",
                "lifecycleState": state,
                "imageId": PLATFORM_IMAGE,
                "bootVolume": {
                    "id": f"ocid1.bootvolume.oc1.iad.aaaa{name.replace('-', '')}",
                    "sizeInGBs": 50,
                    "file": str(files[n % len(files)]),
                    "format": "raw",
                },
            }
            for n, (name, state) in enumerate(states.items())
        ],
        "timing": {"transitionSeconds": transition_seconds},
    }
    if assume:
        value["assume"] = dict(assume)
    if change:
        change(value)
    seed = Seed(folder, value)
    seed.path.write_text(json.dumps(value, indent=1))
    _write_private(seed.key_file, private_pem(private_key()) + b"OCI_API_KEY\n")
    lines = {
        "tenancy": value["tenancyId"],
        "user": value["users"][0]["id"],
        "fingerprint": fingerprint(private_key()),
        "key_file": seed.key_file,
        "region": value["region"],
    }
    text = "[DEFAULT]\n" + "".join(f"{name}={line}\n" for name, line in lines.items())
    _write_private(seed.config_file, text.encode())
    return seed


def _write_private(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


# ---------------------------------------------------------------- requests


@dataclass(frozen=True)
class Reply:
    """One HTTP reply; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def sign(
    key: rsa.RSAPrivateKey, key_id: str, method: str, path: str, headers: Mapping[str, str], *, body: bytes | None
) -> dict[str, str]:
    """Headers of a signed request; `body` None leaves the body unsigned (as for PutObject and UploadPart)."""
    signed = {"date": formatdate(usegmt=True), **headers}
    names = ["date", "(request-target)", "host"]
    if body is not None:
        signed["content-length"] = str(len(body))
        signed.setdefault("content-type", "application/json")
        signed["x-content-sha256"] = base64.b64encode(hashlib.sha256(body).digest()).decode()
        names += ["content-length", "content-type", "x-content-sha256"]
    values = {**signed, "(request-target)": f"{method.lower()} {path}"}
    text = "\n".join(f"{name}: {values[name]}" for name in names)
    signature = base64.b64encode(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()
    signed["authorization"] = (
        f'Signature algorithm="rsa-sha256",headers="{" ".join(names)}",keyId="{key_id}",'
        f'signature="{signature}",version="1"'
    )
    return signed


@dataclass
class Emulator:
    """A running emulator process and what a test needs to use it."""

    seed: Seed
    state: Path
    arguments: tuple[str, ...] = ()
    endpoint: str = ""
    token: str = ""
    ca: Path | None = None
    metadata: str = ""
    process: subprocess.Popen[str] = field(init=False)

    def start(self) -> Self:
        """Start (or start again, on the same state) and wait until it is ready."""
        first = [] if (self.state / "cloud.sqlite").exists() else ["--seed", str(self.seed.path)]
        port = ["--port", str(urllib.parse.urlsplit(self.endpoint).port or 0)]
        command = [sys.executable, "-m", "hypersdk_emulator", "--state", str(self.state), "--seed-root"]
        command += [str(self.seed.folder), *port, *first, *self.arguments]
        # While it was down, its port may have become the short-lived local end of somebody's connection.
        for _ in range(20):
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert self.process.stdout is not None
            if ready := json.loads(self.process.stdout.readline() or "{}"):
                break
            self.process.stdout.close()
            self.process.wait(READY_SECONDS)
        assert ready, f"the emulator did not start: exit {self.process.wait(READY_SECONDS)}"
        RUNNING[id(self)] = self
        self.endpoint, self.token = ready["endpoint"], ready["token"]
        self.ca = Path(ready["ca"]) if ready["ca"] else None
        self.metadata = ready["metadata"]
        return self

    def stop(self, how: int = signal.SIGTERM) -> int:
        """End the process with a signal; returns its exit status."""
        self.process.send_signal(how)
        status = self.process.wait(READY_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
        RUNNING.pop(id(self), None)
        return status

    def kill(self) -> None:
        """Kill -9."""
        self.stop(signal.SIGKILL)

    @property
    def config_file(self) -> Path:
        """An `~/.oci/config` for the seed's user."""
        return self.seed.config_file

    @property
    def namespace(self) -> str:
        """Object Storage namespace."""
        return self.seed.namespace

    def connect(self, timeout: float = 30) -> http.client.HTTPConnection:
        """A connection of its own, for tests that play with the wire."""
        at = urllib.parse.urlsplit(self.endpoint)
        if at.scheme == "https":
            context = ssl.create_default_context(cafile=str(self.ca))
            return http.client.HTTPSConnection(at.hostname or "", at.port, timeout=timeout, context=context)
        return http.client.HTTPConnection(at.hostname or "", at.port, timeout=timeout)

    @property
    def host(self) -> str:
        """Value of the Host header."""
        return urllib.parse.urlsplit(self.endpoint).netloc

    def signed_headers(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """Headers of a request signed by the seed's user."""
        own = {"host": self.host, **(headers or {})}
        return sign(private_key(), self.seed.key_id, method, path, own, body=body)

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send one request as it is."""
        connection = self.connect()
        try:
            connection.request(method, path, body, dict(headers or {}))
            reply = connection.getresponse()
            return Reply(reply.status, {n.lower(): v for n, v in reply.getheaders()}, reply.read())
        finally:
            connection.close()

    def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        """Send one signed request; bytes are an unsigned body (PutObject, UploadPart), anything else goes as JSON."""
        if isinstance(body, bytes):
            return self.send(method, path, body, self.signed_headers(method, path, None, headers))
        data = None
        if method in ("POST", "PUT"):
            data = b"" if body is None else json.dumps(body).encode()
        return self.send(method, path, data, self.signed_headers(method, path, data, headers))

    def object_path(self, bucket: str, name: str) -> str:
        """Path of an object, its name encoded whole."""
        return f"/n/{self.namespace}/b/{bucket}/o/{urllib.parse.quote(name, safe='')}"

    def put(self, bucket: str, name: str, data: bytes, headers: Mapping[str, str] | None = None) -> Reply:
        """PutObject, which must work."""
        reply = self.call("PUT", self.object_path(bucket, name), data, headers)
        assert reply.status == 200, reply
        return reply

    def get(self, bucket: str, name: str, headers: Mapping[str, str] | None = None) -> Reply:
        """GetObject."""
        return self.call("GET", self.object_path(bucket, name), headers=headers)

    def names(self, bucket: str) -> list[str]:
        """All object names of a bucket."""
        found: list[str] = []
        start = ""
        while True:
            query = "?" + urllib.parse.urlencode({"start": start}) if start else ""
            page = self.call("GET", f"/n/{self.namespace}/b/{bucket}/o{query}").json
            found += [each["name"] for each in page["objects"]]
            start = page.get("nextStartWith", "")
            if not start:
                return found

    # -- controls

    @property
    def remote(self) -> Remote:
        """The control calls."""
        return Remote(self.endpoint, self.token, self.ca, lambda: self.process.poll() is None)

    def control(self, method: str, what: str, body: Any = None) -> Any:
        """One control call; returns its JSON, None if it has none. During an outage it waits for the end of that."""
        return self.remote.control(method, what, body)

    def fault(self, operation: str, effect: str, **fields: Any) -> Any:
        """Declare a fault; a test that does not consume it fails."""
        return self.remote.fault(operation, effect, **fields)

    def faults(self) -> list[dict[str, Any]]:
        """The declared faults with their counts."""
        return self.remote.faults()

    def log(self, after: int = 0, **filters: Any) -> list[dict[str, Any]]:
        """The requests that have arrived, control calls left out."""
        return self.remote.log(after=after, **filters)

    def unconsumed(self) -> list[dict[str, Any]]:
        """Faults that never hit, or not as often as declared."""
        return self.remote.unconsumed()


def fail_unconsumed(emulators: Iterable[Emulator]) -> None:
    """Forget the faults of these emulators, and fail if one of them never hit.

    Args:
        emulators: those whose processes have ended say nothing any more.
    """
    left: list[dict[str, Any]] = []
    for emulator in emulators:
        if emulator.process.poll() is None:
            left += emulator.unconsumed()
            emulator.remote.drop_faults()
    assert not left, f"faults never consumed: {left}"


def changed(seed: Seed, **values: Any) -> dict[str, Any]:
    """A copy of a seed's JSON with top-level values replaced, for `control("PUT", "seed", ...)`."""
    return {**copy.deepcopy(seed.value), **values}
