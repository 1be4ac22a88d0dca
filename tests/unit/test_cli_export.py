"""What `hyperexport export` makes of its arguments."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from hypersdk import errors
from hypersdk.cli import export
from hypersdk.exports.options import ExportOptions
from hypersdk.model import Instance
from hypersdk.vendors.oci.credentials import OciSettings

GIVEN: dict[str, Any] = {
    "output": None,
    "to": (),
    "formats": (),
    "image_name": None,
    "object_prefix": "",
    "tags": (),
    "allow_shutdown": False,
    "keep_image": False,
    "keep_on_failure": False,
    "overwrite": False,
    "new": False,
}


def context(**more: Any) -> Any:
    settings = OciSettings(export_format="vmdk", tags={"owner": "ops"})
    return SimpleNamespace(config=SimpleNamespace(oci=settings), **more)


def options(**given: Any) -> ExportOptions:
    return export._options(context(), {**GIVEN, **given})


def test_configured_format_and_tags_count_and_flags_are_stronger() -> None:
    """The `oci:` block gives the defaults, key by key."""
    assert options().formats == ("vmdk",)
    assert options(formats=("qcow2", "vdi")).formats == ("qcow2", "vdi")
    assert options(tags=("owner=me", "a=b=c")).tags == {"owner": "me", "a": "b=c"}


def test_output_is_a_directory_if_it_is_one_or_looks_like_one(tmp_path: Path) -> None:
    """An existing directory or a trailing slash takes the default name, anything else is the name."""
    (tmp_path / "there").mkdir()
    for text in (str(tmp_path / "there"), f"{tmp_path}/new/"):
        assert (options(output=text).output_name, options(output=text).local) == (None, True)
    named = options(output=f"{tmp_path}/x.vmdk")
    assert (named.output_dir, named.output_name) == (str(tmp_path), "x.vmdk")


@pytest.mark.parametrize(
    ("address", "prefix", "name"),
    [
        ("oci://ns/b/", "", None),
        ("oci://ns/b/backups", "backups/", None),
        ("oci://ns/b/a/b/", "a/b/", None),
        ("oci://b@ns/a/x.vmdk", "a/", "x.vmdk"),
        ("oci://ns/b/{name}-{date}.{format}", "", "{name}-{date}.{format}"),
    ],
)
def test_an_address_is_a_prefix_or_an_object(address: str, prefix: str, name: str | None) -> None:
    """A last part with the format's extension names the object; everything else is a prefix."""
    made = options(to=(address,))
    assert (made.namespace, made.bucket) == ("ns", "b")
    assert (made.object_name_prefix, made.object_name) == (prefix, name)
    assert not made.local
    assert options(to=(address,), output="./").local


def test_an_address_of_another_format_is_a_slip() -> None:
    """`x.qcow2` is neither taken for a prefix nor filled with a VMDK."""
    with pytest.raises(errors.UsageError, match="would hold a vmdk disk"):
        options(to=("oci://ns/b/x.qcow2",))


@pytest.mark.parametrize(("answer", "unfinished"), [(True, False), (False, False), (None, True)])
def test_a_yes_on_a_terminal_allows_the_shutdown(
    monkeypatch: pytest.MonkeyPatch, answer: bool | None, unfinished: bool
) -> None:
    """Yes is as good as --allow-shutdown, no ends it, and a run that is resumed is not asked about again."""
    asked: list[str] = []

    def confirm(question: str, **_: Any) -> bool:
        asked.append(question)
        assert answer is not None
        return answer

    monkeypatch.setattr(click, "confirm", confirm)
    monkeypatch.setattr(export.api, "is_unfinished", lambda *_: unfinished)
    person: Any = context(interactive=True, wiring=SimpleNamespace(export_rooms=None))
    running, around = Instance("i", "web", "c", "RUNNING", "r"), SimpleNamespace()
    if answer is False:
        with pytest.raises(click.Abort):
            export._ask(person, running, options(), around)
    else:
        assert export._ask(person, running, options(), around).allow_shutdown is bool(answer)
    assert len(asked) == (not unfinished)
