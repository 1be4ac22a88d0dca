"""The file of a fleet: YAML, CSV and lines mean the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk import errors
from hypersdk.fleet.planning import files
from hypersdk.fleet.planning.asked import NOTHING, Asked
from hypersdk.fleet.planning.files import FleetFile, Wanted

WEB = "ocid1.instance.oc1.iad.web"

YAML = b"""
defaults:
  output: /backup/{compartment}/{name}-{date}.{format}
  allow_shutdown: yes
  tags: {campaign: "2026", owner: ops}
limits: {parallel: 8, per_region: 2}
windows: mon-fri 22:00-06:00 Europe/Berlin
compartments: [prod/web, prod/db]
regions: [us-ashburn-1]
filter: tag:env=prod
instances:
  - web-01
  - ocid1.instance.oc1.iad.web
  - name: db-01
    compartment: prod/db
    format: [vmdk, qcow2]
    priority: -1
    tags:
      tier: db
"""


def test_a_yaml_file_is_read() -> None:
    """Instances by name, OCID or keys, defaults, limits, windows, places and a filter are what the file says."""
    assert files.read(YAML, "f.yaml") == FleetFile(
        wanted=(
            Wanted("f.yaml:12", name="web-01"),
            Wanted("f.yaml:13", id=WEB),
            Wanted(
                "f.yaml:14",
                name="db-01",
                compartment="prod/db",
                asked=Asked(format=("vmdk", "qcow2"), priority=-1, tags={"tier": "db"}),
            ),
        ),
        defaults=Asked(
            output="/backup/{compartment}/{name}-{date}.{format}",
            allow_shutdown=True,
            tags={"campaign": "2026", "owner": "ops"},
        ),
        limits={"parallel": 8, "per_region": 2},
        windows=("mon-fri 22:00-06:00 Europe/Berlin",),
        compartments=("prod/web", "prod/db"),
        regions=("us-ashburn-1",),
        filter="tag:env=prod",
    )


SAME = {
    "f.yaml": "- {name: web 01, format: vmdk, allow_shutdown: true, tags: {env: a;b}}\n- ocid1.instance.oc1.iad.web\n",
    "f.csv": "name,id,format,Allow-Shutdown,tag:env\nweb 01,,vmdk,yes,a;b\n,ocid1.instance.oc1.iad.web,,,\n",
    "g.csv": 'NAME;format;allow shutdown;tag:env\n# remark\n"web 01";vmdk;on;"a;b"\n\nocid1.instance.oc1.iad.web;;;\n',
    "h.csv": "name\tformat\tallow_shutdown\ttag:env\r\nweb 01\tvmdk\t1\ta;b\r\nocid1.instance.oc1.iad.web\r\n",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", SAME)
def test_forms_and_encodings_mean_the_same(name: str, encoding: str) -> None:
    """YAML and CSV of three separators, with and without a byte order mark, name the same instances alike."""
    found = [(one.name, one.id, one.asked) for one in files.read(SAME[name].encode(encoding), name).wanted]
    asked = Asked(format=("vmdk",), allow_shutdown=True, tags={"env": "a;b"})
    assert found == [("web 01", None, asked), (None, WEB, NOTHING)]


@pytest.mark.parametrize("name", ["f", "f.txt", "f.list"])
def test_lines_are_names_or_ocids(name: str) -> None:
    """One instance a line; blanks, empty lines and remarks are nothing, a # inside a name is part of it."""
    text = f"# remark\r\n web #1 \r\n\r\n  # another\r\n{WEB}"
    assert files.read(text.encode(), name).wanted == (Wanted(f"{name}:2", name="web #1"), Wanted(f"{name}:5", id=WEB))


