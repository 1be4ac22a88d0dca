"""The language of `--filter`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk import errors
from hypersdk.fleet.planning import filters
from hypersdk.fleet.planning.filters import Subject
from hypersdk.model import Instance

GIB = 1024**3
WEB = Instance(
    "ocid1.instance.oc1.iad.web",
    "web-01",
    "ocid1.compartment.oc1..prodweb",
    "RUNNING",
    "us-ashburn-1",
    "Uocm:US-ASHBURN-AD-1",
    "VM.Standard.E4.Flex",
    time_created=datetime(2026, 3, 1, 12, tzinfo=UTC),
    tags={"env": "prod", "cost center": "42", "Operations.Owner": "free-form"},
    defined_tags={"Operations.Owner": "ops", "Finance.CostCenter": "7"},
)
SUBJECT = Subject(WEB, "prod/web", 50 * GIB)


@pytest.mark.parametrize(
    "text",
    [
        "name=web-01",
        "name=web-*",
        "name=web-0?",
        "NAME=web-01",
        "name ~ EB-0",
        "name!='web-*'",
        'name="web-01"',
        "shape=vm.standard.e4.flex",
        "shape~VM.Standard",
        "shape!~VMxStandard",
        "state=running",
        "region=us-ashburn-1",
        "compartment=prod/web",
        "compartment=prod/*",
        "compartment=ocid1.compartment.oc1..prodweb",
        "ad=*-AD-1",
        "tag:env",
        "tag:env=prod",
        "not tag:absent",
        "tag:absent!=x",
        "tag:absent!~x",
        "tag:'cost center'=42",
        "tag:finance.costcenter=7",
        "tag:Operations.Owner=free-form",
        "created=2026-03-01",
        "created>2026-02-28",
        "created<2026-03-02",
        "created>=2026-03-01T12:00:00Z",
        "not created>2026-03-01",
        "size=50GiB",
        "size>=50G and size<51G",
        "size>49G",
        "name=x or name=web-01 and tag:env=prod",
        "not (name=x or name=y)",
        "not not name=web-01",
        "((tag:env=prod))",
        "tag:env=prod AND NOT name=x",
        "tag:env = prod\n  and shape ~ E4",
    ],
)
def test_a_filter_that_means_the_instance(text: str) -> None:
    """Globs, contained text, tags, dates, sizes, quotes, any case of the words: each of these is true of web-01."""
    assert filters.parse(text).matches(SUBJECT)


@pytest.mark.parametrize(
    "text",
    [
        "name=WEB-01",
        "name=web",
        "name='web-*'",
        "name!=web-*",
        "tag:ENV=prod",
        "tag:absent",
        "tag:absent=''",
        "tag:absent~x",
        "created>2026-03-01",
        "created!=2026-03-01",
        "size!=50G",
        "size<50G",
        "(name=web-01 or name=x) and name=y",
        "name=web-01 and not tag:env",
    ],
)
def test_a_filter_that_does_not_mean_the_instance(text: str) -> None:
    """Names and free-form tags are compared exactly, a quoted * is a star, a missing tag is equal to nothing."""
    assert not filters.parse(text).matches(SUBJECT)


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("", 1, "a field is expected"),
        ("nmae=web", 1, "did you mean 'name'?"),
        ("name=a and tags:env=prod", 12, "did you mean 'tag:'?"),
        ("name", 5, "an operator is expected"),
        ("name=", 6, "a value is expected"),
        ("name='web", 6, "quote is not closed"),
        ("(name=a", 1, "parenthesis is not closed"),
        ("name=a)", 7, "`and` or `or`"),
        ("name=a name=b", 8, "`and` or `or`"),
        ("name=a and", 11, "a field is expected"),
        ("name=a and or name=b", 12, "a field is expected"),
        ("name<b", 5, "no order"),
        ("size~5", 5, "no text"),
        ("size>big", 1, "not a size"),
        ("created>yesterday", 1, "not a date"),
        ("tag:=x", 1, "key is missing"),
        ("not", 4, "a field is expected"),
        ("not=x", 1, "a field is expected"),
        ("name=a and or=b", 12, "a field is expected"),
        ("(" * 60 + "name=a" + ")" * 60, 52, "too deep"),
    ],
)
def test_a_mistake_is_told_with_its_column(text: str, column: int, says: str) -> None:
    """A refusal names the column, what is wrong there, and the nearest field."""
    with pytest.raises(errors.UsageError) as caught:
        filters.parse(text)
    assert caught.value.message.startswith(f"filter, column {column}: ")
    assert says in caught.value.message
    assert caught.value.hint


def test_a_size_that_is_not_known_is_no_answer() -> None:
    """A test of an unknown size names the instance instead of leaving it out or taking it; `and` may spare the test."""
    unknown = replace(SUBJECT, size=None)
    with pytest.raises(errors.NotFoundError, match="web-01"):
        filters.parse("not size>1G").matches(unknown)
    assert not filters.parse("name=x and size>1G").matches(unknown)


def test_a_filter_says_which_fields_it_looks_at() -> None:
    """Whoever gathers the facts learns from it whether sizes are needed."""
    assert filters.parse("tag:env=a and not (size>1G or name=b)").fields == {"tag", "size", "name"}


Test = tuple[str, Callable[[Subject], bool]]


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
tests: st.SearchStrategy[Test] = st.one_of(
    st.builds(lambda v: (f"name={quoted(v)}", lambda s: s.instance.name == v), texts),
    st.builds(lambda v: (f"name != {quoted(v)}", lambda s: s.instance.name != v), texts),
    st.builds(lambda v: (f"tag:k={quoted(v)}", lambda s: s.instance.tags.get("k") == v), texts),
    st.just(("tag:k", lambda s: "k" in s.instance.tags)),
    st.builds(lambda n: (f"size>{n}", lambda s: (s.size or 0) > n), st.integers(0, 9)),
)
expressions: st.SearchStrategy[Test] = st.recursive(
    tests,
    lambda inner: st.one_of(
        st.builds(lambda a, b: (f"({a[0]}) and ({b[0]})", lambda s: a[1](s) and b[1](s)), inner, inner),
        st.builds(lambda a, b: (f"{a[0]} or ({b[0]})", lambda s: a[1](s) or b[1](s)), inner, inner),
        st.builds(lambda a: (f"not ({a[0]})", lambda s: not a[1](s)), inner),
    ),
    max_leaves=8,
)
subjects = st.builds(
    lambda name, tags, size: Subject(replace(WEB, name=name, tags=tags), "prod", size),
    texts,
    st.one_of(st.just({}), st.builds(lambda v: {"k": v}, texts)),
    st.integers(0, 9),
)


@given(expressions, subjects)
def test_a_filter_means_what_it_says(expression: Test, subject: Subject) -> None:
    """Whatever is joined by and, or, not and parentheses, with any text in quotes, is answered as logic answers it."""
    text, expected = expression
    assert filters.parse(text).matches(subject) == expected(subject)


@given(st.lists(st.sampled_from([*"()=!~<>*'\" ", "and", "or", "not ", "name", "tag:", "size", "5G", "é"]), max_size=9))
def test_any_text_is_read_or_refused(pieces: list[str]) -> None:
    """No text makes the reader fail in another way than by a refusal with a column inside the text or at its end."""
    text = "".join(pieces)
    try:
        filters.parse(text)
    except errors.UsageError as error:
        column = int(error.message.split()[2].rstrip(":"))
        assert 1 <= column <= len(text) + 1
