"""The rules of the `oci:` block: kind of credentials, region, connection; and sessions that say what is wrong."""

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hypersdk import errors
from hypersdk.config import Config, load_config
from hypersdk.model import Secret
from hypersdk.vendors.oci import regions
from hypersdk.vendors.oci.connecting import bypasses_proxy
from hypersdk.vendors.oci.credentials import OciSettings
from hypersdk.vendors.oci.keys import fingerprint
from hypersdk.vendors.oci.kinds.api_key import ApiKey
from hypersdk.vendors.oci.session import CLIENTS, OciSession, open_session

TENANCY = "ocid1.tenancy.oc1..aaaatenancy"
USER = "ocid1.user.oc1..aaaauser"
NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8
OLD = serialization.PrivateFormat.TraditionalOpenSSL
OPEN = serialization.NoEncryption()


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Home:
    """A home with ~/.oci/config and a key, both changeable."""

    def __init__(self, root: Path, key: rsa.RSAPrivateKey) -> None:
        self.root, self.key = root, key
        (root / ".oci").mkdir()
        self.pem = root / ".oci/key.pem"
        self.pem.write_bytes(key.private_bytes(PEM, PKCS8, OPEN))
        self.environ: dict[str, str] = {}
        self.values = {
            "tenancy": TENANCY,
            "user": USER,
            "fingerprint": fingerprint(key),
            "key_file": "key.pem",
            "region": "us-ashburn-1",
        }

    def profile(self, **changes: str | None) -> None:
        values = self.values | changes
        lines = [f"{name}={value}\n" for name, value in values.items() if value is not None]
        (self.root / ".oci/config").write_text("[DEFAULT]\n" + "".join(lines))

    def token(self, expires: datetime = NOW + timedelta(hours=1), text: str | None = None) -> Path:
        claims = base64.urlsafe_b64encode(json.dumps({"exp": expires.timestamp()}).encode()).decode().rstrip("=")
        path = self.root / ".oci/token"
        path.write_text(text if text is not None else f"e30.{claims}.c2ln\n")
        return path

    def load(self, **flags: object) -> Config:
        return load_config(flags, self.environ, cwd="/", home=self.root)

    def open(self, **flags: object) -> OciSession:
        return open_session(self.load(**flags).oci, now=lambda: NOW)


@pytest.fixture
def home(tmp_path: Path, key: rsa.RSAPrivateKey) -> Home:
    made = Home(tmp_path, key)
    made.profile()
    return made


# ---------------------------------------------------------------- kinds of credentials


def test_api_key_profile_opens(home: Home) -> None:
    """The profile that `oci setup config` writes works untouched, from any directory."""
    session = home.open()
    assert (session.kind, session.region, session.tenancy_id) == ("api_key", "us-ashburn-1", TENANCY)
    assert session.object_storage_url == "https://objectstorage.us-ashburn-1.oraclecloud.com"
    assert not session.refresh()


@pytest.mark.parametrize("stale_user", [None, USER])
def test_session_profile_needs_no_user(home: Home, stale_user: str | None) -> None:
    """C001: a token file makes the kind security_token, without `user` and with a stale one; config says from where."""
    home.token()
    home.profile(user=stale_user, security_token_file="token")
    config = home.load()
    assert config.oci.auth == "security_token"
    assert config.sources["oci.auth"].startswith("inferred from ~/.oci/config:")
    session = home.open()
    signed = session.sign("GET", "https://h/n", {})
    assert 'keyId="ST$e30.' in signed["authorization"]


def test_own_section_decides_before_default(home: Home) -> None:
    """A token in [DEFAULT] does not turn the API key of another profile into a session, nor a user there a session."""
    home.profile(security_token_file="token")
    path = home.root / ".oci/config"
    path.write_text(path.read_text() + f"[KEY]\nuser={USER}x\n[S]\nsecurity_token_file=t\n")
    assert home.load(profile="KEY").oci.auth == "api_key"
    home.profile()
    path.write_text(path.read_text() + "[S]\nsecurity_token_file=t\n")
    assert home.load(profile="S").oci.auth == "security_token"
    assert home.load(profile="S", auth="api_key").oci.auth == "api_key"


