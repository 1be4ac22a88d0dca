"""Lifecycle and retention rules by themselves: what they take, what they mean, when they act."""

import fnmatch
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.objectstorage import lifecycle, retention
from hypersdk_emulator.objectstorage.lifecycle import DAY_SECONDS, NEVER, Event, Subject

NAMES = st.text("ab-/.", min_size=1, max_size=6)


def rule(action: str = "DELETE", days: int = 1, **more: Any) -> dict[str, Any]:
    target = "multipart-uploads" if action == "ABORT" else "objects"
    plain = {"name": f"{action}-{days}", "action": action, "timeAmount": days, "timeUnit": "DAYS", "isEnabled": True}
    return {**plain, "target": target, **more}


# ---------------------------------------------------------------- patterns


@given(st.text("ab*?", min_size=1, max_size=6), NAMES)
def test_globs(pattern: str, name: str) -> None:
    """Stars and question marks mean what they mean in a shell, slashes included."""
    expected = re.compile(fnmatch.translate(pattern)).match(name) is not None
    assert (lifecycle.glob(pattern).fullmatch(name) is not None) == expected


@given(st.text(min_size=1, max_size=9))
def test_escaped_text_is_itself(text: str) -> None:
    """A pattern with a backslash before every character matches just that text."""
    pattern = lifecycle.glob("".join("\\" + char for char in text))
    assert pattern.fullmatch(text)
    assert not pattern.fullmatch(text + "x")


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("[a-c]x", ["ax", "cx"], ["dx", "-x", "x"]),
        ("[ab-]", ["a", "b", "-"], ["c"]),
        ("[-ab]", ["a", "-"], ["c"]),
        ("[Zafg9@]", ["Z", "@"], ["z", "8"]),
        ("[.*]", [".", "*"], ["a"]),
        ("a.c", ["a.c"], ["abc"]),
        ("*.doc", [".doc", "a/b.doc"], ["a.docx"]),
        ("\\*", ["*"], ["a"]),
    ],
)
def test_groups_of_a_pattern(pattern: str, yes: list[str], no: list[str]) -> None:
    """Groups are sets or one range; everything else stands for itself."""
    compiled = lifecycle.glob(pattern)
    assert [name for name in yes + no if compiled.fullmatch(name)] == yes


@pytest.mark.parametrize("pattern", ["", "[ab-yz]", "[a-mn-z]", "[^a]", "[:a]", "[", "[]", "[z-a]", "a\\", "a" * 1025])
def test_patterns_that_are_none(pattern: str) -> None:
    """What the SDK's description of patterns forbids is refused."""
    with pytest.raises(ValueError, match="pattern"):
        lifecycle.glob(pattern)


@given(st.lists(NAMES, max_size=2), st.lists(NAMES, max_size=2), st.lists(NAMES, max_size=2), NAMES)
def test_name_filters(prefixes: list[str], included: list[str], excluded: list[str], name: str) -> None:
    """An exclusion wins; without inclusions everything is meant; else a prefix or a pattern must fit."""
    told = {"inclusionPrefixes": prefixes, "inclusionPatterns": included, "exclusionPatterns": excluded}
    names = lifecycle.read([rule(objectNameFilter=told)])[0].names
    wanted = name.startswith(tuple(prefixes)) or name in included or not (prefixes or included)
    assert names.takes(name) == (wanted and name not in excluded)


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize(
    "bad",
    [
        "text",
        rule("SHRED"),
        rule(target="buckets"),
        rule("ABORT", target="objects"),
        rule("DELETE", target="multipart-uploads"),
        rule(timeAmount=0),
        rule(timeAmount="1"),
        rule(timeAmount=True),
        rule(timeUnit="HOURS"),
        rule(name=""),
        rule(isEnabled="yes"),
        rule(objectNameFilter=[]),
        rule(objectNameFilter={"inclusionPrefixes": [1]}),
        rule(objectNameFilter={"exclusionPatterns": ["[z-a]"]}),
        rule("ABORT", objectNameFilter={"inclusionPrefixes": ["a"]}),
    ],
)
def test_rules_that_are_refused(bad: Any) -> None:
    """A mistake in a rule is refused with its place."""
    with pytest.raises(ServiceError, match=r"items\[1\]") as refused:
        lifecycle.read([rule(), bad])
    assert refused.value.status == 400


def test_policies_that_are_refused() -> None:
    """Too many rules, two of a name, and moves that auto-tiering makes by itself are refused."""
    for items in ("text", [rule(name=str(n)) for n in range(1001)], [rule(), rule()]):
        with pytest.raises(ServiceError, match="items"):
            lifecycle.read(items)
    lifecycle.read([rule("INFREQUENT_ACCESS")])
    with pytest.raises(ServiceError, match="auto-tiering"):
        lifecycle.read([rule("INFREQUENT_ACCESS")], auto_tiering=True)


# ---------------------------------------------------------------- deciding

MOMENTS = st.floats(1.7e9, 1.8e9)


@given(MOMENTS, st.integers(1, 400), st.sampled_from(["DAYS", "YEARS"]))
def test_days_end_at_midnight(since: float, amount: int, unit: str) -> None:
    """A rule acts at the first midnight UTC after the whole age, never earlier, never a day later."""
    rules = lifecycle.read([rule(timeAmount=amount, timeUnit=unit)])
    event = lifecycle.next_event(rules, Subject("objects", "o", since), 0.0)
    assert event is not None
    age = amount * DAY_SECONDS * (365.2425 if unit == "YEARS" else 1)
    assert event.due % DAY_SECONDS == 0
    assert 0 <= event.due - (since + age) < DAY_SECONDS


