"""Plans are pure: the same input gives the same plan; what must differ does."""

import json
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk import errors
from hypersdk.exports.options import FORMATS, HOST_TAG, RUN_TAG, ExportOptions
from hypersdk.exports.plan import (
    ExportPlan,
    Surroundings,
    fill,
    link_name,
    make_plan,
    retry_token,
    run_key,
    staging_prefix,
)
from hypersdk.model import Instance

HERE = Surroundings("ocid1.tenancy.oc1..t", "us-ashburn-1", "ns", "bucket", "/data", date(2026, 1, 2), "host")
VM = Instance("ocid1.instance.oc1.iad.i", "web 01", "ocid1.compartment.oc1..c", "STOPPED", "us-ashburn-1")

formats = st.lists(st.sampled_from(FORMATS), min_size=1, unique=True).map(tuple)
options = st.builds(
    ExportOptions,
    formats=formats,
    output_dir=st.sampled_from([None, ".", "/backup", "sub/dir"]),
    export_to_object_storage=st.booleans(),
    object_name_prefix=st.sampled_from(["", "a/", "a/b-"]),
    delete_after_export=st.booleans(),
)


def plan_of(
    options: ExportOptions, instance: Instance = VM, run_id: str = "0123456789ab", **changes: Any
) -> ExportPlan:
    return make_plan(instance, options, replace(HERE, **changes), run_id=run_id, generation=1)


@given(options)
def test_a_plan_survives_its_store(options: ExportOptions) -> None:
    """A plan out of the run store is the plan that went in."""
    plan = plan_of(options)
    assert ExportPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@given(options)
def test_the_same_input_gives_the_same_plan(options: ExportOptions) -> None:
    """Nothing but its arguments decides a plan."""
    assert plan_of(options) == plan_of(options)


@given(options)
def test_the_order_of_steps_is_the_design_s(options: ExportOptions) -> None:
    """Nothing is exported before its image is there, named before it is proven, or deleted before all is named."""
    kinds = [step.kind for step in plan_of(options).steps]
    assert kinds[:3] == ["preflight", "create-image", "await-image"]
    assert kinds[-2:] == ["write-manifest", "clean-up"]
    for disk_format in options.formats:
        own = [step.kind for step in plan_of(options).steps if step.format == disk_format]
        assert own[:2] == ["export-image", "await-object"]
        proof = "verify" if options.local else "verify-object"
        for naming in {"publish", "rename"}.intersection(own):
            assert own.index(proof) < own.index(naming)
    assert len({step.name for step in plan_of(options).steps}) == len(kinds)


@given(options)
def test_everything_temporary_carries_the_run_s_id(options: ExportOptions) -> None:
    """What is left anywhere can be traced to its run: by tag, by object name, by link name."""
    plan = plan_of(options)
    assert plan.tags[RUN_TAG] == plan.run_id
    assert plan.tags[HOST_TAG] == "host"
    for target in plan.targets:
        assert target.staging.name.startswith(staging_prefix(plan, target).name)
        assert staging_prefix(plan, target).name.endswith(f".hypersdk/{plan.run_id}/")
    assert plan.run_id in link_name(plan, plan.steps[3])


bodies = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)


@given(bodies, bodies, st.integers(1, 3), st.integers(1, 3))
def test_retry_tokens_differ_exactly_when_the_request_does(
    one: dict[str, str], other: dict[str, str], first: int, second: int
) -> None:
    """A token is 32 hex digits, equal for the same run, generation, step and body, and for nothing else."""
    plan = plan_of(ExportOptions())
    step = plan.steps[1]
    token = retry_token(replace(plan, generation=first), step, one)
    assert len(token) == 32
    assert int(token, 16) >= 0
    again = retry_token(replace(plan, generation=second), step, other)
    assert (token == again) == ((first, one) == (second, other))
    assert token != retry_token(replace(plan, generation=first), plan.steps[3], one)
    assert token != retry_token(replace(plan, generation=first, run_id="ba9876543210"), step, one)


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"tags": {"a": "b"}, "allow_shutdown": True, "overwrite": True}, True),
        ({"formats": ("vmdk", "qcow2")}, False),
        ({"output_dir": "/data"}, True),
        ({"output_dir": "/elsewhere"}, False),
        ({"output_name": "x.qcow2"}, False),
        ({"export_to_object_storage": True}, False),
    ],
)
def test_the_key_says_what_is_the_same_export(changes: dict[str, Any], same: bool) -> None:
    """Tenancy, instance, formats and absolute destinations make an export; flags that only shape its way do not."""
    plain = run_key(VM.id, ExportOptions(output_dir="."), HERE)
    assert (run_key(VM.id, ExportOptions(**{"output_dir": ".", **changes}), HERE) == plain) == same


def test_the_order_of_formats_is_no_difference() -> None:
    """`--format a --format b` is the same export as `--format b --format a`."""
    one, other = ExportOptions(formats=("vmdk", "qcow2")), ExportOptions(formats=("qcow2", "vmdk"))
    assert run_key(VM.id, one, HERE) == run_key(VM.id, other, HERE)


def test_midnight_does_not_make_another_export() -> None:
    """A template with {date} has one key on both days, but another destination."""
    options = ExportOptions(output_name="{name}-{date}.{format}")
    tomorrow = replace(HERE, today=date(2026, 1, 3))
    assert run_key(VM.id, options, HERE) == run_key(VM.id, options, tomorrow)
    assert plan_of(options).destinations == ("/data/web 01-2026-01-02.qcow2",)
    assert plan_of(options, today=date(2026, 1, 3)).destinations == ("/data/web 01-2026-01-03.qcow2",)


@given(st.text())
def test_a_name_from_the_cloud_never_leaves_its_directory(name: str) -> None:
    """Whatever an instance is called, the file lies directly in the directory that was asked for."""
    (path,) = plan_of(ExportOptions(output_dir="/backup"), replace(VM, name=name)).destinations
    assert path.startswith("/backup/")
    assert "/" not in path.removeprefix("/backup/")
    assert not set(path).intersection("\0\n\r")


def test_an_unknown_placeholder_is_refused() -> None:
    """A slip in a template is told, not written into a file's name."""
    with pytest.raises(errors.UsageError, match=r"unknown placeholder \{nam\}"):
        fill("{nam}.qcow2", {"name": "x"})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"formats": ()}, "no format"),
        ({"formats": ("raw",)}, "OCI exports no 'raw'"),
        ({"formats": ("qcow2", "qcow2")}, "twice"),
        ({"output_name": "a/b"}, "not a file's name"),
        ({"output_name": "x.vmdk"}, "would hold a qcow2 disk"),
        ({"formats": ("qcow2", "vmdk"), "output_name": "x"}, "would name 2 disks"),
        ({"tags": {"hypersdk-host": "x"}}, "our own"),
        ({"tags": {str(n): "" for n in range(9)}}, "OCI allows 10"),
        ({"overwrite": True, "new": True}, "exclude each other"),
    ],
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any], words: str) -> None:
    """Each wrong value has its own sentence."""
    with pytest.raises(errors.UsageError, match=words):
        ExportOptions(**wrong)
