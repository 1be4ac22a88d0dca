"""`hyperexport config` and sessions against a cloud that really checks signatures and certificates."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from emulator import USER, fingerprint, private_key, private_pem, public_pem

from hypersdk.config import load_config
from hypersdk.model import ByteRange, Secret
from hypersdk.vendors.oci.check import check_access
from hypersdk.vendors.oci.session import open_session
from hypersdk.wire.loop import Wire
from hypersdk.wire.probe import probe
from hypersdk.wire.request import Expectation, Request


class Home:
    """A home whose profiles point to an emulator, and the command run in it from another directory."""

    def __init__(self, root: Path, emulator) -> None:
        self.root, self.emulator = root, emulator
        self.config = root / ".oci/config"
        self.config.parent.mkdir(parents=True)
        self.config.write_bytes(emulator.config_file.read_bytes())

    def run(self, *arguments: str, endpoint: bool = True, **environ: str) -> subprocess.CompletedProcess[str]:
        known = {"HOME": str(self.root), "PATH": os.environ["PATH"], **environ}
        command = [sys.executable, "-m", "hypersdk.cli", "config", *arguments]
        command += ["--endpoint", self.emulator.endpoint] if endpoint else []
        return subprocess.run(command, env=known, cwd="/", capture_output=True, text=True, timeout=60, check=False)

    def session_profile(self, **further: str) -> None:
        """Sign in as `oci session authenticate` does: a key and a token of their own."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        made = self.emulator.control(
            "POST", "session-token", {"userId": USER, "publicKeyPem": public_pem(key), "ttlSeconds": 300}
        )
        folder = self.root / ".oci/sessions/S"
        folder.mkdir(parents=True)
        for name, data in (("key.pem", private_pem(key)), ("token", made["token"].encode())):
            (folder / name).touch(mode=0o600)
            (folder / name).write_bytes(data)
        values = {
            "fingerprint": fingerprint(key),
            "key_file": "~/.oci/sessions/S/key.pem",
            "tenancy": self.emulator.seed.value["tenancyId"],
            "region": "us-ashburn-1",
            "security_token_file": "~/.oci/sessions/S/token",
            **further,
        }
        self.config.write_text("[S]\n" + "".join(f"{name}={value}\n" for name, value in values.items()))


@pytest.fixture
def home(tmp_path: Path, emulator) -> Home:
    return Home(tmp_path / "home", emulator)


def test_check_says_what_works(home: Home) -> None:
    """An untouched profile: one signed call, exit 0, and who, where and how as text and as JSON."""
    done = home.run("check")
    assert done.returncode == 0, done.stderr
    assert "testns" in done.stdout
    assert [entry["operation"] for entry in home.emulator.log()] == ["GetNamespace"]
    facts = json.loads(home.run("check", "--json").stdout)["check"]
    assert facts["works"]
    assert (facts["auth"], facts["namespace"], facts["region"]) == ("api_key", "testns", "us-ashburn-1")
    assert facts["fingerprint"] == fingerprint(private_key())
    assert facts["auth_source"] == "inferred from ~/.oci/config:3 [DEFAULT] user"


@pytest.mark.parametrize("further", [{}, {"user": "ocid1.user.oc1..stale"}], ids=["no-user", "stale-user"])
def test_session_profile_signs_in(home: Home, further: dict[str, str]) -> None:
    """C001: the profile of `oci session authenticate` works without `user` and with a stale one; the kind is shown."""
    home.session_profile(**further)
    done = home.run("check", "--profile", "S")
    assert done.returncode == 0, done.stderr
    assert "security_token" in done.stdout
    assert "inferred from ~/.oci/config:6 [S] security_token_file" in done.stdout


def test_a_key_that_the_service_does_not_know(home: Home) -> None:
    """A 401 is exit 4 and names fingerprint, user and tenancy as the things to look at, with OCI's request id."""
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (home.root / "other.pem").write_bytes(private_pem(other))
    done = home.run("check", OCI_CLI_KEY_FILE=str(home.root / "other.pem"), OCI_CLI_FINGERPRINT=fingerprint(other))
    assert done.returncode == 4
    assert f"is the public key with fingerprint {fingerprint(other)} (environment OCI_CLI_KEY_FILE)" in done.stderr
    assert "opc-request-id" in done.stderr
    assert "chmod 600" in done.stderr
    assert "OCI_API_KEY" in done.stderr
    assert done.stdout == ""


