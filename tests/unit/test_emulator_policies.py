"""The policy language: what is a statement, what a verb gives, what holds where; every operation has its needs."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypersdk_emulator.identity.needs import NEEDS
from hypersdk_emulator.identity.permissions import FAMILIES, PERMISSIONS, VERBS, granted
from hypersdk_emulator.identity.policies import Book, Rule, Tree, Who, holds
from hypersdk_emulator.identity.statements import Combined, Compare, Place, StatementError, parse, parse_rule
from hypersdk_emulator.identity.whereabouts import WORDS
from hypersdk_emulator.routes import EVERYWHERE

ROOT = "ocid1.tenancy.oc1..root"
TREE = Tree(
    ROOT,
    {ROOT: None, "web": ROOT, "shop": "web", "cart": "shop", "ops": ROOT},
    {ROOT: "acme", "web": "Web", "shop": "Shop", "cart": "Cart", "ops": "Ops"},
)
ANNA = Who(groups=frozenset({"exporters"}), group_ids=frozenset({"ocid1.group.oc1..e"}))


def book(*texts, attached=ROOT):
    return Book(TREE, tuple(Rule(attached, parse(text)) for text in texts))


def allows(text, permission, where="cart", who=ANNA, attached=ROOT, **facts):
    named = {name.replace("_", "."): value for name, value in facts.items()}
    return book(text, attached=attached).grants(who, permission, where, named)


# ---------------------------------------------------------------- the table


def test_every_signed_operation_has_needs() -> None:
    """Each row of the route table that somebody signs stands in the table of needs: none is forgotten."""
    signed = {route.operation for route in EVERYWHERE if route.auth not in ("control", "own")}
    assert signed - NEEDS.keys() == set()


def test_needs_name_permissions_and_places_that_are() -> None:
    """A need names permissions that some verb gives, and a field or a known word."""
    for operation, needs in NEEDS.items():
        for need in needs:
            assert set(need.permissions) <= PERMISSIONS, operation
            assert need.at in WORDS or need.at.endswith("Id") or need.at == "sourceDetails.id", (operation, need.at)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_verbs_include_those_before(family: str) -> None:
    """The verbs give more and more: inspect < read < use < manage, for every resource type and aggregate."""
    levels = [granted(verb, family) for verb in VERBS]
    assert all(lower <= upper for lower, upper in itertools.pairwise(levels))


@pytest.mark.parametrize(
    ("verb", "family", "has", "lacks"),
    [
        ("use", "objects", "OBJECT_OVERWRITE", "OBJECT_CREATE"),
        ("manage", "objects", "OBJECT_CREATE", "BUCKET_READ"),
        ("inspect", "objects", "OBJECT_INSPECT", "OBJECT_READ"),
        ("manage", "buckets", "PAR_MANAGE", "OBJECT_READ"),
        ("use", "buckets", "BUCKET_UPDATE", "PAR_MANAGE"),
        ("use", "instances", "INSTANCE_CREATE_IMAGE", "INSTANCE_IMAGE_CREATE"),
        ("manage", "instance-images", "INSTANCE_IMAGE_CREATE", "INSTANCE_CREATE_IMAGE"),
        ("manage", "instance-family", "VOLUME_ATTACHMENT_CREATE", "VOLUME_CREATE"),
        ("use", "volumes", "VOLUME_WRITE", "VOLUME_CREATE"),
        ("manage", "object-family", "RETENTION_RULE_MANAGE", "VOLUME_READ"),
    ],
)
def test_verbs_give_what_the_reference_says(verb: str, family: str, has: str, lacks: str) -> None:
    """Single cells of Oracle's tables: what a verb gives on a type, and what only the next one gives."""
    assert has in granted(verb, family)
    assert lacks not in granted(verb, family)


def test_all_resources_is_everything() -> None:
    """`manage all-resources` has every permission that any statement can give."""
    assert (
        granted("manage", "all-resources")
        == PERMISSIONS
        == frozenset().union(*(granted("manage", f) for f in FAMILIES))
    )


# ---------------------------------------------------------------- the language


@pytest.mark.parametrize(
    "text",
    [
        "Allow group Exporters to use instances in compartment Web",
        "ALLOW GROUP 'Default'/'Exporters' TO USE INSTANCES IN TENANCY",
        "allow group Default/Exporters to use instances in compartment Web:Shop",
        "allow group Others, Exporters to use instances in compartment id cart",
        "allow group id ocid1.group.oc1..e to manage all-resources in tenancy",
        "allow group Others, group Exporters to use instance-family in tenancy",
        "allow any-user to {INSTANCE_CREATE_IMAGE, INSTANCE_READ} in tenancy",
        "allow group Exporters to use instances in tenancy where request.operation = 'createimage'",
        "allow group Exporters to use instances in tenancy where request.operation = /Create*/",
        "allow group Exporters to use instances in tenancy where all {request.operation != 'x', request.region='i'}",
    ],
)
def test_statements_that_give_the_right(text: str) -> None:
    """Forms of one right: names in any case, with domain, by id, in lists; permissions in braces; conditions."""
    facts = {"request.operation": "CreateImage", "request.region": "i"}
    assert book(text).grants(ANNA, "INSTANCE_CREATE_IMAGE", "cart", facts)


