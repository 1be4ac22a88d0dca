"""Faults are validated, matched, consumed and counted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypersdk_emulator.faultrules import EFFECTS, FaultError, Operation
from hypersdk_emulator.faults import Facts, FaultBook

OPERATIONS = {
    "GetObject": Operation(frozenset({"objectstorage", "s3"}), in_path=True),
    "HeadObject": Operation(frozenset({"objectstorage"}), "HEAD", in_path=True),
    "UploadPart": Operation(frozenset({"objectstorage"}), "PUT", uploads=True, in_path=True),
    "ListImages": Operation(frozenset({"compute"})),
    "ExportImage": Operation(frozenset({"compute"}), "POST"),
    "CreateImage": Operation(frozenset({"compute"}), "POST"),
    "GetWorkRequest": Operation(frozenset({"workrequests"})),
}


def book(*faults):
    made = FaultBook(OPERATIONS)
    for fault in faults:
        made.declare(fault)
    return made


@settings(deadline=None)
@given(
    faults=st.lists(st.tuples(st.sampled_from(["GetObject", "ListImages", "*"]), st.integers(1, 4), st.integers(0, 3))),
    calls=st.lists(st.sampled_from(["GetObject", "ListImages"]), max_size=30),
)
def test_every_call_meets_at_most_one_fault_and_all_is_counted(faults, calls):
    """Consumed faults equal the calls hit, none beyond its times, and a fault starts only after its skip."""
    made = book(*({"operation": o, "times": t, "skip": s, "effect": "reset"} for o, t, s in faults))
    hit = [fault for call in calls if (fault := made.take(Facts(call)))]
    assert len(hit) == sum(row["consumed"] for row in made.listing())
    for row in made.listing():
        assert 0 <= row["consumed"] <= row["times"]
        assert row["remaining"] == row["times"] - row["consumed"]
        matching = sum(row["operation"] in (call, "*") for call in calls)
        assert row["consumed"] <= max(0, matching - row["skip"])


def test_the_oldest_matching_fault_goes_first_and_spent_ones_stay_listed():
    """Two faults of one operation are met in the order declared; the list shows both as spent."""
    made = book(
        {"operation": "GetObject", "effect": "reset"}, {"operation": "GetObject", "effect": "html", "objectName": "a"}
    )
    assert [made.take(Facts("GetObject", object_name="a")).effect for _ in range(2)] == ["reset", "html"]
    assert made.take(Facts("GetObject", object_name="a")) is None
    assert [(row["consumed"], row["remaining"]) for row in made.listing()] == [(1, 0), (1, 0)]


def test_object_name_and_path_narrow_a_fault():
    """The objectName compares exactly and path is a part of the raw path."""
    made = book({"operation": "GetObject", "effect": "reset", "objectName": "a/b", "path": "/b/one/"})
    assert made.take(Facts("GetObject", path="/n/ns/b/one/o/a", object_name="a")) is None
    assert made.take(Facts("GetObject", path="/n/ns/b/two/o/a%2Fb", object_name="a/b")) is None
    assert made.take(Facts("GetObject", path="/n/ns/b/one/o/a%2Fb", object_name="a/b")) is not None


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ({"operation": "GetNothing", "effect": "reset"}, "operation: 'GetNothing'"),
        ({"operation": "GetObject", "effect": "explode"}, "effect: 'explode'"),
        ({"operation": "GetObject", "effect": "hold", "afterBytes": 1}, "afterBytes: no field"),
        ({"operation": "GetObjekt", "effect": "reset"}, "did you mean 'GetObject'"),
        ({"operation": "GetObject", "effect": "cutbody"}, "did you mean 'cut-body'"),
        ({"operation": "GetObject", "effect": "cut-body", "afterbytes": 1}, "did you mean 'afterBytes'"),
        ({"operation": "GetObject", "effect": "reset", "service": "compute"}, "service: GetObject is an operation of"),
        ({"operation": "*", "effect": "reset", "service": "s4"}, "service: 's4'"),
        ({"operation": "GetObject", "effect": "reset", "nth": 2, "skip": 1}, "skip: contradicts nth"),
        ({"operation": "GetObject", "effect": "reset", "nth": 0}, "nth: 0"),
        ({"operation": "GetObject", "effect": "reset", "seed": 1}, "seed: belongs to probability"),
        ({"operation": "GetObject", "effect": "reset", "probability": 1.5}, "probability: 1.5"),
        ({"operation": "ListImages", "effect": "reset", "offset": 1}, "offset: ListImages takes no range"),
        ({"operation": "ListImages", "effect": "reset", "objectName": "a"}, "objectName: ListImages"),
        ({"operation": "GetObject", "effect": "reset", "partNumber": 1}, "partNumber: GetObject"),
        ({"operation": "GetObject", "effect": "cut-request", "afterBytes": 1}, "for PutObject or UploadPart"),
        ({"operation": "HeadObject", "effect": "cut-body", "afterBytes": 1}, "for calls whose reply has a body"),
        ({"operation": "HeadObject", "effect": "reset", "afterBytes": 1}, "afterBytes: the reply to HeadObject"),
        ({"operation": "GetObject", "effect": "list-lags", "seconds": 1}, "for calls that list"),
        ({"operation": "GetObject", "effect": "wrong-length", "by": 0}, "by: 0"),
        ({"operation": "GetObject", "effect": "redirect", "to": "elsewhere"}, "to: 'elsewhere'"),
        ({"operation": "GetObject", "effect": "reset", "times": "many"}, "times: 'many'"),
        ({"operation": "GetObject", "effect": "cut-body"}, "afterBytes"),
        ({"operation": "GetObject", "effect": "cut-body", "afterBytes": -1}, "afterBytes: -1"),
        ({"operation": "GetObject", "effect": "error", "status": 200, "code": "x"}, "status: 200"),
        ({"operation": "GetObject", "effect": "error", "status": 503, "code": "x", "headers": {"a": 1}}, "headers"),
        ({"operation": "GetObject", "effect": "reset", "times": 0}, "times: 0"),
        ({"operation": "GetObject", "effect": "reset", "times": True}, "times: True"),
        ({"operation": "GetObject", "effect": "export-all-zero"}, "operation: the effect export-all-zero"),
        ({"operation": "GetObject", "effect": "delay", "seconds": "1"}, "seconds: '1'"),
        (["GetObject"], "a fault is a JSON object"),
    ],
)
def test_a_wrong_declaration_is_refused_by_the_name_of_its_field(fault, named):
    """Nothing is added, and the text names the field."""
    made = book()
    with pytest.raises(FaultError) as caught:
        made.declare(fault)
    assert named in str(caught.value)
    assert made.listing() == []


def test_every_effect_can_be_declared_with_its_own_fields():
    """Each effect of the table is accepted for an operation it is for, and listed with its fields and counts."""
    values = {"status": 503, "code": "ServiceUnavailable", "afterBytes": 1, "at": 0, "seconds": 0.5, "by": -1}
    values |= {"to": "http://127.0.0.2", "bytesPerSecond": 10, "count": 1, "limit": 37}
    made = book()
    for kind, effect in EFFECTS.items():
        needed = {name: values[name] for name, rule in effect.fields.items() if rule.required}
        made.declare({"operation": min(effect.only & OPERATIONS.keys(), default="*"), "effect": kind, **needed})
    assert [row["effect"] for row in made.listing()] == list(EFFECTS)
    assert all(row["remaining"] == 1 and row["consumed"] == 0 and row["holding"] == 0 for row in made.listing())


def test_an_outage_lasts_its_real_time_and_ends_when_faults_are_dropped():
    """From the call that meets it on nothing answers for the declared seconds; DELETE faults ends it early."""
    made = book({"operation": "*", "effect": "outage", "seconds": 60})
    assert not made.in_outage(100.0)
    made.start_outage(made.take(Facts("ListImages")), 100.0)
    assert made.in_outage(159.9)
    assert not made.in_outage(160.0)
    made.start_outage(made.declare({"operation": "*", "effect": "outage", "seconds": 60}), 200.0)
    made.clear()
    assert not made.in_outage(201.0)
    assert made.listing() == []


@pytest.mark.parametrize(
    ("matcher", "hit", "missed"),
    [
        ({"service": "s3"}, Facts("GetObject", "s3"), Facts("GetObject", "objectstorage")),
        ({"bucketName": "a"}, Facts("GetObject", bucket="a"), Facts("GetObject", bucket="b")),
        ({"compartmentId": "c"}, Facts("ListImages", compartment="c"), Facts("ListImages", compartment="d")),
        ({"instanceId": "i"}, Facts("CreateImage", instance="i"), Facts("CreateImage")),
        ({"partNumber": 2}, Facts("UploadPart", part=2), Facts("UploadPart", part=1)),
        ({"offset": 9}, Facts("GetObject", first=5, last=9), Facts("GetObject", first=5, last=8)),
        ({"offset": 9}, Facts("GetObject", first=9), Facts("GetObject")),
    ],
)
def test_every_matcher_narrows_a_fault(matcher, hit, missed):
    """A call that does not agree with a matcher passes, one that does is hit."""
    made = book({"operation": "*", "effect": "reset", **matcher})
    assert made.take(missed) is None
    assert made.take(hit) is not None


def test_an_effect_on_ranges_hits_only_calls_that_ask_for_one():
    """A fault of the range waits for a GetObject with a Range header; a whole GET passes."""
    made = book({"operation": "*", "effect": "shifted-range"})
    assert made.take(Facts("ListImages", first=0)) is None
    assert made.take(Facts("GetObject")) is None
    assert made.take(Facts("GetObject", first=0)) is not None


def test_the_nth_call_is_hit_and_no_other():
    """With nth the calls before it pass and those after it, too."""
    made = book({"operation": "GetObject", "effect": "reset", "nth": 3})
    assert [made.take(Facts("GetObject")) is not None for _ in range(5)] == [False, False, True, False, False]


@settings(deadline=None)
@given(seed=st.integers(0, 1 << 30), probability=st.floats(0.01, 1))
def test_chance_is_the_same_in_every_run(seed, probability):
    """Two books with the same declaration hit exactly the same calls."""
    fault = {"operation": "GetObject", "effect": "reset", "probability": probability, "seed": seed, "times": "any"}
    one, other = book(fault), book(fault)
    assert [bool(one.take(Facts("GetObject"))) for _ in range(50)] == [
        bool(other.take(Facts("GetObject"))) for _ in range(50)
    ]


def test_a_fault_without_end_is_consumed_by_its_first_hit():
    """With times "any" a fault goes on hitting; it counts as unconsumed only while it never hit."""
    made = book({"operation": "*", "effect": "reset", "times": "any"})
    assert made.listing()[0]["unconsumed"]
    assert all(made.take(Facts("ListImages")) for _ in range(3))
    assert (
        made.listing()[0] | {"remaining": None, "consumed": 3, "unconsumed": False, "times": "any"} == made.listing()[0]
    )
    assert made.waiting
