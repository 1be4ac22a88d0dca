"""The emulator's pure parts: digests, the clock, how a path finds its operation, ranges."""

import base64
import hashlib
from pathlib import Path

import crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk_emulator.checksums import Hasher, combined_crc32c, composite
from hypersdk_emulator.clock import Clock, iso
from hypersdk_emulator.database import Database
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.objectstorage.common import window
from hypersdk_emulator.routes import ROUTES
from hypersdk_emulator.routing import Router


def crc_text(data: bytes) -> str:
    return base64.b64encode(crc32c.crc32c(data).to_bytes(4, "big")).decode()


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_combined_crc_is_that_of_the_whole(parts: list[bytes]) -> None:
    """The CRC32C combined from parts of any sizes, empty ones too, is that of their concatenation."""
    assert combined_crc32c((crc_text(part), len(part)) for part in parts) == crc_text(b"".join(parts))


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_digests_do_not_depend_on_chunks(chunks: list[bytes]) -> None:
    """A body's digests are the same however it was cut on its way in."""
    hasher = Hasher(("CRC32C", "SHA256", "SHA384"))
    for chunk in chunks:
        hasher.update(chunk)
    whole, digests = b"".join(chunks), hasher.digests()
    assert hasher.size == len(whole)
    assert digests.md5 == base64.b64encode(hashlib.md5(whole).digest()).decode()
    assert digests.crc32c == crc_text(whole)
    assert digests.sha384 == base64.b64encode(hashlib.sha384(whole).digest()).decode()


def test_composite_md5_is_over_binary_digests() -> None:
    """The multipart MD5 hashes the parts' binary MD5s, not their texts, and counts the parts."""
    parts = [b"one", b"two"]
    want = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).digest()
    texts = [base64.b64encode(hashlib.md5(part).digest()).decode() for part in parts]
    assert composite("md5", texts) == base64.b64encode(want).decode() + "-2"


def test_clock_survives_and_never_goes_back(tmp_path: Path) -> None:
    """Advances add up, last over a restart during which real time passed, and cannot be negative."""
    real = [1000.0]
    database = Database(tmp_path / "db")
    first = Clock(database, wall=lambda: real[0])
    first.advance(50)
    real[0] += 5
    first.advance(0.5)
    assert first.timestamp() == 1055.5
    with pytest.raises(ValueError, match="never goes back"):
        first.advance(-1)
    real[0] += 10
    database.close()
    database = Database(tmp_path / "db")
    again = Clock(database, wall=lambda: real[0])
    assert again.timestamp() == 1065.5
    real[0] += 10
    assert again.timestamp() == 1075.5
    database.close()
    assert iso(0.25) == "1970-01-01T00:00:00.250Z"


@pytest.mark.parametrize(
    ("method", "path", "operation", "params"),
    [
        ("GET", "/n", "GetNamespace", {}),
        ("GET", "//n/", "GetNamespace", {}),
        ("GET", "//20160918//instances", "ListInstances", {}),
        ("GET", "/n/ns/b/b/o/", "ListObjects", {"bucket": "b"}),
        ("PUT", "/n/ns/b/b/o/a//b%2Fc%2525+d", "PutObject", {"object": "a//b/c%25+d"}),
        ("GET", "/n/ns/b/b/o//leading/", "GetObject", {"object": "/leading/"}),
        ("PUT", "/p/tok/n/ns/b/o/u/x/id/y/id/up/7", "UploadPart", {"object": "x/id/y", "upload": "up", "number": "7"}),
    ],
)
def test_paths_find_operations(method: str, path: str, operation: str, params: dict[str, str]) -> None:
    """Slashes collapse before an object's name and never in it; names are percent-decoded once, plus stays plus."""
    route, found = Router(ROUTES).find(method, path, {})
    assert route.operation == operation
    assert params.items() <= found.items()


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nope", 404), ("PATCH", "/n", 405), ("GET", "/n/a/b/b/o/%ff", 400)]
)
def test_paths_that_are_nothing(method: str, path: str, status: int) -> None:
    """Unknown path, known path with another method, bytes that are no UTF-8."""
    with pytest.raises(ServiceError) as refused:
        Router(ROUTES).find(method, path, {})
    assert refused.value.status == status


@given(st.binary(max_size=40), st.integers(0, 45), st.integers(0, 45))
def test_window_is_the_slice(data: bytes, first: int, last: int) -> None:
    """A range's window holds exactly the bytes first to last of the object; with no byte in it, it is refused."""
    if first > last:
        assert window(f"bytes={first}-{last}", len(data)) is None
    elif data[first : last + 1]:
        found = window(f"bytes={first}-{last}", len(data))
        assert found is not None
        assert data[found.first : found.end] == data[first : last + 1]
    else:
        with pytest.raises(ServiceError):
            window(f"bytes={first}-{last}", len(data))