def test_key_as_text_beats_a_file_from_a_weaker_place(home: Home, key: rsa.RSAPrivateKey) -> None:
    """OCI_CLI_KEY_CONTENT signs instead of the profile's key file, also with its lines spelled as backslash-n."""
    home.profile(key_file="gone.pem")
    text = key.private_bytes(PEM, PKCS8, OPEN).decode()
    for content in (text, text.strip().replace("\n", "\\n")):
        home.environ["OCI_CLI_KEY_CONTENT"] = content
        assert home.open().key_fingerprint == fingerprint(key)


@pytest.mark.parametrize("form", [PKCS8, OLD])
def test_encrypted_key(home: Home, key: rsa.RSAPrivateKey, form: serialization.PrivateFormat) -> None:
    """An encrypted key of either form opens with its pass phrase; a missing and a wrong one are told apart."""
    home.pem.write_bytes(
        key.private_bytes(PEM, form, serialization.BestAvailableEncryption(b"open sesame")) + b"OCI_API_KEY\n"
    )
    with pytest.raises(errors.ConfigError) as missing:
        home.open()
    assert "is encrypted and no pass phrase was given" in str(missing.value)
    assert "OCI_CLI_PASSPHRASE" in str(missing.value)
    home.profile(pass_phrase="wrong")
    with pytest.raises(errors.AuthError) as wrong:
        home.open()
    assert wrong.value.message.endswith("is not opened by the pass phrase from ~/.oci/config:7 [DEFAULT] pass_phrase")
    home.environ["OCI_CLI_PASSPHRASE"] = "open sesame"
    session = home.open()
    assert session.key_fingerprint == fingerprint(key)
    assert session.settings.pass_phrase.reveal() == "open sesame"


def test_a_pass_phrase_for_an_open_key_is_tolerated(home: Home) -> None:
    """A pass phrase inherited from [DEFAULT] does not break a profile whose key needs none."""
    home.profile(pass_phrase="whatever")
    assert home.open().kind == "api_key"


def test_settings_made_by_hand_open(home: Home, key: rsa.RSAPrivateKey) -> None:
    """A library caller may fill OciSettings without a file; an API key is meant unless a kind is named."""
    text = Secret(key.private_bytes(PEM, PKCS8, OPEN).decode())
    made = OciSettings(tenancy_ocid=TENANCY, user_ocid=USER, key_content=text, region="eu-zurich-1")
    assert open_session(made).kind == "api_key"


def test_fingerprint_may_be_left_out(home: Home, key: rsa.RSAPrivateKey) -> None:
    """Without a fingerprint it is computed from the key."""
    home.profile(fingerprint=None)
    assert fingerprint(key) in home.open().sign("GET", "https://h/n", {})["authorization"]


# ---------------------------------------------------------------- each mistake has its own message


def test_wrong_fingerprint(home: Home, key: rsa.RSAPrivateKey) -> None:
    """A fingerprint of another key is noticed before the service does; both places and the right one are named."""
    home.profile(fingerprint=":".join(["ab"] * 16))
    with pytest.raises(errors.AuthError) as wrong:
        home.open()
    told = str(wrong.value)
    assert told.startswith("~/.oci/config:4 [DEFAULT] fingerprint: fingerprint ab:ab:")
    assert f"{home.pem} (~/.oci/config:5 [DEFAULT] key_file), which is {fingerprint(key)}" in told
    assert wrong.value.exit_code == 4


