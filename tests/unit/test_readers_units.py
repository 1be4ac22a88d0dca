"""Sizes, durations, switches, PEM armour, YAML with lines."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypersdk import errors
from hypersdk.readers.pem import PemKind, classify
from hypersdk.readers.units import parse_duration, parse_size, parse_switch
from hypersdk.readers.yaml import read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("512", 512),
        ("512B", 512),
        ("64M", 64 << 20),
        ("64MiB", 64 << 20),
        ("64 mib", 64 << 20),
        ("64MB", 64_000_000),
        ("1.5GiB", 3 << 29),
        ("2T", 2 << 40),
        ("0.3K", 307),
    ],
)
def test_sizes(text: str, value: int) -> None:
    """Sizes mean what qemu-img and rclone mean by them; MB with a B is decimal."""
    assert parse_size(text) == value


@pytest.mark.parametrize(
    "text", ["", "M", "-1", "1,5G", "1e3", "64Mi B", "iB", "1iB", "12:00", "64X", "0x10", "1.", "\uff11"]
)
def test_what_is_not_a_size_is_refused(text: str) -> None:
    """A size that can be misread (a comma, a sign, another script) is refused, never guessed."""
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "value"), [("90s", 90.0), ("2h", 7200.0), ("1h30m", 5400.0), ("500ms", 0.5), ("1.5", 1.5), ("1d", 86400.0)]
)
def test_durations(text: str, value: float) -> None:
    """Durations in the units that people write; a bare number is seconds."""
    assert parse_duration(text) == value


@pytest.mark.parametrize("text", ["", "s", "5 minutes", "-3s", "1h30", "inf", "1e9"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    """A duration that can be misread is refused."""
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@settings(deadline=None)
@given(st.text(max_size=12))
def test_units_refuse_with_a_sentence(text: str) -> None:
    """No text makes the unit readers fail in any way but their own sentence."""
    for parse in (parse_size, parse_duration, parse_switch):
        refused = None
        try:
            parse(text)
        except ValueError as error:
            refused = str(error)
        assert refused is None or refused.startswith("not a ")


PEMS = {
    b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n": (PemKind.PRIVATE, False),
    b"\xef\xbb\xbf-----BEGIN RSA PRIVATE KEY-----\r\nx\r\n-----END RSA PRIVATE KEY-----\r\nOCI_API_KEY\r\n": (
        PemKind.PRIVATE,
        True,
    ),
    b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nx": (PemKind.ENCRYPTED, False),
    b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nx": (
        PemKind.ENCRYPTED,
        False,
    ),
    b"-----BEGIN OPENSSH PRIVATE KEY-----\nx": (PemKind.OPENSSH, False),
    b"-----BEGIN PUBLIC KEY-----\nx": (PemKind.PUBLIC, False),
    b"ssh-rsa AAAAB3NzaC1yc2E me@here": (PemKind.PUBLIC, False),
    b"-----BEGIN CERTIFICATE-----\nx": (PemKind.CERTIFICATE, False),
    b"-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----\n-----BEGIN PRIVATE KEY-----\ny": (
        PemKind.PRIVATE,
        False,
    ),
    b"-----BEGIN DH PARAMETERS-----\nx": (PemKind.OTHER, False),
    b"hello": (PemKind.NONE, False),
    b"": (PemKind.NONE, False),
}


@pytest.mark.parametrize(("data", "expected"), PEMS.items())
def test_pem_is_judged_by_its_armour(data: bytes, expected: tuple[PemKind, bool]) -> None:
    """A public key, a certificate, an OpenSSH key or an encrypted key is told from a plain private key."""
    pem = classify(data)
    assert (pem.kind, pem.labelled) == expected


def test_yaml_keeps_text_and_lines() -> None:
    """YAML 1.1's surprises (base 60, no = false, octal) do not happen, and each key knows its line."""
    read = read_yaml(
        b"# c\noci:\n  fingerprint: 12:34:56\n  bucket: no\n  namespace: 010\n  tags: {a: '1'}\n  region:\n", "f"
    )
    block = read["oci"].value
    assert read["oci"].line == 2
    assert not isinstance(block, str)
    assert block is not None
    assert [(key, entry.value, entry.line) for key, entry in block.items() if key != "tags"] == [
        ("fingerprint", "12:34:56", 3),
        ("bucket", "no", 4),
        ("namespace", "010", 5),
        ("region", None, 7),
    ]
    assert read_yaml(b"", "f") == read_yaml(b"# nothing\n", "f") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("oci:\n\tregion: x", "f:2: not YAML"),
        ("oci: {a: b", "f:1: not YAML"),
        ("- a", "f:1: a list"),
        ("just text", "f:1: expected blocks"),
        ("a: 1\nb: 2\na: 3", "f:3: 'a' stands already in line 1"),
        ("a: &x {b: c}\nd: *x", "f:2: aliases"),
        ("? [a]\n: b", "f:1: a key must be a plain word"),
        ("a: {b: {c: {d: {e: f}}}}", "f:1: nested too deep"),
        ("a: 1\n---\nb: 2", "f:2: not YAML"),
        ("a: 'b\0c'", "f:1: a NUL byte"),
        ("a: \x07", "f: not YAML"),
    ],
)
def test_yaml_that_settings_do_not_have_is_refused(text: str, message: str) -> None:
    """Wrong YAML, doubled keys, lists and aliases are refused with file and line."""
    with pytest.raises(errors.ConfigError) as refused:
        read_yaml(text.encode(), "f")
    assert refused.value.message.startswith(message)


@settings(deadline=None)
@given(st.text(alphabet="abc:{}[],&*?|>-'\"#% \n\t!", max_size=40))
def test_any_text_is_yaml_or_refused(text: str) -> None:
    """No text makes the YAML reader fail in any way but its own."""
    refused = None
    try:
        read_yaml(text.encode(), "f")
    except errors.ConfigError as error:
        refused = error.message
    assert refused is None or refused.startswith("f:")