@pytest.mark.parametrize(
    "text",
    [
        "Allow group Others to use instances in tenancy",
        "Allow group Exporters to read instances in tenancy",
        "Allow group Exporters to manage instance-images in tenancy",
        "Allow group Exporters to use instances in compartment Ops",
        "Allow group Exporters to use instances in compartment Shop",
        "Allow dynamic-group Exporters to use instances in tenancy",
        "Allow service Exporters to use instances in tenancy",
        "Allow group Exporters to use instances in tenancy where request.operation != 'CreateImage'",
        "Allow group Exporters to use instances in tenancy where target.bucket.name != 'x'",
        "Allow group Exporters to use instances in tenancy where request.permission = 'INSTANCE_READ'",
    ],
)
def test_statements_that_do_not_give_it(text: str) -> None:
    """Another group, verb, type, place or kind of subject; a condition that fails, or asks what the call has not."""
    assert not book(text).grants(ANNA, "INSTANCE_CREATE_IMAGE", "cart", {"request.operation": "CreateImage"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "column 1: expected allow, found the end"),
        ("Deny group A to use instances in tenancy", "column 1: expected allow, found 'Deny'"),
        ("Allow users A to use instances in tenancy", "expected any-user or group or dynamic-group or service"),
        ("Allow group A use instances in tenancy", "column 15: expected to, found 'use'"),
        ("Allow group A to write objects in tenancy", "column 18: expected inspect, read, use, manage or permissions"),
        ("Allow group A to use cars in tenancy", "column 22: expected a resource type (all-resources, "),
        ("Allow group A to {OBJECT_FLY} in tenancy", "column 19: expected a permission such as OBJECT_READ"),
        ("Allow group A to use objects in bucket b", "column 33: expected tenancy or compartment, found 'bucket'"),
        ("Allow group A to use objects in tenancy if", "column 41: expected where or the end, found 'if'"),
        ("Allow group A to use objects in tenancy where x = 'y'", "column 47: expected a variable (request.operation"),
        ("Allow group A to use objects in tenancy where request.region > 'y'", "column 62: '>' belongs to no"),
        ("Allow group A to use objects in tenancy where request.region = y", "expected a text in quotes or a pattern"),
        ("Allow group A to use objects in tenancy where all {request.region='y'", "expected '}', found the end"),
        ("Allow group A to use objects in tenancy where request.region = /a*b/", "expected a pattern with a star"),
        ("Allow group 'A to use objects in tenancy", 'column 13: "\'" belongs to no statement'),
    ],
)
def test_bad_statements_name_place_and_expectation(text: str, message: str) -> None:
    """What is no statement is refused with the column and what was expected there."""
    with pytest.raises(StatementError) as refused:
        parse(text)
    assert message in str(refused.value)


WORDS_OF_STATEMENTS = [*"{},=:/", "allow", "group", "a", "to", "use", "objects", "in", "tenancy", "where", "all", "'x'"]


@given(st.text(max_size=120) | st.lists(st.sampled_from(WORDS_OF_STATEMENTS)).map(" ".join))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """Whatever is said is a statement or a StatementError with a column: nothing else ever comes out."""
    refused = ""
    try:
        parse(text)
    except StatementError as error:
        refused = str(error)
    assert not refused or refused.startswith("column ")


NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,12}", fullmatch=True).filter(lambda name: name.lower() != "id")


@given(
    names=st.lists(NAMES, min_size=1, max_size=3), path=st.lists(NAMES, min_size=1, max_size=3), quoted=st.booleans()
)
def test_written_statements_are_read_back(names: list[str], path: list[str], quoted: bool) -> None:
    """Names of groups and compartments come back from a statement as they went in, but for their case."""
    shown = ", ".join(f"'Default'/'{name}'" if quoted else name for name in names)
    statement = parse(f"Allow group {shown} to read buckets in compartment {':'.join(path)}")
    assert statement.subject.names == {name.lower() for name in names}
    assert statement.place == Place(tuple(name.lower() for name in path))
    assert statement.permissions == granted("read", "buckets")


# ---------------------------------------------------------------- places


