"""On which machine a run's files lie, and what that means for another one: pure decisions."""

from __future__ import annotations

from datetime import date, datetime

from hypothesis import given
from hypothesis import strategies as st

from hypersdk.exports.options import ExportOptions
from hypersdk.exports.plan import ExportPlan, Surroundings, make_plan
from hypersdk.exports.whereabouts import LOCAL, Course, course, lying, to_forget, until
from hypersdk.model import Instance
from hypersdk.runs.records import StepRecord

HERE = Surroundings("ocid1.tenancy.oc1..t", "us-ashburn-1", "ns", "bucket", "/data", date(2026, 1, 2), "host")
VM = Instance("ocid1.instance.oc1.iad.i", "web-01", "ocid1.compartment.oc1..c", "STOPPED", "us-ashburn-1")
EARLIER = "2026-01-02T03:04:05.000+00:00"


def plan_of(**options: object) -> ExportPlan:
    return make_plan(VM, ExportOptions(**options), HERE, run_id="0123456789ab", generation=1)  # type: ignore[arg-type]


def begun(plan: ExportPlan, count: int, host: str | None = "a", *, open_last: bool = True) -> list[StepRecord]:
    """Records of the first steps of a plan; the last one has not ended."""
    done = count - 1 if open_last else count
    return [
        StepRecord(step.name, "done", {} if number < done else None, EARLIER, EARLIER, host)
        for number, step in enumerate(plan.steps[:count])
    ]


plans = st.builds(
    plan_of,
    formats=st.sampled_from([("qcow2",), ("vmdk", "qcow2")]),
    output_dir=st.sampled_from([None, "/backup"]),
    export_to_object_storage=st.booleans(),
)


@given(plans, st.data())
def test_a_run_lies_where_its_last_local_step_began(plan: ExportPlan, data: st.DataObject) -> None:
    """Before the first local step, after the manifest, and without a local file it lies nowhere."""
    count = data.draw(st.integers(0, len(plan.steps)))
    open_last = data.draw(st.booleans())
    found = lying(plan, begun(plan, count, open_last=open_last))
    local = any(target.path for target in plan.targets)
    kinds = [step.kind for step in plan.steps[:count]]
    written = "write-manifest" in kinds and not (open_last and kinds[-1] == "write-manifest")
    assert (found is not None) == (local and any(kind in LOCAL for kind in kinds) and not written)
    if found is not None:
        assert found.host == "a"
        assert set(found.steps) <= {step.name for step in plan.steps[:count] if step.kind in LOCAL}


def test_a_run_of_a_former_version_lies_nowhere() -> None:
    """Records without a host bind a run to no machine."""
    plan = plan_of()
    assert lying(plan, begun(plan, 6, None)) is None


@given(st.booleans(), st.booleans())
def test_the_own_machine_always_goes_on(seen: bool, over: bool) -> None:
    """Nobody waits for itself, and nothing of it is forgotten."""
    plan = plan_of()
    lies = lying(plan, begun(plan, 7))
    assert lies is not None
    assert course(lies, "a", seen=seen, over=over) is Course.GO_ON
    assert course(None, "b", seen=seen, over=over) is Course.GO_ON
    assert to_forget(plan, lies, Course.GO_ON) == ()


def test_another_machine_waits_then_begins_anew() -> None:
    """What is seen here is used at once; what is not is waited for until the time is over."""
    plan = plan_of()
    lies = lying(plan, begun(plan, 7))
    assert lies is not None
    assert course(lies, "b", seen=True, over=False) is Course.SHARED
    assert course(lies, "b", seen=False, over=False) is Course.WAIT
    assert course(lies, "b", seen=False, over=True) is Course.ANEW


@given(plans, st.data())
def test_what_the_cloud_did_is_never_forgotten(plan: ExportPlan, data: st.DataObject) -> None:
    """Image, export and object of a run outlive the machine that asked for them; all local steps are begun anew."""
    count = data.draw(st.integers(0, len(plan.steps)))
    lies = lying(plan, begun(plan, count))
    if lies is None:
        return
    names = to_forget(plan, lies, Course.ANEW)
    kinds = {step.name: step.kind for step in plan.steps}
    assert {kinds[name] for name in names} <= set(LOCAL)
    assert set(names) == {step.name for step in plan.steps[:count] if step.kind in LOCAL}


def test_shared_files_are_proven_again_until_they_are_published() -> None:
    """Another machine sees another inode; a published disk needs no further proof."""
    plan = plan_of()
    names = [step.name for step in plan.steps]
    proven, published = names.index("publish") + 1, names.index("write-manifest") + 1
    for count, forgotten in ((proven, ("verify",)), (published, ())):
        lies = lying(plan, begun(plan, count))
        assert lies is not None
        assert to_forget(plan, lies, Course.SHARED) == forgotten


def test_the_time_of_a_machine_begins_when_it_was_heard_last() -> None:
    """Grace counts from the last heartbeat."""
    assert until(EARLIER, 90) == datetime.fromisoformat("2026-01-02T03:05:35+00:00")
