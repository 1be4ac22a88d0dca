"""No secret of a run in anything that it prints or leaves: everything is searched for every one of them."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from emulator import REGION, TENANCY, USER, Emulator, fingerprint, public_pem
from hyperexport import Ended, Hyperexport
from raw_server import OneObject, RawServer, send

PASS_PHRASE = "correct-horse-battery"
PROXY_PASSWORD = "pr0xy-s3cret"
LINK = re.compile(rb"/p/[A-Za-z0-9_-]{20,}")
LOUD = ("--debug", "-v")


def sign_in(emulator: Emulator, folder: Path) -> list[str]:
    """A login as `oci session authenticate` makes it, with an encrypted key; returns its secrets, piece by piece."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    made = emulator.control(
        "POST", "session-token", {"userId": USER, "publicKeyPem": public_pem(key), "ttlSeconds": 600}
    )
    form, lock = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(PASS_PHRASE.encode())
    pem = key.private_bytes(serialization.Encoding.PEM, form, lock)
    lines = {
        "fingerprint": fingerprint(key),
        "key_file": folder / "key.pem",
        "tenancy": TENANCY,
        "region": REGION,
        "security_token_file": folder / "token",
        "pass_phrase": PASS_PHRASE,
    }
    folder.mkdir()
    (folder / "key.pem").touch(mode=0o600)
    (folder / "key.pem").write_bytes(pem)
    (folder / "token").touch(mode=0o600)
    (folder / "token").write_text(made["token"])
    emulator.config_file.write_text("[DEFAULT]\n" + "".join(f"{key}={value}\n" for key, value in lines.items()))
    token = made["token"]
    signature = token.rpartition(".")[2]
    return [PASS_PHRASE, PROXY_PASSWORD, token, signature, pem.decode().splitlines()[3], "BEGIN ENCRYPTED"]


def links(emulator: Emulator) -> list[str]:
    """The secret parts of the pre-authenticated links that exist now."""
    with closing(sqlite3.connect(emulator.state / "cloud.sqlite")) as db:
        return [token for (token,) in db.execute("SELECT token FROM pars")]


def told(home: Path, outputs: list[Ended], secrets: list[str]) -> list[tuple[str, str]]:
    """Every secret in every file below `home`, binary ones too, and in every output."""
    texts = {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}
    texts |= {f"output {n}": (ended.out + ended.err).encode() for n, ended in enumerate(outputs)}
    hits = [(name, secret) for name, text in texts.items() for secret in secrets if secret.encode() in text]
    return hits + [(name, link.decode()) for name, text in texts.items() for link in LINK.findall(text)]


def test_no_secret_leaves_the_process(start_emulator: Callable[..., Emulator], tmp_path: Path) -> None:
    """Links, tokens, pass phrases, proxies stay out of output, store, partial, journal and manifest of any ending."""
    emulator = start_emulator(disk_size=4 << 20, assume={"lock-minutes": 0})
    secrets = sign_in(emulator, tmp_path / "login")
    (tmp_path / "home").mkdir()
    hyper = Hyperexport(emulator, tmp_path / "home")
    hyper.environ |= {"HYPEREXPORT_TRANSFER_PART_SIZE": "192KiB", "HYPEREXPORT_TRANSFER_PARALLEL": "1"}
    export = ("export", "web-01", "-bn", "exports", "-o", "web.qcow2", *LOUD)

    emulator.fault("ExportImage", "hold")
    running = hyper.start(*export)
    while not any(fault.get("holding") for fault in emulator.faults()):
        assert not running.ended(), running.err
        threading.Event().wait(0.01)
    link = links(emulator)
    assert len(link) == 1
    secrets += link
    outputs = [running.kill()]
    emulator.control("POST", "release", {"all": True})

    emulator.fault("GetObject", "error", skip=2, status=403, code="NotAuthorized", message="no")
    outputs.append(hyper.run(*export))
    assert outputs[-1].code == 4, outputs[-1].err
    assert {".partial", ".journal"} <= {path.suffix for path in hyper.folder.iterdir()}
    (log,) = (hyper.folder / "state" / "logs").iterdir()
    assert "ended: " in log.read_text()
    assert told(hyper.folder, outputs, secrets) == []

    nowhere = ("--proxy", f"http://somebody:{PROXY_PASSWORD}@127.0.0.1:1", *LOUD)
    once = {"HYPEREXPORT_RETRY_MAX_ATTEMPTS": "1", "HYPEREXPORT_NETWORK_MONITOR": "false"}
    commands = (("config", "show"), ("config", "check"), export)
    outputs += [hyper.run(*command, *nowhere, environ=once) for command in commands]
    assert outputs[-1].code == 8, outputs[-1].err
    outputs += [hyper.run(*export, "--json"), hyper.run("runs", "show", "", "--json"), hyper.run("runs", "list")]
    assert outputs[-3].code == 0, outputs[-3].err
    assert (hyper.folder / "web.qcow2.manifest.json").exists()
    assert told(hyper.folder, outputs, secrets) == []


