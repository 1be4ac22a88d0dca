"""What each kind of credentials sends, takes and refuses, against a server that says exactly what a test tells it."""

from __future__ import annotations

import base64
import json
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from private_ca import make_private_ca
from raw_server import Asked, RawServer, send

from hypersdk import errors
from hypersdk.model import ConnectionSettings, Secret
from hypersdk.vendors.oci.credentials import PRINCIPALS, OciSettings
from hypersdk.vendors.oci.kinds import jwt, metadata
from hypersdk.vendors.oci.kinds.grant import MARGIN, Credentials, Grant, Who, renew_before_end
from hypersdk.vendors.oci.kinds.instance_principal import InstancePrincipal
from hypersdk.vendors.oci.kinds.oke import OkeWorkloadIdentity
from hypersdk.vendors.oci.session import OciSession, credentials_of, open_session

TENANCY = "ocid1.tenancy.oc1..aaaatenancy"
INSTANCE = "ocid1.instance.oc1.iad.aaaainstance"
COMPARTMENT = "ocid1.compartment.oc1..aaaacompartment"
NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PREFIX = "OCI_RESOURCE_PRINCIPAL_"
LEAF = "_FOR_LEAF_RESOURCE"


def now() -> datetime:
    return NOW


def token(life: float | None = 1200, issued: datetime = NOW, **claims: object) -> str:
    """A token whose signature nobody here checks."""
    times = {} if life is None else {"iat": issued.timestamp(), "exp": issued.timestamp() + life}
    parts = ({"alg": "RS256"}, {**times, **claims})
    return (
        ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + ".c2ln"
    )


def pem(key: rsa.RSAPrivateKey = KEY, phrase: str | None = None) -> str:
    form, locked = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    if phrase is not None:
        locked = serialization.BestAvailableEncryption(phrase.encode())
    return key.private_bytes(serialization.Encoding.PEM, form, locked).decode()


def certificate(*units: str) -> str:
    """A certificate of KEY whose subject has these values."""
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units])
    day = timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(KEY.public_key())
    builder = builder.serial_number(7).not_valid_before(NOW - day).not_valid_after(NOW + day)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


UNITS = (f"opc-tenant:{TENANCY}", f"opc-instance:{INSTANCE}", f"opc-compartment:{COMPARTMENT}")


@dataclass
class Cloud:
    """Answers by path; an entry is the body of a 200, or a function that answers."""

    answers: dict[str, object] = field(default_factory=dict)

    def __call__(self, asked: Asked, peer: socket.socket) -> bool | None:
        answer = self.answers.get(asked.target.partition("?")[0])
        if callable(answer):
            return answer(asked, peer)
        if answer is None:
            send(peer, 404, b'{"code": "NotAuthorizedOrNotFound", "message": "no"}', content_type="application/json")
        else:
            body = answer if isinstance(answer, str) else json.dumps(answer)
            send(peer, 200, body.encode(), content_type="application/json")
        return None


@dataclass
class Place:
    """A server with a metadata and a federation service."""

    server: RawServer
    cloud: Cloud

    def settings(self, auth: str = "instance_principal", **fields: object) -> OciSettings:
        """Settings that lead here."""
        environment = {"OCI_METADATA_BASE_URL": Secret(f"{self.server.url}/opc/v2")}
        environment |= {name: Secret(value) for name, value in dict(fields.pop("environment", {})).items()}
        connection = ConnectionSettings(endpoint=self.server.url, connect_timeout=5, read_timeout=5)
        known = {"auth": auth, "connection": connection, "environment": environment}
        return OciSettings(**(known | fields))

    def paths(self) -> list[str]:
        return [asked.target for asked in self.server.asked]


@pytest.fixture
def place() -> Iterator[Place]:
    cloud = Cloud(
        {
            "/opc/v2/instance/region": "iad",
            "/opc/v2/identity/cert.pem": certificate(*UNITS),
            "/opc/v2/identity/key.pem": pem(),
            "/opc/v2/identity/intermediate.pem": certificate("CA"),
            "/v1/x509": {"token": token()},
        }
    )
    with RawServer(cloud) as server:
        yield Place(server, cloud)


