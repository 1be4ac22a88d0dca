"""The nouns."""

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk import errors
from hypersdk.model import ByteRange, Ocid, Secret, format_size


@pytest.mark.parametrize(
    ("text", "kind", "region"),
    [
        ("ocid1.instance.oc1.iad.anuwcljt", "instance", "iad"),
        ("ocid1.tenancy.oc1..aaaa", "tenancy", ""),
        ("ocid1.image.oc19.eu-frankfurt-2.abc", "image", "eu-frankfurt-2"),
    ],
)
def test_ocids_are_read(text: str, kind: str, region: str) -> None:
    """Kind and region come out of an identifier."""
    ocid = Ocid.parse(f" {text} ")
    assert (ocid.kind, ocid.region, str(ocid)) == (kind, region, text)


@pytest.mark.parametrize(
    "text", ["", "web-01", "ocid1.instance", "ocid2.instance.oc1.iad.a", "ocid1.instance.oc1.iad.a b"]
)
def test_what_is_no_ocid_is_refused(text: str) -> None:
    """A text that is no OCID is a usage error that shows it."""
    with pytest.raises(errors.UsageError, match="not an OCID"):
        Ocid.parse(text)


def test_an_ocid_of_another_kind_is_refused() -> None:
    """An image's OCID is not taken for an instance's."""
    with pytest.raises(errors.UsageError, match="an OCID of kind image, expected kind instance"):
        Ocid.parse("ocid1.image.oc1.iad.a", "instance")


def test_secrets_show_nowhere() -> None:
    """A secret cannot be printed, serialized or pickled by accident."""
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        json.dumps(secret)
    assert secret.reveal() == "hunter2"


@given(st.integers(0, 2**50), st.integers(1, 2**40))
def test_range_header_names_the_last_byte(start: int, length: int) -> None:
    """RFC 9110 ranges include their last byte; ours exclude it."""
    wanted = ByteRange(start, start + length)
    first, last = wanted.header().removeprefix("bytes=").split("-")
    assert int(last) - int(first) + 1 == wanted.length


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (400 * 2**30, "400.0 GiB"), (2**51, "2048.0 TiB")],
)
def test_sizes_for_people(count: int, text: str) -> None:
    """Sizes are printed in IEC units."""
    assert format_size(count) == text