def test_what_is_no_private_key(home: Home, key: rsa.RSAPrivateKey) -> None:
    """A public key, an OpenSSH key, an elliptic key, a damaged and an empty file each get their own words."""
    public = key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    ssh = key.private_bytes(PEM, serialization.PrivateFormat.OpenSSH, OPEN)
    elliptic = ec.generate_private_key(ec.SECP256R1()).private_bytes(PEM, PKCS8, OPEN)
    for data, words in (
        (public, "is a public key, not a private key in PEM form - give the private half"),
        (ssh, "is an OpenSSH private key, not a private key in PEM form - convert it: ssh-keygen -p -m PEM"),
        (elliptic, "is not an RSA key - OCI signs with RSA keys only"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "is damaged"),
        (b"", "is not PEM, not a private key in PEM form"),
    ):
        home.pem.write_bytes(data)
        with pytest.raises(errors.AuthError) as refused:
            home.open()
        assert str(refused.value).startswith(f"~/.oci/config:5 [DEFAULT] key_file: {home.pem} {words}")


def test_missing_and_unreadable_files_show_their_absolute_path(home: Home) -> None:
    """C007: a key or token file that is absent or a directory: exit 2 with the place and the absolute path."""
    home.profile(key_file="~/nowhere/k.pem")
    with pytest.raises(errors.ConfigError, match=f"key_file: private key {home.root}/nowhere/k.pem: there is no such"):
        home.open()
    home.profile(key_file=".")
    with pytest.raises(errors.ConfigError, match=f"key_file: private key {home.root}/.oci: it is a directory"):
        home.open()
    home.profile(security_token_file="sessions/token")
    with pytest.raises(errors.ConfigError, match=f"session token {home.root}/.oci/sessions/token: there is no such"):
        home.open()


def test_expired_and_broken_tokens(home: Home) -> None:
    """An expired token says when and how to renew it; a file that holds none says so."""
    home.profile(security_token_file="token")
    home.token(NOW - timedelta(minutes=5))
    with pytest.raises(errors.AuthError) as expired:
        home.open()
    assert "the session token expired at 2026-11-25 11:55:00 UTC" in str(expired.value)
    assert "oci session refresh --profile DEFAULT" in str(expired.value)
    for text in ("", "hello", "a.b.c", "a.W10.c"):
        home.token(text=text)
        with pytest.raises(errors.AuthError, match="does not hold a session token"):
            home.open()


def test_missing_values_name_their_places(home: Home) -> None:
    """C005: a missing region (or tenancy, user, key) is exit 2 and names every place where it may come from."""
    home.profile(region=None)
    with pytest.raises(errors.ConfigError) as missing:
        home.open()
    told = str(missing.value)
    for place in ("no region", "--region", "OCI_CLI_REGION or OCI_REGION", "oci.region in hypersdk.yaml"):
        assert place in told
    assert f"region in profile [DEFAULT] of {home.root}/.oci/config" in told
    assert missing.value.exit_code == 2
    for name, words in (("tenancy", "no tenancy_ocid"), ("user", "no user_ocid"), ("key_file", "no private key")):
        home.profile(**{name: None})
        with pytest.raises(errors.ConfigError, match=words):
            home.open()
    (home.root / ".oci/config").unlink()
    with pytest.raises(errors.ConfigError, match="no tenancy_ocid"):
        home.open()


def test_switched_off_by_the_user(home: Home) -> None:
    """`enabled: false` is one line and exit 2; nothing written means on."""
    home.environ["HYPEREXPORT_OCI_ENABLED"] = "false"
    with pytest.raises(errors.ConfigError, match="switched off: environment HYPEREXPORT_OCI_ENABLED is false"):
        home.open()
    home.environ["HYPEREXPORT_OCI_ENABLED"] = "true"
    assert home.load().oci.enabled is True
    home.environ.clear()
    assert home.load().oci.enabled is None
    assert home.open().kind == "api_key"


# ---------------------------------------------------------------- region


def test_default_region_is_for_the_oci_block_only(home: Home) -> None:
    """us-phoenix-1 counts only where hypersdk.yaml holds the credentials and names no region."""
    home.profile(region=None)
    assert home.load().oci.region is None
    yaml = home.root / ".config/hypersdk/hypersdk.yaml"
    yaml.parent.mkdir(parents=True)
    yaml.write_text(f"oci:\n  tenancy_ocid: {TENANCY}\n")
    config = home.load()
    assert config.oci.region == "us-phoenix-1"
    assert config.sources["oci.region"] == "default (the oci: block names no region)"
    home.environ["OCI_CLI_TENANCY"] = TENANCY
    assert home.load().oci.region is None