def signs_with(credentials: Credentials) -> str:
    """The token in the signatures of what the credentials give now."""
    return key_id(credentials.obtain())


def key_id(grant: Grant) -> str:
    request = SimpleNamespace(method="GET", url="https://h/n", path_url="/n", headers={}, body=None)
    found = re.search(r'keyId="ST\$([^"]+)"', grant.signer(request).headers["authorization"])
    assert found is not None
    return found[1]


# ---------------------------------------------------------------- instances


def test_an_instance_shows_its_certificate_and_signs_with_the_token(place: Place) -> None:
    """What is asked of the metadata service and sent to the federation service, signed by the certificate's key."""
    grant = InstancePrincipal(place.settings(), now).obtain()
    assert place.paths() == [
        "/opc/v2/instance/region",
        "/opc/v2/identity/cert.pem",
        "/opc/v2/identity/key.pem",
        "/opc/v2/identity/intermediate.pem",
        "/v1/x509",
    ]
    assert {asked.headers["authorization"] for asked in place.server.asked[:4]} == {"Bearer Oracle"}
    sent = place.server.asked[-1]
    body = json.loads(sent.body)
    assert body["certificate"] == "".join(certificate(*UNITS).splitlines()[1:-1])
    assert (set(body), len(body["intermediateCertificates"])) == (
        {"certificate", "publicKey", "intermediateCertificates"},
        1,
    )
    fields = dict(re.findall(r'(\w+)="([^"]*)"', sent.headers["authorization"]))
    digest = x509.load_pem_x509_certificate(certificate(*UNITS).encode()).fingerprint(hashes.SHA1())
    assert fields["keyId"] == f"{TENANCY}/fed-x509/{digest.hex(':').upper()}"
    assert fields["headers"] == "date (request-target) content-length content-type x-content-sha256"
    values = {**sent.headers, "(request-target)": "post /v1/x509"}
    text = "\n".join(f"{name}: {values[name]}" for name in fields["headers"].split())
    KEY.public_key().verify(base64.b64decode(fields["signature"]), text.encode(), padding.PKCS1v15(), hashes.SHA256())
    rule = f"instance.id = '{INSTANCE}'"
    assert grant.who == Who(TENANCY, "us-ashburn-1", INSTANCE, COMPARTMENT, "dynamic-group Exporters", rule)
    assert (grant.life, grant.renew_after, key_id(grant)) == (1200, 1200 - MARGIN, token())


def test_each_token_has_a_certificate_and_a_key_of_its_own(place: Place) -> None:
    """A renewal reads the certificate again, which OCI replaces, and makes a new key; the region does not change."""
    credentials = InstancePrincipal(place.settings(), now)
    credentials.obtain()
    credentials.obtain()
    keys = {json.loads(asked.body)["publicKey"] for asked in place.server.asked if asked.method == "POST"}
    assert len(keys) == 2
    assert place.paths().count("/opc/v2/identity/cert.pem") == 2
    assert place.paths().count("/opc/v2/instance/region") == 1


@pytest.mark.parametrize(
    ("named", "path"),
    [("{}/v1/x509", "/v1/x509"), ("{}", "/v1/x509"), ("{}/", "/v1/x509"), ("{}/other/x", "/other/x")],
)
def test_the_federation_endpoint_that_was_named_is_used(place: Place, named: str, path: str) -> None:
    """A federation endpoint stands before the endpoint of all services; its path may be left out."""
    place.cloud.answers[path] = {"token": token()}
    connection = ConnectionSettings(endpoint="http://127.0.0.1:9", connect_timeout=5, read_timeout=5)
    settings = place.settings(federation_endpoint=named.format(place.server.url), connection=connection)
    assert signs_with(InstancePrincipal(settings, now)) == token()
    assert place.paths()[-1] == path