def test_addresses_that_authorize_themselves_stay_secret(
    start_emulator: Callable[..., Emulator], tmp_path: Path
) -> None:
    """Tokens of links and signatures of presigned addresses are in no output, journal or file of any copy's ending."""
    emulator = start_emulator()
    (tmp_path / "home").mkdir()
    hyper = Hyperexport(emulator, tmp_path / "home")
    hyper.environ |= {"HYPEREXPORT_TRANSFER_PART_SIZE": "64KiB", "HYPEREXPORT_TRANSFER_PARALLEL": "1"}
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    details = {"name": "l", "accessType": "AnyObjectReadWrite", "bucketListingAction": "ListObjects"}
    path = f"/n/{emulator.namespace}/b/exports/p"
    made = emulator.call("POST", path, {**details, "timeExpires": until}).json
    body, signature = bytes(range(256)) * 1024, "s1gnature-of-somebody"
    (hyper.folder / "source").write_bytes(body)
    with RawServer(OneObject(body, faults=[None, None, *[lambda _, peer: send(peer, 403)] * 9])) as server:
        web = f"{server.url}/disk?X-Signature={signature}"
        secrets, link = [signature, *links(emulator)], made["fullPath"]
        outputs = [
            hyper.run("cp", "source", f"{link}disk", *LOUD, "--json"),
            hyper.run("cp", "source", f"{link}disk", *LOUD, "--jsonl"),
            hyper.run("cp", f"{link}disk", "copy", *LOUD, "--dry-run"),
            hyper.run("ls", "-r", link, *LOUD),
            hyper.run("stat", f"{link}disk", *LOUD, "--json"),
            hyper.run("rm", "--yes", f"{link}disk", *LOUD),
            hyper.run("rm", "--yes", web, *LOUD),
            hyper.run("cp", web, "web", *LOUD),
        ]
        assert [ended.code for ended in outputs] == [0, 0, 0, 0, 0, 2, 2, 4], [ended.err for ended in outputs]
    outputs += [hyper.run("cp", web, "web", *LOUD, environ={"HYPEREXPORT_NETWORK_MONITOR": "false"})]
    emulator.fault("GetObject", "error", skip=2, times="any", status=404, code="NotAuthorizedOrNotFound")
    outputs += [hyper.run("cp", f"{link}disk", "copy", *LOUD, "--jsonl")]
    assert [ended.code for ended in outputs[-2:]] == [8, 5], [ended.err for ended in outputs[-2:]]
    assert len(list(hyper.folder.glob(".hx-*.journal"))) == 2
    assert emulator.call("DELETE", f"{path}/{made['id']}").status == 204
    outputs += [hyper.run(*line, *LOUD) for line in (("ls", link), ("cp", f"{link}disk", "x"), ("cp", "x/y?z", link))]
    assert all(ended.code for ended in outputs[-3:])
    assert told(hyper.folder, outputs, secrets) == []