@pytest.mark.parametrize(
    ("written", "region", "host"),
    [
        ("IAD", "us-ashburn-1", "us-ashburn-1.oraclecloud.com"),
        ("us-ashburn-1 ", "us-ashburn-1", "us-ashburn-1.oraclecloud.com"),
        ("EU-Frankfurt-1", "eu-frankfurt-1", "eu-frankfurt-1.oraclecloud.com"),
        ("us-boardman-1", "us-boardman-1", "us-boardman-1.oraclecloud.com"),
        ("xx-lab-7", "xx-lab-7", "xx-lab-7.oraclecloud.com"),
        ("us-langley-1", "us-langley-1", "us-langley-1.oraclegovcloud.com"),
    ],
)
def test_regions_newer_than_the_table_are_used(home: Home, written: str, region: str, host: str) -> None:
    """C009: blanks and case do not matter, short codes are expanded, unknown well-formed regions are accepted."""
    session = home.open(region=written)
    assert session.region == region
    assert session.object_storage_url == f"https://objectstorage.{host}"
    assert session.client("ComputeClient").base_client.get_endpoint().startswith(f"https://iaas.{host}")


def test_a_region_that_does_not_answer_suggests_the_nearest(home: Home) -> None:
    """C009: a slip in the region is explained by the nearest known one; a known region or an endpoint needs none."""
    told = home.open(region="us-ashbrun-1").explain_unreachable()
    assert told is not None
    assert "did you mean 'us-ashburn-1'?" in told
    assert home.open().explain_unreachable() is None
    assert home.open(region="us-ashbrun-1", endpoint="http://127.0.0.1:1").explain_unreachable() is None
    assert regions.nearest("xx-lab-7") is None


def test_with_an_endpoint_the_region_is_optional(home: Home) -> None:
    """As with the OCI CLI, one endpoint for everything makes the region optional; it loses its trailing slash."""
    home.profile(region=None)
    session = home.open(endpoint="http://127.0.0.1:8080/")
    assert (session.region, session.object_storage_url) == ("", "http://127.0.0.1:8080")
    for name in CLIENTS:
        assert session.client(name).base_client.get_endpoint().startswith("http://127.0.0.1:8080")
    assert session.client("ComputeClient") is session.client("ComputeClient")


# ---------------------------------------------------------------- connection