@pytest.mark.parametrize(
    ("attached", "text", "wanted"),
    [
        (ROOT, "tenancy", ROOT),
        (ROOT, "compartment Web", "web"),
        (ROOT, "compartment web:SHOP:cart", "cart"),
        (ROOT, "compartment Shop", None),
        ("web", "compartment Shop", "shop"),
        ("web", "compartment Web", "web"),
        ("web", "compartment Web:Shop", "shop"),
        ("web", "compartment Ops", None),
        ("web", "tenancy", None),
        ("web", "compartment id cart", "cart"),
        ("web", "compartment id ops", None),
        (ROOT, "compartment id nowhere", None),
    ],
)
def test_places_are_found_from_the_policy(attached: str, text: str, wanted: str | None) -> None:
    """A path begins below the policy's compartment or with its name; a policy rules nothing beside or above it."""
    statement = parse(f"Allow any-user to read objects in {text}")
    assert TREE.resolve(statement.place, attached) == wanted


@given(st.sampled_from(sorted(TREE.names)), st.sampled_from(sorted(TREE.names)), st.sampled_from(sorted(TREE.names)))
def test_rights_hold_in_the_subtree_only(attached: str, place: str, where: str) -> None:
    """A statement gives its right exactly in the compartment that it names and below, if its policy rules there."""
    text = f"Allow any-user to read objects in compartment id {place}"
    expected = attached in TREE.up(place) and place in TREE.up(where)
    assert allows(text, "OBJECT_READ", where, attached=attached) == expected


@given(
    st.lists(st.sampled_from(["read", "use", "manage"]), max_size=4),
    st.sampled_from(sorted(granted("manage", "objects"))),
)
def test_statements_only_add(verbs: list[str], permission: str) -> None:
    """A book of several statements grants what any single one grants: nothing is taken away."""
    texts = [f"Allow any-user to {verb} objects in tenancy" for verb in verbs]
    assert book(*texts).grants(ANNA, permission, "cart", {}) == any(allows(text, permission) for text in texts)


def test_reach_is_for_the_caller_and_up_the_tree() -> None:
    """A right far below makes the compartments above it accessible, those beside it not."""
    here = book("Allow group Exporters to read objects in compartment Web:Shop where target.bucket.name = 'x'")
    assert [name for name in ("web", "shop", "cart", "ops") if here.reaches(ANNA, name)] == ["web", "shop", "cart"]
    assert not here.reaches(Who(), "shop")


def test_a_service_is_not_any_user() -> None:
    """`any-user` speaks of people and principals; a service needs a statement of its own."""
    service = Who(service="objectstorage-us-ashburn-1")
    assert not allows("Allow any-user to manage object-family in tenancy", "OBJECT_CREATE", who=service)
    text = "Allow service objectstorage-us-ashburn-1 to manage object-family in tenancy"
    assert allows(text, "OBJECT_CREATE", who=service)


# ---------------------------------------------------------------- conditions and rules


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("/exp*/", "Exports", True),
        ("/exp*/", "my-exports", False),
        ("/*ports/", "exports", True),
        ("/*por*/", "exports", True),
        ("/exports/", "exports", True),
        ("/*por/", "exports", False),
    ],
)
def test_patterns(pattern: str, value: str, fits: bool) -> None:
    """A star at the begin or end of a pattern stands for anything; case does not matter."""
    text = f"Allow any-user to read objects in tenancy where target.bucket.name = {pattern}"
    assert allows(text, "OBJECT_READ", target_bucket_name=value) == fits


COMPARES = st.builds(
    Compare, st.sampled_from(["request.region", "request.operation"]), st.booleans(), st.sampled_from(["a", "b"])
)
CONDITIONS = st.recursive(
    COMPARES,
    lambda parts: st.builds(Combined, st.booleans(), st.lists(parts, min_size=1, max_size=3).map(tuple)),
    max_leaves=8,
)


def written(condition: Combined | Compare) -> str:
    if isinstance(condition, Compare):
        return f"{condition.variable} {'=' if condition.equal else '!='} '{condition.value}'"
    return f"{'all' if condition.every else 'any'} {{{', '.join(written(part) for part in condition.parts)}}}"


@given(CONDITIONS)
def test_conditions_are_read_back(condition: Combined | Compare) -> None:
    """A condition of any depth comes back from its text as it was."""
    assert parse(f"Allow any-user to read objects in tenancy where {written(condition)}").condition == condition


@given(CONDITIONS)
def test_a_variable_that_is_absent_never_holds(condition: Combined | Compare) -> None:
    """A call that has none of the variables fulfils no condition, `!=` included."""
    assert not holds(condition, {})


def test_matching_rules() -> None:
    """Rules of dynamic groups match instances and resources by id, type and compartment."""
    rule = parse_rule("ANY {instance.id = 'ocid1.i', ALL {resource.type='fnfunc', resource.compartment.id = 'C'}}")
    assert holds(rule, {"instance.id": "ocid1.i"})
    assert holds(rule, {"resource.type": "fnfunc", "resource.compartment.id": "c"})
    assert not holds(rule, {"resource.type": "fnfunc", "resource.compartment.id": "d"})
    with pytest.raises(StatementError, match="expected a variable"):
        parse_rule("instance.name = 'x'")
    with pytest.raises(StatementError, match="expected the end"):
        parse_rule("instance.id = 'x' instance.id = 'y'")
