"""The authority that certifies instances: a root, an intermediate, and a short-lived certificate for each instance.

Validity follows the virtual clock: advance it, and the metadata service hands out a new certificate.
"""

import datetime as dt
import warnings
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from hypersdk_emulator.cloud import Cloud

LEAF_SECONDS = 2 * 3600.0
"""Life of an instance's certificate; a new one is handed out at half of it. Oracle says only that they are rotated."""
_AUTHORITY_DAYS = 200 * 365
_MARGIN = dt.timedelta(minutes=5)


class CertificateRefused(ValueError):
    """The certificate is not one of this cloud, or no longer good; the text says why."""


@dataclass(frozen=True)
class Identity:
    """What the metadata service hands out of one instance, all PEM."""

    certificate: str
    key: str
    intermediate: str


@dataclass(frozen=True)
class Certified:
    """Whom a certificate stands for, and its key."""

    tenancy: str
    instance: str
    compartment: str
    key: rsa.RSAPublicKey


def identity_of(cloud: Cloud, instance: str, compartment: str) -> Identity:
    """The certificate of an instance: the current one, or a new one in the second half of that one's life.

    Args:
        cloud: The cloud.
        instance: OCID.
        compartment: OCID of the compartment in which the instance is now.
    """
    now, authority = cloud.clock.timestamp(), _authority(cloud)
    row = cloud.db.one("SELECT * FROM instance_certificates WHERE instance = ?", instance)
    if row is None or row["compartment"] != compartment or now >= row["not_after"] - LEAF_SECONDS / 2:
        certificate, key = _leaf(cloud, authority, instance, compartment)
        cloud.db.execute(
            "INSERT OR REPLACE INTO instance_certificates VALUES (?, ?, ?, ?, ?)",
            instance,
            compartment,
            now + LEAF_SECONDS,
            certificate,
            key,
        )
        return Identity(certificate, key, authority["intermediate"])
    return Identity(row["certificate"], row["key"], authority["intermediate"])


def certified(cloud: Cloud, leaf: x509.Certificate, chain: list[x509.Certificate]) -> Certified:
    """Whom a certificate stands for.

    Args:
        cloud: The cloud.
        leaf: The instance's certificate.
        chain: The intermediate certificates that came with it, in any order.

    Raises:
        CertificateRefused: Not issued by our authority, expired, or without the instance's names.
    """
    root = x509.load_pem_x509_certificate(_authority(cloud)["root"].encode())
    for certificate in (leaf, *chain):
        if not certificate.not_valid_before_utc <= cloud.clock.now() < certificate.not_valid_after_utc:
            raise CertificateRefused("a certificate has expired")
    issuer = next((each for each in chain if _issued(leaf, each)), None)
    if issuer is None or not _issued(issuer, root):
        raise CertificateRefused("the certificate does not lead to the authority of this cloud")
    names = _names(leaf)
    key = leaf.public_key()
    missing = [name for name in ("opc-tenant", "opc-instance", "opc-compartment") if name not in names]
    if missing or not isinstance(key, rsa.RSAPublicKey):
        raise CertificateRefused(f"the certificate has no {', '.join(missing) or 'RSA key'}")
    return Certified(names["opc-tenant"], names["opc-instance"], names["opc-compartment"], key)


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _names(certificate: x509.Certificate) -> dict[str, str]:
    """The `opc-...:value` parts of the subject."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # OCIDs are longer than X.520 allows an organizational unit to be
        values = [str(attribute.value) for attribute in certificate.subject]
    return {name: value for name, _, value in (each.partition(":") for each in values) if name.startswith("opc-")}


def _authority(cloud: Cloud) -> dict[str, str]:
    """Root and intermediate certificate, and the intermediate's key, PEM; made at first use and kept."""
    kept: dict[str, str] | None = cloud.db.setting("instance-authority")
    if kept is None:
        kept = _make_authority(cloud.clock.now())
        cloud.db.set_setting("instance-authority", kept)
    return kept


def _make_authority(now: dt.datetime) -> dict[str, str]:
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hypersdk emulator instance root")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hypersdk emulator instance intermediate")])
    begin, end = dt.datetime(2000, 1, 1, tzinfo=dt.UTC), now + dt.timedelta(days=_AUTHORITY_DAYS)
    root = _builder(root_name, root_name, root_key.public_key(), begin, end)
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
    middle = _builder(name, root_name, key.public_key(), begin, end)
    middle = middle.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return {
        "root": _pem(root.sign(root_key, hashes.SHA256())),
        "intermediate": _pem(middle.sign(root_key, hashes.SHA256())),
        "key": _key_pem(key),
    }


def _leaf(cloud: Cloud, authority: dict[str, str], instance: str, compartment: str) -> tuple[str, str]:
    issuer = x509.load_pem_x509_certificate(authority["intermediate"].encode())
    issuer_key = serialization.load_pem_private_key(authority["key"].encode(), None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    units = {
        "opc-certtype": "instance",
        "opc-instance": instance,
        "opc-compartment": compartment,
        "opc-tenant": cloud.settings.tenancy_id,
    }
    names = [_name(NameOID.COMMON_NAME, instance)]
    names += [_name(NameOID.ORGANIZATIONAL_UNIT_NAME, f"{name}:{value}") for name, value in units.items()]
    now = cloud.clock.now()
    end = now + dt.timedelta(seconds=LEAF_SECONDS)
    leaf = _builder(x509.Name(names), issuer.subject, key.public_key(), now, end)
    return _pem(leaf.sign(issuer_key, hashes.SHA256())), _key_pem(key)


def _name(kind: x509.ObjectIdentifier, value: str) -> x509.NameAttribute[str]:
    return x509.NameAttribute(kind, value, _validate=False)  # OCI's real certificates break the length limit likewise


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    begin: dt.datetime,
    end: dt.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - _MARGIN)
        .not_valid_after(end)
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    # Oracle's metadata service hands out "BEGIN RSA PRIVATE KEY".
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
