"""One number for a whole export."""

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from hypersdk import events
from hypersdk.exports.options import ExportOptions
from hypersdk.exports.plan import ExportPlan, Surroundings, make_plan
from hypersdk.exports.telling.percent import PercentReporter
from hypersdk.model import Instance


def plan() -> ExportPlan:
    instance = Instance("ocid1.instance.oc1.iad.a", "web-01", "ocid1.compartment.oc1..c", "STOPPED", "us-ashburn-1")
    around = Surroundings("ocid1.tenancy.oc1..t", "us-ashburn-1", "ns", "exports", "/tmp", date(2026, 1, 1), "host")
    return make_plan(instance, ExportOptions(), around, run_id="run1", generation=1)


STEPS = [step.name for step in plan().steps]


@given(st.lists(st.tuples(st.sampled_from([*STEPS, "unknown"]), st.floats(0, 2e9), st.sampled_from([None, 0.0, 1e9]))))
def test_percent_never_falls_and_ends_at_100(moves: list[tuple[str, float, float | None]]) -> None:
    """Whatever the order of events, the number grows, stays below 100 until all is done, and then is 100."""
    seen: list[float] = []
    report = PercentReporter(plan(), seen.append)
    for step, done, total in moves:
        report(events.StepAdvanced("run1", step, done, total))
    for step in STEPS:
        assert not seen or seen[-1] < 100
        report(events.StepFinished("run1", step))
    assert seen == sorted(set(seen))
    assert seen[-1] == 100
    assert min(seen) >= 0
