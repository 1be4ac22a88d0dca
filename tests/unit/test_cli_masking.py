"""The command line that other users can read holds no secret."""

from __future__ import annotations

import pytest

from hypersdk.cli.masking import masked

PAR = b"https://objectstorage.us-ashburn-1.oraclecloud.com/p/%b/n/ns/b/bucket/o/disk"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (PAR % b"t0ken-", PAR % b"******"),
        (b"https://host/disk?X-Signature=abc&b=c", b"https://host/disk?*******************"),
        (b"http://user:pass@proxy:80", b"http://user:****@proxy:80"),
        (b"http://user:p@ss@proxy:80", b"http://user:****@proxy:80"),
        (b"oci://ns/bucket/what?", b"oci://ns/bucket/what?"),
        (b"oci://bucket@ns/p/a/n/b", b"oci://bucket@ns/p/*/n/b"),
        (b"http://host:80/a@b", b"http://host:80/a@b"),
        (b"disk.raw", b"disk.raw"),
    ],
)
def test_secrets_become_stars(given: bytes, shown: bytes) -> None:
    """Tokens, queries and passwords are masked at their length, in any argument; everything else stays."""
    assert masked(given) == shown
    assert masked(b"cp\0" + given + b"\0disk\0") == b"cp\0" + shown + b"\0disk\0"