def test_a_clock_that_is_wrong(home: Home) -> None:
    """A 401 whose Date is far from our clock is told as clock skew, with both times."""
    home.emulator.fault(
        "GetNamespace",
        "error",
        status=401,
        code="NotAuthenticated",
        headers={"Date": "Wed, 25 Nov 2020 12:00:00 GMT"},
    )
    done = home.run("check")
    assert done.returncode == 4
    assert "clock skew: this machine says 20" in done.stderr
    assert "Oracle says 2020-11-25 12:00:00 UTC" in done.stderr


def test_mistakes_are_one_line_and_exit_2(home: Home) -> None:
    """Unknown profile, missing key file, no region, switched off: one line each on stderr, nothing on stdout."""
    text = home.config.read_text()
    for arguments, environ, words in (
        (["--profile", "NOPE"], {}, "no profile 'NOPE' (--profile) in ~/.oci/config"),
        ([], {"OCI_CLI_KEY_FILE": "/nowhere/k.pem"}, "private key /nowhere/k.pem: there is no such file"),
        ([], {"HYPEREXPORT_OCI_ENABLED": "false"}, "Oracle Cloud is switched off"),
        (["--cert-bundle", "/nowhere/ca.pem"], {}, "CA bundle /nowhere/ca.pem: there is no such file"),
    ):
        done = home.run("check", *arguments, **environ)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        assert words in done.stderr
    home.config.write_text("\n".join(line for line in text.split("\n") if not line.startswith("region")))
    done = home.run("check", endpoint=False)
    assert done.returncode == 2
    assert "no region" in done.stderr
    assert home.emulator.log() == []


def test_a_region_that_nobody_knows(home: Home) -> None:
    """C009: nothing answers for a mistyped region: the error suggests the nearest known one."""
    done = home.run("check", "--region", "us-ashbrun-1", "--proxy", "http://127.0.0.1:1", endpoint=False)
    assert done.returncode == 8
    assert "did you mean 'us-ashburn-1'?" in done.stderr


def test_show_names_profile_and_host_and_hides_secrets(home: Home) -> None:
    """`config show` sends nothing, names the source of each value and the host of a region; secrets are masked."""
    done = home.run("show", "--region", "xx-lab-7", OCI_CLI_PASSPHRASE="hunter2", endpoint=False)
    assert done.returncode == 0
    assert "hunter2" not in done.stdout + done.stderr
    rows = {
        row["key"]: (row["value"], row["source"])
        for row in json.loads(
            home.run("show", "--json", "--region", "XX-lab-7", OCI_CLI_PASSPHRASE="hunter2", endpoint=False).stdout
        )["settings"]
    }
    assert rows["oci.profile"] == ("DEFAULT", "default")
    assert rows["oci.pass_phrase"] == ("***", "environment OCI_CLI_PASSPHRASE")
    assert rows["oci.object_storage_url"][0] == "https://objectstorage.xx-lab-7.oraclecloud.com"
    assert home.emulator.log() == []


def test_a_private_authority_is_trusted_on_every_path(tmp_path: Path, start_emulator) -> None:
    """C011: with a CA bundle control calls, ranged reads, parts and the probe all work; without it no call does."""
    emulator = start_emulator(arguments=("--tls",))
    home = Home(tmp_path / "home", emulator)
    refused = home.run("check")
    assert refused.returncode == 2
    assert "--cert-bundle" in refused.stderr
    assert home.run("check", OCI_CLI_CERT_BUNDLE=str(emulator.ca)).returncode == 0
    flags = {"endpoint": emulator.endpoint, "ca_bundle": str(emulator.ca)}
    session = open_session(load_config(flags, {}, cwd="/", home=home.root).oci)
    assert check_access(session) == "testns"
    assert probe(session.connection, session.object_storage_url)
    url = Secret(emulator.endpoint + emulator.object_path("exports", "a b"))
    wire = Wire(session.connection)
    try:
        wire.call(Request("PUT", url, "a b", sign=session.sign), body=b"0123456789")
        wanted = Expectation(frozenset({206}), ByteRange(2, 5), 10)
        read = Request("GET", url, "a b", {"range": "bytes=2-4"}, session.sign, wanted)
        assert wire.call(read).body == b"234"
    finally:
        wire.close()
    plain = open_session(load_config({"endpoint": emulator.endpoint}, {}, cwd="/", home=home.root).oci)
    assert probe(plain.connection, plain.object_storage_url), "somebody is there, so that no call waits; each tells why"