def test_tokens_come_through_the_proxy_and_metadata_does_not(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The proxy that was asked for sees the federation request only; proxies and bundles of the environment nothing."""
    place.cloud.answers["http://auth.invalid/v1/x509"] = {"token": token()}
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("default login a password b\n")
    with RawServer(place.cloud) as proxy:
        connection = ConnectionSettings(proxy=Secret(proxy.url), connect_timeout=5, read_timeout=5)
        settings = place.settings(federation_endpoint="http://auth.invalid", connection=connection)
        InstancePrincipal(settings, now).obtain()
        assert [asked.target for asked in proxy.asked] == ["http://auth.invalid/v1/x509"]
    assert len(place.paths()) == 4


def test_without_a_metadata_service_it_is_no_instance(place: Place) -> None:
    """Nobody listens, or somebody who says nothing: a setting that cannot work here, said in less than 5 s."""
    assert sum(metadata.TIMEOUTS) <= 5
    with RawServer(lambda *_: None) as silent:
        for url in ("http://127.0.0.1:9/opc/v2", f"{silent.url}/opc/v2"):
            connection = ConnectionSettings(read_timeout=0.2)
            settings = place.settings(environment={"OCI_METADATA_BASE_URL": url}, connection=connection)
            with pytest.raises(errors.ConfigError, match=f"no instance metadata service answers at {url}") as told:
                InstancePrincipal(settings, now).obtain()
            assert "choose another one with --auth" in str(told.value)


def test_the_second_address_is_tried_when_the_first_cannot_be_reached(place: Place) -> None:
    """On networks without IPv4 the metadata service has another address; both are named if neither answers."""
    settings = replace(place.settings(), environment={})
    good = f"{place.server.url}/opc/v2"
    both = metadata.Metadata(settings, ("http://127.0.0.1:9/opc/v2", good))
    assert InstancePrincipal(settings, now, both).obtain().who.tenancy_id == TENANCY
    none = metadata.Metadata(settings, ("http://127.0.0.1:9/a", "http://127.0.0.1:9/b"))
    with pytest.raises(errors.ConfigError, match=r"at http://127\.0\.0\.1:9/a or http://127\.0\.0\.1:9/b"):
        InstancePrincipal(settings, now, none).obtain()
    assert metadata.ADDRESSES == ("http://169.254.169.254/opc/v2", "http://[fd00:c1::a9fe:a9fe]/opc/v2")


def test_a_metadata_service_that_falls_silent_later_is_a_passing_fault(place: Place) -> None:
    """What has answered once will answer again: the renewal is repeated, the run is not given up."""
    credentials = InstancePrincipal(
        place.settings(connection=ConnectionSettings(endpoint=place.server.url, read_timeout=0.2)), now
    )
    credentials.obtain()
    place.cloud.answers["/opc/v2/identity/cert.pem"] = lambda *_: None
    with pytest.raises(errors.NetworkError):
        credentials.obtain()


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/opc/v2/instance/region", None),
        ("/opc/v2/identity/cert.pem", "<html>hello</html>"),
        ("/opc/v2/identity/key.pem", "no key"),
        ("/opc/v2/identity/key.pem", None),
    ],
)
def test_somebody_elses_metadata_service_is_told(place: Place, path: str, answer: str | None) -> None:
    """A service at that address that is not OCI's is a setting that cannot work here."""
    place.cloud.answers[path] = answer
    with pytest.raises(errors.ConfigError, match="does not answer as OCI's") as told:
        InstancePrincipal(place.settings(), now).obtain()
    assert "PRIVATE" not in str(told.value)


def test_a_certificate_without_tenancy_is_refused(place: Place) -> None:
    """A certificate that says nothing of a tenancy is no instance's."""
    place.cloud.answers["/opc/v2/identity/cert.pem"] = certificate("opc-certtype:other")
    with pytest.raises(errors.AuthError, match="names no tenancy"):
        InstancePrincipal(place.settings(), now).obtain()


def status(number: int, body: bytes = b"{}", **headers: str) -> Callable[[Asked, socket.socket], None]:
    return lambda _, peer: send(peer, number, body, **headers)


@pytest.mark.parametrize("number", [400, 401, 403, 404])
def test_a_refusal_of_the_federation_service_is_final(place: Place, number: int) -> None:
    """No 4xx of the federation service is a 401 that a renewal could cure: it ends with exit 4 and names the clock."""
    place.cloud.answers["/v1/x509"] = status(number, b'{"code": "NotAuthenticated", "message": "bad"}')
    with pytest.raises(errors.AuthError, match="does not accept the instance's certificate") as told:
        InstancePrincipal(place.settings(), now).obtain()
    assert type(told.value) is errors.AuthError
    assert (told.value.exit_code, told.value.retryable, told.value.status) == (4, False, number)
    assert "clock" in str(told.value)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (status(429, retry_after="7"), errors.ThrottledError),
        (status(503), errors.ServiceError),
        (lambda *_: False, errors.NetworkError),
        (status(200, b'{"token": "x"', content_length="100"), errors.NetworkError),
        (status(200, b"<html>"), errors.ReplyRefused),
        (status(200, b'{"token": 7}'), errors.ReplyRefused),
        (status(200, b'{"token": "no-token"}'), errors.ReplyRefused),
        (status(200, b'{"token": "' + b"x" * (1 << 20) + b'"}'), errors.ReplyRefused),
    ],
)
def test_passing_faults_of_the_federation_service_are_retryable(place: Place, answer, kind: type) -> None:
    """One try each: throttling, 5xx, cut and nonsensical answers may be better next time, and no token is told."""
    place.cloud.answers["/v1/x509"] = answer
    connection = ConnectionSettings(endpoint=place.server.url, read_timeout=0.3)
    with pytest.raises(kind) as told:
        InstancePrincipal(place.settings(connection=connection), now).obtain()
    assert told.value.retryable
    assert place.paths().count("/v1/x509") == 1
    if kind is errors.ThrottledError:
        assert told.value.retry_after == 7