def test_a_cell_may_hold_a_line_end() -> None:
    """Lines are counted as an editor shows them although a quoted cell has two."""
    text = b'name,tag:note\nweb-01,"one\ntwo"\nweb-02,\n'
    assert [(one.where, one.name) for one in files.read(text, "f.csv").wanted] == [
        ("f.csv:2", "web-01"),
        ("f.csv:4", "web-02"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("f.yaml", "instances:\n- web\ninstnaces: []", "f.yaml:3: unknown key 'instnaces'; did you mean 'instances'?"),
        ("f.yaml", "instances:\n- {name: a, formt: raw}", "f.yaml:2: unknown key 'formt'; did you mean 'format'?"),
        ("f.yaml", "instances:\n- {name: a, format: qcow}", "f.yaml:2: format: no format 'qcow'; did you mean 'qcow2'"),
        ("f.yaml", "defaults:\n  allow_shutdown: maybe", "f.yaml:2: allow_shutdown: not a switch: 'maybe'"),
        ("f.yaml", "defaults:\n  name: x", "f.yaml:2: unknown key 'name'"),
        ("f.yaml", "limits: {parallel: many}", "f.yaml:1: parallel: a whole number"),
        ("f.yaml", "limits: {parallel: -1}", "f.yaml:1: parallel: a whole number"),
        ("f.yaml", "a: 1\nwindows:\n- 22:00-06:00\n- 22-06", "f.yaml:1: unknown key 'a'"),
        ("f.yaml", "windows:\n- 22:00-06:00\n- 22-06", "f.yaml:3: not a window: '22-06'"),
        ("f.yaml", "windows: 22-06", "f.yaml:1: not a window: '22-06'"),
        ("f.yaml", "\nfilter: nmae=x", "f.yaml:2: filter, column 1: no field 'nmae'; did you mean 'name'?"),
        ("f.yaml", "filter: [name=x, name=y]", "f.yaml:1: filter: one expression is expected"),
        ("f.yaml", "filter:", "f.yaml:1: filter: a text is expected"),
        ("f.yaml", "instances: web", "f.yaml:1: instances: a list is expected"),
        ("f.yaml", "instances:\n- [web]", "f.yaml:2: an instance: keys with values are expected"),
        ("f.yaml", "instances:\n- format: raw\n", "f.yaml:2: format: no format 'raw'"),
        ("f.yaml", "instances:\n- format: vmdk\n", "f.yaml:2: neither name nor id"),
        (
            "f.yaml",
            "instances:\n- id: ocid1.image.oc1.iad.x\n",
            "f.yaml:2: an OCID of kind image, expected kind instance",
        ),
        ("f.yaml", "a: &x 1\nb: *x", "f.yaml:2: aliases"),
        ("f.yaml", "instances: [[[[[[a]]]]]]", "nested too deep"),
        ("f.yaml", "just text", "the file: keys with values are expected"),
        ("f.csv", "name,formt\nweb,raw", "f.csv:1: unknown key 'formt'; did you mean 'format'?"),
        ("f.csv", "format\nqcow2", "f.csv:1: no column `name` or `id`"),
        ("f.csv", "name,format,format\nweb,,", "f.csv:1: the column 'format' stands twice"),
        ("f.csv", "name,format\nweb,qcow2\ndb,vmkd", "f.csv:3: format: no format 'vmkd'; did you mean 'vmdk'?"),
        ("f.csv", "name\nweb,qcow2", "f.csv:2: 2 cells under 1 columns"),
        ("f.csv", "name,priority\nweb,high", "f.csv:2: priority: not a whole number: 'high'"),
        ("f.csv", "name,format\n,qcow2", "f.csv:2: neither name nor id"),
        ("f.csv", 'name\n"web', "f.csv:2: not CSV"),
        ("f.txt", "ocid1.bucket.oc1.iad.x", "f.txt:1: an OCID of kind bucket"),
        ("f.txt", "a\0b", "f.txt:1: a NUL byte"),
        ("f.txt", "web\n\nweb", "f.txt:3: web stands already at f.txt:1"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_the_nearest_key(name: str, text: str, says: str) -> None:
    """Every refusal begins with the place and says what is wrong there; the exit code is that of a wrong use."""
    with pytest.raises(errors.ConfigError) as caught:
        files.read(text.encode(), name)
    assert says in caught.value.message
    assert caught.value.exit_code == 2


def test_all_entries_that_stand_twice_are_told_together() -> None:
    """One error names each of them with both lines."""
    with pytest.raises(errors.ConfigError) as caught:
        files.read(b"web\ndb\nweb\ndb\n", "f")
    assert caught.value.__notes__ == ["f:3: web stands already at f:1", "f:4: db stands already at f:2"]


@pytest.mark.parametrize("name", ["f.yaml", "f.csv", "f"])
def test_an_empty_file_names_nothing(name: str) -> None:
    """An empty file is no mistake of its own: nothing is selected."""
    assert files.read(b"", name).wanted == ()


@given(
    st.sampled_from(["f.yaml", "f.csv", "f"]), st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode))
)
def test_any_bytes_are_read_or_refused(name: str, data: bytes) -> None:
    """No file makes the reader fail in another way than by a refusal that names the file."""
    refused = f"{name}:"
    try:
        files.read(data, name)
    except errors.ConfigError as error:
        refused = error.message
    assert refused.startswith(f"{name}:")


def test_what_one_source_leaves_open_the_next_fills() -> None:
    """Tags of both count, the nearer one first; a nearer destination replaces the farther one altogether."""
    near = Asked(to="oci://ns/b/x/", tags={"a": "near"}, allow_shutdown=False)
    far = Asked(output="/x/", tags={"a": "far", "b": "far"}, allow_shutdown=True, priority=3)
    assert near.over(far) == Asked(to="oci://ns/b/x/", tags={"a": "near", "b": "far"}, allow_shutdown=False, priority=3)