@pytest.mark.parametrize(
    "by", ["flag", "OCI_CLI_CERT_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "profile", "yaml"]
)
def test_ca_bundle_by_every_way_of_setting_it(home: Home, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """C011: each way of naming a CA bundle reaches the clients, and nothing in the environment overrides it."""
    bundle = home.root / "ca.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\n")
    flags = {}
    if by == "flag":
        flags["ca_bundle"] = str(bundle)
    elif by == "profile":
        home.profile(cert_bundle="~/ca.pem")
    elif by == "yaml":
        (home.root / ".config/hypersdk").mkdir(parents=True)
        (home.root / ".config/hypersdk/hypersdk.yaml").write_text("oci:\n  cert_bundle: ~/ca.pem\n")
    else:
        home.environ[by] = "~/ca.pem"
    session = home.open(**flags)
    assert session.connection.ca_bundle == str(bundle)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/another")
    http = session.client("ComputeClient").base_client.session
    assert http.merge_environment_settings("https://h", {}, None, None, None)["verify"] == str(bundle)
    bundle.unlink()
    with pytest.raises(errors.ConfigError, match=f"CA bundle {bundle}: there is no such file"):
        home.open(**flags)
    bundle.write_text("hello")
    with pytest.raises(errors.ConfigError, match="it holds no certificate"):
        home.open(**flags)


def test_proxies_by_flag_environment_and_file(home: Home) -> None:
    """A flag beats https_proxy, that beats a file; the scheme is http unless written; loopback needs no proxy."""
    (home.root / ".oci/oci_cli_rc").write_text("[OCI_CLI_SETTINGS]\nproxy=rc:1\n")
    config = home.load()
    assert config.oci.connection.proxy is not None
    assert config.oci.connection.proxy.reveal() == "http://rc:1"
    assert config.oci.connection.no_proxy is None
    home.environ |= {"https_proxy": "http://env:2", "HTTP_PROXY": "http://never:3", "NO_PROXY": ".corp"}
    connection = home.load().oci.connection
    assert connection.proxy is not None
    assert connection.proxy.reveal() == "http://env:2"
    assert connection.no_proxy == ".corp,localhost,127.0.0.0/8,::1"
    assert home.load().sources["oci.proxy"] == "environment https_proxy"
    assert home.load(endpoint="http://127.0.0.1:1").oci.connection.proxy == config.oci.connection.proxy
    flagged = home.load(proxy="flag:4").oci.connection
    assert flagged.proxy is not None
    assert (flagged.proxy.reveal(), flagged.no_proxy) == ("http://flag:4", ".corp")
    home.environ["https_proxy"] = "socks5://x:1"
    with pytest.raises(errors.ConfigError, match="environment https_proxy: not a proxy"):
        home.load()


def test_http_and_https_have_their_own_proxies(home: Home) -> None:
    """Each scheme goes through the proxy that the environment names for it, a flag's serves both; as curl has it."""
    assert home.load().oci.connection.proxies == {}
    home.environ |= {"https_proxy": "http://secure:1"}
    connection = home.load().oci.connection
    assert (connection.proxy_of("https://h/x"), connection.proxy_of("http://h/x")) == (Secret("http://secure:1"), None)
    home.environ |= {"http_proxy": "http://plain:2"}
    for endpoint in (None, "http://127.0.0.1:1"):
        connection = home.load(**({"endpoint": endpoint} if endpoint else {})).oci.connection
        assert connection.proxy_of("https://h/x") == Secret("http://secure:1")
        assert connection.proxy_of("http://h/x") == Secret("http://plain:2")
        assert connection.no_proxy == "localhost,127.0.0.0/8,::1"
    connection = home.load(proxy="flag:3").oci.connection
    assert {connection.proxy_of(f"{scheme}://h/") for scheme in ("http", "https")} == {Secret("http://flag:3")}


def test_clients_use_the_proxy_unless_the_host_is_excepted(home: Home) -> None:
    """The proxy reaches every client, hosts of no_proxy are reached directly."""
    home.environ |= {"https_proxy": "http://env:2", "no_proxy": "iaas.us-ashburn-1.oraclecloud.com"}
    session = home.open()
    assert session.client("IdentityClient").base_client.session.proxies == {"all": "http://env:2"}
    assert session.client("ComputeClient").base_client.session.proxies == {}
    assert session.client("ComputeClient").base_client.timeout == (10.0, 60.0)


@pytest.mark.parametrize(
    ("host", "no_proxy", "direct"),
    [
        ("a.example.com", "example.com", True),
        ("a.example.com", ".example.com", True),
        ("example.com", ".example.com", True),
        ("badexample.com", "example.com", False),
        ("EXAMPLE.com.", "example.COM", True),
        ("a", "*", True),
        ("a", "", False),
        ("a", "b, a", True),
        ("127.0.0.1", "127.0.0.0/8", True),
        ("10.0.0.1", "127.0.0.0/8", False),
        ("::1", "[::1]", True),
        ("1.2.3.4", "2.3.4", False),
    ],
)
def test_no_proxy_as_curl_reads_it(host: str, no_proxy: str, direct: bool) -> None:
    """Names, suffixes on label boundaries, addresses and networks."""
    assert bypasses_proxy(host, no_proxy) is direct


# ---------------------------------------------------------------- signatures


def test_signatures_are_used_again_for_a_minute(home: Home) -> None:
    """One signature serves all ranges of an object for a minute; parts are signed one by one; no header is lost."""
    clock = [100.0]
    session = OciSession(home.load().oci, ApiKey(home.load().oci), now=lambda: NOW, clock=lambda: clock[0])
    first = session.sign("GET", "https://h:8443/n/ns/b/b/o/a%2Fb?versionId=1", {"Range": "bytes=0-1"})
    again = session.sign("GET", "https://h:8443/n/ns/b/b/o/a%2Fb?versionId=1", {"Range": "bytes=2-3"})
    assert first["authorization"] == again["authorization"]
    assert (first["range"], again["range"], first["host"]) == ("bytes=0-1", "bytes=2-3", "h:8443")
    assert 'headers="date (request-target) host"' in first["authorization"]
    assert session._signatures.keys() == {("GET", "https://h:8443/n/ns/b/b/o/a%2Fb?versionId=1")}
    clock[0] += 61
    session.sign("GET", "https://h:8443/n/ns/b/b/o/a%2Fb?versionId=1", {})
    assert session._signatures[("GET", "https://h:8443/n/ns/b/b/o/a%2Fb?versionId=1")][0] == 161.0
    session.sign("PUT", "https://h:8443/n/x", {})
    assert len(session._signatures) == 1


def test_refresh_reads_the_token_anew(home: Home) -> None:
    """After `oci session refresh` the same session, its clients and its signatures use the new token."""
    home.token()
    home.profile(security_token_file="token")
    session = home.open()
    signer = session.client("IdentityClient").base_client.signer
    before = session.sign("GET", "https://h/n", {})
    assert not session.refresh()
    home.token(NOW + timedelta(hours=2))
    assert session.refresh()
    assert session.sign("GET", "https://h/n", {})["authorization"] != before["authorization"]
    request = SimpleNamespace(method="GET", url="https://h/n", path_url="/n", headers={}, body=None)
    key_of = re.compile(r'keyId="[^"]+"').search
    assert (
        key_of(signer(request).headers["authorization"])[0]
        == key_of(session.sign("GET", "https://h/n", {})["authorization"])[0]
    )
    home.token(NOW - timedelta(hours=2))
    with pytest.raises(errors.AuthError, match="expired"):
        session.refresh()


# ---------------------------------------------------------------- why 401


def test_clock_skew_is_told_with_both_times(home: Home) -> None:
    """More than five minutes between our clock and the reply's Date is the reason; both times are shown."""
    told = home.open().explain_not_authenticated("Wed, 25 Nov 2026 12:10:00 GMT")
    assert "this machine says 2026-11-25 12:00:00 UTC, Oracle says 2026-11-25 12:10:00 UTC, 10 minutes apart" in told
    assert "clock" not in home.open().explain_not_authenticated("Wed, 25 Nov 2026 12:04:00 GMT")


@pytest.mark.parametrize("date", [None, "nonsense", ""])
def test_without_skew_the_key_is_asked_about(home: Home, date: str | None) -> None:
    """Without a usable Date the facts that OCI compares are named: fingerprint, user, tenancy, with their places."""
    session = home.open()
    told = session.explain_not_authenticated(date)
    assert session.key_fingerprint in told
    assert f"{USER} (~/.oci/config:3 [DEFAULT] user)" in told


def test_a_session_that_ended_is_told(home: Home) -> None:
    """A 401 to a session token says that it expired by the service's clock, or was ended, and how to renew it."""
    home.token(NOW + timedelta(minutes=2))
    home.profile(security_token_file="token")
    session = home.open()
    assert "expired at 2026-11-25 12:02:00" in session.explain_not_authenticated("Wed, 25 Nov 2026 12:03:00 GMT")
    told = session.explain_not_authenticated("Wed, 25 Nov 2026 12:00:00 GMT")
    assert "was ended" in told
    assert "oci session refresh" in told