def test_a_redirect_is_not_followed(place: Place) -> None:
    """A captive portal's redirect is refused; certificate and signature go nowhere else."""
    place.cloud.answers["/v1/x509"] = status(302, location=f"{place.server.url}/elsewhere")
    with pytest.raises(errors.ReplyRefused, match="redirect"):
        InstancePrincipal(place.settings(), now).obtain()
    assert "/elsewhere" not in place.paths()


# ---------------------------------------------------------------- resources


def resource(**changes: str | None) -> dict[str, str]:
    """The environment of a resource of version 2.2."""
    known = {"VERSION": "2.2", "RPST": resource_token(), "PRIVATE_PEM": pem(), "REGION": "phx"}
    return {PREFIX + name: value for name, value in (known | changes).items() if value is not None}


def resource_token(life: float = 600, **claims: object) -> str:
    known = {"res_tenant": TENANCY, "res_compartment": COMPARTMENT, "res_type": "fnfunc", "res_id": "ocid1.fnfunc.x"}
    return token(life, **(known | claims))


def open_resource(environment: dict[str, str], **fields: object) -> Credentials:
    secrets = {name: Secret(value) for name, value in environment.items()}
    return credentials_of(OciSettings(auth="resource_principal", environment=secrets, **fields), now)


def test_a_resource_signs_with_what_the_environment_gives(tmp_path: Path) -> None:
    """Token and key inline or as files, the key on one line or encrypted: the same grant, from the token's claims."""
    (tmp_path / "rpst").write_text(resource_token() + "\n")
    (tmp_path / "pem").write_text(pem(phrase="hush"))
    (tmp_path / "phrase").write_text("hush\n")
    files = {"RPST": str(tmp_path / "rpst"), "PRIVATE_PEM": str(tmp_path / "pem")}
    for environment in (
        resource(),
        resource(PRIVATE_PEM=pem().replace("\n", "\\n")),
        resource(**files, PRIVATE_PEM_PASSPHRASE=str(tmp_path / "phrase")),
        resource(**files, PRIVATE_PEM_PASSPHRASE="hush"),
        resource(PRIVATE_PEM=pem(phrase="/hush"), PRIVATE_PEM_PASSPHRASE="/hush"),
    ):
        grant = open_resource(environment).obtain()
        rule = f"resource.type = 'fnfunc', resource.compartment.id = '{COMPARTMENT}'"
        assert grant.who == Who(TENANCY, "us-phoenix-1", "ocid1.fnfunc.x", COMPARTMENT, "dynamic-group Exporters", rule)
        assert (grant.life, grant.renew_after, key_id(grant)) == (600, 540, resource_token())


