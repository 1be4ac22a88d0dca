"""The INI reader against its corpus and against Python's configparser, whose dialect it is."""

import configparser
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypersdk import errors
from hypersdk.readers.ini import read_ini

CORPUS = Path(__file__).parents[1] / "data" / "readers"


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.ini")), ids=lambda path: path.stem)
def test_every_dialect_reads_as_written(path: Path) -> None:
    """Each file of the corpus gives its values with their lines, or the refusal that names the line."""
    expected = json.loads(path.with_suffix(".json").read_text())
    if "refused" in expected:
        with pytest.raises(errors.ConfigError) as refused:
            read_ini(path.read_bytes(), path.name)
        assert refused.value.message.startswith(expected["refused"])
        return
    file = read_ini(path.read_bytes(), path.name)
    assert {
        name: {key: [entry.value, entry.line] for key, entry in section.entries.items()}
        for name, section in file.sections.items()
    } == expected


def test_an_indented_line_is_marked_as_a_continuation() -> None:
    """A value that the next line continues is told apart, so that a slip of the space bar can be named."""
    entry = read_ini(b"[A]\nuser=x\n region=y\nkey=z\n", "f").sections["A"].entries["user"]
    assert (entry.value, entry.line, entry.continued) == ("x\nregion=y", 2, True)


ALPHABET = """\
[DEFAULT]|[S]|[s]|[S] # note|user=a|User: b|key_file = ~/k.pem|  region=x||   |# c|; d| # e|novalue|=x|empty=|a b = c
pass_phrase=a=b:c#d|\tfingerprint=1"""
LINES = st.sampled_from(ALPHABET.replace("\n", "|").split("|"))


@settings(deadline=None)
@given(st.lists(LINES, max_size=12))
def test_reads_what_configparser_reads(lines: list[str]) -> None:
    """Files that the SDK and the OCI CLI take are read to the same values, files that they refuse are refused."""
    text = "\n".join(lines)
    oracle = configparser.ConfigParser(interpolation=None, default_section="\0")
    try:
        oracle.read_string(text)
        expected = {name: dict(oracle[name]) for name in oracle.sections()}
    except configparser.Error:
        expected = None
    try:
        file = read_ini(text.encode(), "f")
    except errors.ConfigError:
        assert expected is None
        return
    assert expected is not None
    assert list(file.sections) == list(expected)
    for name, section in file.sections.items():
        assert set(section.entries) == set(expected[name])
        for key, entry in section.entries.items():
            assert entry.continued == ("\n" in expected[name][key])
            assert entry.value.split("\n")[0] == expected[name][key].split("\n")[0]


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_with_a_line(data: bytes) -> None:
    """No content of a file ends in anything but values or one sentence with file and line."""
    refused = None
    try:
        read_ini(data, "f")
    except errors.ConfigError as error:
        refused = error.message
    assert refused is None or refused.startswith("f:")
