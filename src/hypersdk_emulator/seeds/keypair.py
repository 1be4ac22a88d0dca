"""A new API key: the private half as a file, the public half for the cloud."""

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from hypersdk_emulator.guide import write_private

LABEL = "OCI_API_KEY"
"""Line below the PEM without which the OCI CLI warns about the key."""


def write_key(path: Path) -> tuple[str, str]:
    """Make a key.

    Args:
        path: file for the private key, PEM.

    Returns:
        The public key, PEM, and its fingerprint.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(path, f"{private.decode()}{LABEL}\n")
    public = key.public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    # OCI's fingerprint is the MD5 of the DER SubjectPublicKeyInfo ("Required Keys and OCIDs").
    digest = hashlib.md5(der, usedforsecurity=False).digest()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem.decode(), ":".join(f"{byte:02x}" for byte in digest)