def test_a_resources_files_are_read_again(tmp_path: Path) -> None:
    """Whoever runs the resource writes a new token: it is seen at the next renewal, or after a 401."""
    path = tmp_path / "rpst"
    path.write_text(resource_token())
    credentials = open_resource(resource(RPST=str(path)))
    first = credentials.obtain().mark
    path.write_text(resource_token(1200))
    assert credentials.obtain().mark != first


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"VERSION": None}, r"has no OCI_RESOURCE_PRINCIPAL_VERSION \(expected 2.2 or 3.0\)"),
        ({"VERSION": "1.1"}, r"environment OCI_RESOURCE_PRINCIPAL_VERSION: version 1.1 .*\(expected 2.2 or 3.0\)"),
        ({"VERSION": "2.1.2"}, "version 2.1.2 of resource principals is not spoken here"),
        ({"VERSION": "3.0"}, "has no OCI_RESOURCE_PRINCIPAL_VERSION_FOR_LEAF_RESOURCE"),
        ({"VERSION": "3.0", "VERSION" + LEAF: "2.1"}, r"version 2.1 .*\(expected 2.2\)"),
        ({"VERSION": "3.0", "VERSION" + LEAF: "2.2"}, "has no OCI_RESOURCE_PRINCIPAL_RPT_URL_FOR_PARENT_RESOURCE"),
        ({"RPST": None}, "has no OCI_RESOURCE_PRINCIPAL_RPST"),
        ({"PRIVATE_PEM": None}, "has no OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM"),
        ({"RPST": "/nowhere/rpst"}, "environment OCI_RESOURCE_PRINCIPAL_RPST: token /nowhere/rpst: there is no such"),
        ({"PRIVATE_PEM": pem(phrase="x")}, "is encrypted and no pass phrase was given"),
    ],
)
def test_what_is_missing_of_a_resource_is_named(changes: dict[str, str | None], words: str) -> None:
    """A missing variable, file or version is one line with its name and what was expected, exit 2."""
    with pytest.raises(errors.ConfigError, match=words) as told:
        open_resource(resource(**changes)).obtain()
    assert told.value.exit_code == 2


def test_a_pass_phrase_is_never_told(tmp_path: Path) -> None:
    """A pass phrase that looks like a path and is none is not repeated by the error."""
    (tmp_path / "pem").write_text(pem(phrase="/hush"))
    with pytest.raises(errors.ConfigError, match="PASSPHRASE: no pass phrase can be read") as told:
        open_resource(resource(PRIVATE_PEM=str(tmp_path / "pem"), PRIVATE_PEM_PASSPHRASE="/hush")).obtain()
    assert "hush" not in str(told.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"RPST": resource_token(-1)}, "the token expired at 2026-11-25 11:59:59 UTC"),
        ({"RPST": "rubbish"}, "does not hold a resource principal's token"),
        ({"RPST": token(res_tenant=None)}, "names no tenancy"),
        ({"PRIVATE_PEM": "rubbish"}, "not a private key"),
        ({"PRIVATE_PEM": pem(phrase="x"), "PRIVATE_PEM_PASSPHRASE": "y"}, "is not opened by the pass phrase"),
    ],
)
def test_what_a_resource_cannot_use_is_told(changes: dict[str, str], words: str) -> None:
    """A token or key that is there and no good: exit 4, and its text is not repeated."""
    with pytest.raises(errors.AuthError, match=words) as told:
        open_resource(resource(**changes)).obtain()
    assert changes.get("RPST", "rubbish") == "rubbish" or changes["RPST"] not in str(told.value)


def nested(place: Place, **answers: object) -> dict[str, str]:
    """The environment of a leaf whose parents are at `place`."""
    pair = {"resourcePrincipalToken": "rpt", "servicePrincipalSessionToken": "spst"}
    parent = resource_token(1200, res_id="ocid1.parent.x", res_type="parent")
    place.cloud.answers |= {"/parent": pair, "/v1/resourcePrincipalSessionToken": {"token": parent}, **answers}
    leaf = {name + LEAF: value for name, value in resource().items()}
    return {
        **leaf,
        PREFIX + "VERSION": "3.0",
        PREFIX + "RPT_URL_FOR_PARENT_RESOURCE": f"{place.server.url}/parent",
        PREFIX + "RPST_ENDPOINT_FOR_PARENT_RESOURCE": place.server.url,
    }