@given(st.lists(st.tuples(st.sampled_from(["DELETE", "ARCHIVE", "INFREQUENT_ACCESS"]), st.integers(1, 5)), max_size=5))
def test_the_earliest_and_strongest_wins(wanted: list[tuple[str, int]]) -> None:
    """Of several rules the earliest acts; on the same day deleting comes before archiving, that before moving."""
    rules = lifecycle.read([rule(action, days, name=str(n)) for n, (action, days) in enumerate(wanted)])
    event = lifecycle.next_event(rules, Subject("objects", "o", 0.0), 0.0)
    order = ("DELETE", "ARCHIVE", "INFREQUENT_ACCESS")
    expected = min(((days, order.index(action)) for action, days in wanted), default=None)
    if expected is None:
        assert event is None
    else:
        assert event == Event(expected[0] * DAY_SECONDS, order[expected[1]])


def test_rules_that_change_nothing() -> None:
    """A disabled rule, one for other targets, and a move to where the object is do nothing."""
    rules = lifecycle.read(
        [rule(isEnabled=False, name="off"), rule("ABORT"), rule("ARCHIVE"), rule("INFREQUENT_ACCESS", 2)]
    )
    assert lifecycle.next_event(rules, Subject("objects", "o", 0.0, "Archive"), 0.0) is None
    event = lifecycle.next_event(rules, Subject("objects", "o", 0.0, "InfrequentAccess"), 0.0)
    assert event == Event(DAY_SECONDS, "ARCHIVE")
    assert lifecycle.next_event(rules, Subject("previous-object-versions", "o", 0.0), 0.0) is None


@given(st.floats(0, 1e9), st.integers(1, 30))
def test_protection_is_stronger(protected: float, days: int) -> None:
    """Nothing is deleted before its protection ends, and nothing ever that is protected for ever."""
    rules = lifecycle.read([rule(days=days)])
    event = lifecycle.next_event(rules, Subject("objects", "o", 0.0, protected=protected), 0.0)
    assert event is not None
    assert event.due >= max(protected, days * DAY_SECONDS)
    assert event.due - max(protected, days * DAY_SECONDS) < DAY_SECONDS
    assert lifecycle.next_event(rules, Subject("objects", "o", 0.0, protected=NEVER), 0.0) is None


def test_a_policy_does_not_act_before_it_is_set() -> None:
    """What is older than a new rule's age goes when the rule is set, not in the past."""
    assert lifecycle.next_event(lifecycle.read([rule()]), Subject("objects", "o", 0.0), 1e9) == Event(1e9, "DELETE")


# ---------------------------------------------------------------- retention

DAY = {"timeAmount": 1, "timeUnit": "DAYS"}
SOON, FAR = "1970-01-15T00:00:00Z", "1970-02-15T00:00:00Z"


def test_retention_protects_until_its_duration_is_over() -> None:
    """The longest rule counts, from the last modification; a rule without a duration never ends."""
    rules = [{"id": "a", "duration": DAY}, {"id": "b", "duration": {"timeAmount": 1, "timeUnit": "YEARS"}}]
    assert retention.protected_until(rules, 100.0) == 100.0 + 365 * DAY_SECONDS
    protecting = [retention.protecting(rules, 0.0, now) for now in (0.0, DAY_SECONDS, 365.0 * DAY_SECONDS)]
    assert [found and found["id"] for found in protecting] == ["a", "b", None]
    assert retention.protected_until([{"id": "c", "duration": None}], 0.0) == NEVER
    assert retention.protected_until([], 5.0) == 0.0


@pytest.mark.parametrize(
    "body",
    [
        {"duration": {"timeAmount": 0, "timeUnit": "DAYS"}},
        {"duration": {"timeAmount": 1, "timeUnit": "HOURS"}},
        {"duration": "1 day"},
        {"duration": DAY, "timeRuleLocked": "1970-01-14T23:59:59Z"},
        {"duration": DAY, "timeRuleLocked": "soon"},
        {"timeRuleLocked": FAR},
        {"displayName": 7},
    ],
)
def test_retention_details_that_are_refused(body: dict[str, Any]) -> None:
    """Bad durations, and locks without 14 days of notice or without a duration, are refused."""
    with pytest.raises(ServiceError) as refused:
        retention.details(body, 0.0)
    assert (refused.value.status, refused.value.code) == (400, "InvalidRetentionRuleDetails")


def test_a_lock() -> None:
    """Until a lock comes into force everything may change; afterwards the duration may grow, and nothing else."""
    made = {"id": "r", **retention.details({"displayName": "n", "duration": DAY, "timeRuleLocked": SOON}, 0.0)}
    day13, day14 = 13.0 * DAY_SECONDS, 14.0 * DAY_SECONDS
    assert retention.changed(made, {"displayName": "m"}, day13)["displayName"] == "m"
    assert retention.changed(made, {"timeRuleLocked": None}, day13)["timeRuleLocked"] is None
    assert (retention.locked(made, day13), retention.locked(made, day14)) == (False, True)
    longer = retention.changed(made, {"duration": {"timeAmount": 2, "timeUnit": "DAYS"}}, day14)
    assert longer["duration"]["timeAmount"] == 2
    for body in ({"displayName": "m"}, {"timeRuleLocked": FAR}, {"duration": None}):
        with pytest.raises(ServiceError) as refused:
            retention.changed(made, body, day14)
        assert refused.value.status == 409
    with pytest.raises(ServiceError, match="grow"):
        retention.changed(longer, {"duration": DAY}, day14)