def test_a_leaf_signs_for_its_parent(place: Place) -> None:
    """Version 3.0: both tokens of the parent's service go to Identity with the leaf's key; the parent's token signs."""
    credentials = open_resource(nested(place), connection=place.settings().connection)
    grant = credentials.obtain()
    assert grant.who.principal == "ocid1.parent.x"
    assert key_id(grant) == resource_token(1200, res_id="ocid1.parent.x", res_type="parent")
    asked, session = place.server.asked
    assert (asked.method, asked.target) == ("GET", "/parent")
    assert f"ST${resource_token()}" in asked.headers["authorization"]
    body = json.loads(session.body)
    assert (body["resourcePrincipalToken"], body["servicePrincipalSessionToken"]) == ("rpt", "spst")
    assert "x-content-sha256" in session.headers["authorization"]
    assert credentials.renewable


def test_parents_that_lead_round_in_a_circle_are_refused(place: Place) -> None:
    """A parent that names itself, or a chain without end, ends the sign-in after at most ten requests of each kind."""
    pair = json.dumps({"resourcePrincipalToken": "rpt", "servicePrincipalSessionToken": "spst"}).encode()
    for name in ("/parent", "/parent?n={}"):

        def endless(_: Asked, peer: socket.socket, name: str = name) -> None:
            send(peer, 200, pair, opc_parent_rpt_url=place.server.url + name.format(len(place.server.asked)))

        environment = nested(place, **{"/parent": endless})
        with pytest.raises(errors.AuthError, match="the chain of parents does not end"):
            open_resource(environment, connection=place.settings().connection).obtain()
    assert len(place.server.asked) <= 2 * 11


def test_a_parent_that_refuses_is_told(place: Place) -> None:
    """A 4xx of a parent's service is final, and no 401 that a renewal could cure."""
    environment = nested(place, **{"/parent": status(401)})
    with pytest.raises(errors.AuthError, match="no token for the parent resource") as told:
        open_resource(environment, connection=place.settings().connection).obtain()
    assert type(told.value) is errors.AuthError


# ---------------------------------------------------------------- workloads

ACCOUNT = token(3600, **{"kubernetes.io": {"namespace": "batch", "serviceaccount": {"name": "exporter"}}})


@dataclass
class Pod:
    """A cluster behind its own authority, and a pod's environment."""

    server: RawServer
    environment: dict[str, str]
    answers: dict[str, object]

    def credentials(self, **fields: object) -> OkeWorkloadIdentity:
        secrets = {name: Secret(value) for name, value in self.environment.items()}
        known = {"auth": "oke_workload_identity", "environment": secrets, "federation_endpoint": self.server.url}
        return OkeWorkloadIdentity(OciSettings(**(known | fields)), now)


def wrapped(answer: object) -> str:
    return base64.b64encode(json.dumps(answer).encode()).decode()


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    bundle, context = make_private_ca(tmp_path)
    (tmp_path / "account").write_text(ACCOUNT + "\n")
    known = token(1200, res_tenant=TENANCY, sub="ocid1.cluster.oc1.iad.aaaa")
    cloud = Cloud({"/resourcePrincipalSessionTokens": wrapped({"token": f"ST${known}"})})
    environment = {
        "OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH": bundle,
        "OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH": str(tmp_path / "account"),
        "OCI_RESOURCE_PRINCIPAL_REGION": "iad",
    }
    with RawServer(cloud, context) as server:
        yield Pod(server, environment, cloud.answers)


def test_a_workload_trades_its_service_account(pod: Pod) -> None:
    """Bearer token and pod key over the cluster's own TLS; three letters before the token go; renewed at half life."""
    grant = pod.credentials().obtain()
    (asked,) = pod.server.asked
    assert asked.headers["authorization"] == f"Bearer {ACCOUNT}"
    assert set(json.loads(asked.body)) == {"podKey"}
    assert (grant.life, grant.renew_after) == (1200, 600)
    assert key_id(grant) == token(1200, res_tenant=TENANCY, sub="ocid1.cluster.oc1.iad.aaaa")
    assert (grant.who.tenancy_id, grant.who.region) == (TENANCY, "us-ashburn-1")
    assert grant.who.allow("read buckets", "B") == (
        "Allow any-user to read buckets in compartment B where all {request.principal.type = 'workload', "
        "request.principal.namespace = 'batch', request.principal.service_account = 'exporter', "
        "request.principal.cluster_id = 'ocid1.cluster.oc1.iad.aaaa'}"
    )


def test_the_service_account_may_stand_in_the_environment(pod: Pod) -> None:
    """OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_STRING counts before any file, as in the OCI CLI."""
    pod.environment["OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_STRING"] = "another"
    pod.credentials().obtain()
    assert pod.server.asked[0].headers["authorization"] == "Bearer another"


def test_a_service_account_that_is_none_is_not_repeated(pod: Pod) -> None:
    """A text that would break a header is refused before an HTTP library can quote it."""
    pod.environment["OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_STRING"] = "se\ncret"
    with pytest.raises(errors.AuthError, match="TOKEN_STRING: this is no service account's token") as told:
        pod.credentials().obtain()
    assert "cret" not in str(told.value)


def test_only_the_clusters_own_authority_is_trusted(pod: Pod) -> None:
    """Neither certifi's authorities nor the connection's bundle stand in for the cluster's."""
    import certifi

    pod.environment["OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH"] = certifi.where()
    with pytest.raises(errors.ConfigError, match="certificate verify failed"):
        pod.credentials().obtain()
    assert pod.server.asked == []


def test_a_basic_cluster_is_told(pod: Pod) -> None:
    """A 403 means that the cluster is not of the enhanced type."""
    pod.answers["/resourcePrincipalSessionTokens"] = status(403)
    with pytest.raises(errors.AuthError, match="the cluster gives no token") as told:
        pod.credentials().obtain()
    assert "enhanced" in str(told.value)


@pytest.mark.parametrize("answer", ["%%%", wrapped({"no": "token"}), wrapped(["x"]), base64.b64encode(b"x").decode()])
def test_nonsense_of_a_cluster_is_refused(pod: Pod, answer: str) -> None:
    """An answer that holds no token is refused, and may be better next time."""
    pod.answers["/resourcePrincipalSessionTokens"] = answer
    with pytest.raises(errors.ReplyRefused):
        pod.credentials().obtain()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH": "/nowhere/token"}, "service account's token /nowhere/token"),
        ({"OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH": "/nowhere/ca"}, "cluster's CA certificate /nowhere/ca"),
    ],
)
def test_what_is_missing_in_a_pod_is_named(pod: Pod, changes: dict[str, str], words: str) -> None:
    """A missing file is exit 2 with the variable that names it."""
    pod.environment |= changes
    with pytest.raises(errors.ConfigError, match=words) as told:
        pod.credentials().obtain()
    assert next(iter(changes)) in str(told.value)


def test_outside_a_cluster_the_host_is_missing(pod: Pod) -> None:
    """Without KUBERNETES_SERVICE_HOST this is no pod; with one the port is that of OKE, also behind an IPv6 address."""
    with pytest.raises(errors.ConfigError, match="has no KUBERNETES_SERVICE_HOST"):
        pod.credentials(federation_endpoint=None).obtain()
    for host, shown in (("127.9.9.9", "127.9.9.9"), ("::1", r"\[::1\]")):
        pod.environment["KUBERNETES_SERVICE_HOST"] = host
        with pytest.raises(errors.NetworkError, match=f"https://{shown}:12250/resourcePrincipalSessionTokens"):
            pod.credentials(federation_endpoint=None).obtain()


def test_a_workload_whose_token_names_no_tenancy_needs_it_named(pod: Pod) -> None:
    """The settings' tenancy stands in for a claim that is not there."""
    pod.answers["/resourcePrincipalSessionTokens"] = wrapped({"token": f"ST${token()}"})
    with pytest.raises(errors.AuthError, match="names no tenancy"):
        pod.credentials().obtain()
    assert pod.credentials(tenancy_ocid=TENANCY).obtain().who.tenancy_id == TENANCY


# ---------------------------------------------------------------- sessions


def test_a_principal_knows_its_region_and_an_explicit_one_wins(place: Place) -> None:
    """The region of metadata or environment counts unless somebody names another one; without any it is asked for."""
    assert open_session(place.settings(), now=now).region == "us-ashburn-1"
    assert open_session(place.settings(region="FRA"), now=now).region == "eu-frankfurt-1"
    environment = resource(REGION=None)
    settings = place.settings("resource_principal", environment=environment, connection=ConnectionSettings())
    with pytest.raises(errors.ConfigError, match="no region"):
        open_session(settings, now=now)


def test_only_the_first_token_of_a_principal_is_asked_for_at_the_start(place: Place) -> None:
    """The caller's `call` runs the sign-in of a principal, so that it is repeated; other kinds ask nobody."""
    calls: list[str] = []

    def call(what: str, function: Callable[[], object]) -> object:
        calls.append(what)
        return function()

    open_session(place.settings(), call=call, now=now)
    open_session(place.settings("resource_principal", environment=resource()), call=call, now=now)
    assert calls == ["sign in"]


@dataclass
class Changing:
    """Credentials that are another's each time."""

    tenancies: list[str]
    kind: str = "changing"
    renewable: bool = True

    def obtain(self) -> Grant:
        from oci.auth.signers import SecurityTokenSigner

        text = token(jti=len(self.tenancies))
        return Grant(SecurityTokenSigner(text, KEY), Who(self.tenancies.pop(0), "us-ashburn-1"), jwt.mark_of(text))

    def why_refused(self, *_: object) -> str:
        return ""


def test_no_signature_outlives_its_token() -> None:
    """The signature that a minute's ranges share is dropped when the token is renewed; clients use the new one too."""
    session = OciSession(OciSettings(auth="x"), Changing([TENANCY] * 3), now=now, clock=lambda: 0.0)
    signer = session.client("ComputeClient").base_client.signer
    before = session.sign("GET", "https://h/n", {})["authorization"]
    assert session.sign("GET", "https://h/n", {})["authorization"] == before
    assert session.refresh()
    after = session.sign("GET", "https://h/n", {})["authorization"]
    assert after != before
    request = SimpleNamespace(method="GET", url="https://h/n", path_url="/n", headers={}, body=None)
    assert signer(request).headers["authorization"].partition("signature")[0] == after.partition("signature")[0]


def test_credentials_that_become_another_tenancys_are_refused() -> None:
    """A renewal that changes the account ends the run instead of mixing two."""
    session = OciSession(OciSettings(auth="x"), Changing([TENANCY, "ocid1.tenancy.oc1..other"]), now=now)
    session.refresh()
    with pytest.raises(errors.AuthError, match="no longer of"):
        session.sign("GET", "https://h/n", {})


def test_settings_never_show_what_a_principal_is_given() -> None:
    """The environment of a principal is masked wherever settings are printed."""
    settings = OciSettings(auth="resource_principal", environment={k: Secret(v) for k, v in resource().items()})
    assert resource_token() not in repr(settings)
    assert "PRIVATE KEY" not in repr(settings)
    assert settings.auth in PRINCIPALS


@pytest.mark.parametrize(
    ("claims", "life"),
    [
        ({}, None),
        ({"exp": 100}, 40),
        ({"exp": 100, "iat": 90}, 10),
        ({"exp": 100, "iat": True}, 40),
        ({"iat": 5}, None),
    ],
)
def test_the_life_of_a_fresh_token_is_the_issuers_own_count(claims: dict[str, float], life: float | None) -> None:
    """Issue and end come from one clock, so ours may be wrong; without an issue time ours must do."""
    assert jwt.length_of_life(claims, 60.0) == life


@pytest.mark.parametrize(("life", "after"), [(None, None), (300.0, 240.0), (100.0, 50.0), (2.0, 1.0)])
def test_a_token_is_renewed_a_minute_early_or_at_half_of_a_short_life(life: float | None, after: float | None) -> None:
    """The margin never eats more than half of a life."""
    assert renew_before_end(life) == after


@pytest.mark.parametrize("text", ["", "a", "a.b", "a.!!.c", "a.WzFd.c", "e30.e3\n0.c", "e30.e30.c\n"])
def test_what_is_no_token(text: str) -> None:
    """Anything but three parts with JSON in the middle is no token."""
    with pytest.raises(ValueError, match="not a token"):
        jwt.read_claims(text)
