"""Lifecycle policies, retention rules and tiers on the virtual clock, without sockets; an export under retention."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from emulator import NAMESPACE, Emulator, Reply, instance_id, make_seed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inprocess import InProcess

from hypersdk_emulator.clock import iso

DAY = 86_400.0
BUCKETS = itertools.count(1)


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[InProcess]]:
    """Three equal clouds: one for most tests, each with buckets of its own, and two that are compared."""
    folder: Path = tmp_path_factory.mktemp("lifecycle")
    seed = make_seed(folder / "seed")
    made = [InProcess(folder / name, seed) for name in ("own", "jumping", "walking")]
    yield made
    for cloud in made:
        cloud.close()


@pytest.fixture
def cloud(clouds: list[InProcess]) -> InProcess:
    return clouds[0]


class Bucket:
    """A fresh bucket and the calls that these tests make on it."""

    def __init__(self, cloud: InProcess, name: str = "", **settings: Any) -> None:
        self.cloud, self.name = cloud, name or f"bucket-{next(BUCKETS)}"
        body = {"name": self.name, "compartmentId": cloud.seed.compartment, **settings}
        assert cloud.call("POST", f"/n/{NAMESPACE}/b", body).status == 200

    def call(self, method: str, rest: str = "", body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        return self.cloud.call(method, f"/n/{NAMESPACE}/b/{self.name}{rest}", body, headers)

    def good(self, method: str, rest: str = "", body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        reply = self.call(method, rest, body, headers)
        assert reply.status < 300, reply
        return reply

    def put(self, name: str, data: bytes = b"x", **headers: str) -> Reply:
        return self.good("PUT", f"/o/{name}", data, {key.replace("_", "-"): value for key, value in headers.items()})

    def policy(self, *rules: dict[str, Any]) -> Reply:
        return self.good("PUT", "/l", {"items": list(rules)})

    def names(self) -> list[str]:
        return [each["name"] for each in self.good("GET", "/o").json["objects"]]

    def tiers(self) -> dict[str, str]:
        objects = self.good("GET", "/o?fields=name,storageTier").json["objects"]
        return {each["name"]: each["storageTier"] for each in objects}

    def versions(self) -> list[tuple[Any, ...]]:
        """All versions, newest first of each name: name, delete marker, tier, times."""
        fields = ("name", "isDeleteMarker", "storageTier", "timeCreated", "timeModified")
        items = self.good("GET", f"/objectversions?fields={','.join(fields[:1] + fields[2:])}").json["items"]
        return [tuple(each[field] for field in fields) for each in items]

    def uploads(self) -> int:
        return len(self.good("GET", "/u").json)


def rule(action: str, days: int, **more: Any) -> dict[str, Any]:
    name = more.pop("name", f"{action}-{days}-{more.get('target', '')}")
    plain = {"name": name, "action": action, "timeAmount": days, "timeUnit": "DAYS", "isEnabled": True}
    return {**plain, **more}


def previous(action: str, days: int) -> dict[str, Any]:
    return rule(action, days, target="previous-object-versions")


# ---------------------------------------------------------------- policies


def test_objects_move_and_go(cloud: InProcess) -> None:
    """An object moves to Infrequent Access, then to the archive, then goes, each after its days."""
    bucket = Bucket(cloud)
    bucket.put("o")
    bucket.policy(rule("INFREQUENT_ACCESS", 10), rule("ARCHIVE", 20), rule("DELETE", 30))
    seen = []
    for days in (9, 2, 10, 10):
        cloud.advance(days * DAY)
        seen.append(bucket.tiers())
    assert seen == [{"o": "Standard"}, {"o": "InfrequentAccess"}, {"o": "Archive"}, {}]


def test_filters_and_switched_off_rules(cloud: InProcess) -> None:
    """Only names that a rule means are touched, and nothing by a rule that is off."""
    bucket = Bucket(cloud)
    for name in ("logs%2F1.txt", "logs%2Fkeep.txt", "a.tmp", "b.doc"):
        bucket.put(name)
    told = {"inclusionPrefixes": ["logs/"], "inclusionPatterns": ["*.tmp"], "exclusionPatterns": ["*keep*"]}
    bucket.policy(rule("DELETE", 1, objectNameFilter=told), rule("DELETE", 1, name="off", isEnabled=False))
    cloud.advance(2 * DAY)
    assert bucket.names() == ["b.doc", "logs/keep.txt"]


def test_days_count_from_the_last_change(cloud: InProcess) -> None:
    """An object written anew begins its days anew; a policy that is taken away does nothing more."""
    bucket = Bucket(cloud)
    bucket.put("old")
    bucket.put("new")
    bucket.policy(rule("DELETE", 5))
    cloud.advance(4 * DAY)
    bucket.put("new")
    cloud.advance(2 * DAY)
    assert bucket.names() == ["new"]
    bucket.good("DELETE", "/l")
    cloud.advance(100 * DAY)
    assert bucket.names() == ["new"]


def test_uploads_are_aborted(cloud: InProcess) -> None:
    """Uploads that nobody committed go with their parts, and then the bucket can be deleted."""
    bucket = Bucket(cloud)
    upload = bucket.good("POST", "/u", {"object": "o"}).json["uploadId"]
    bucket.good("PUT", f"/u/o?uploadId={upload}&uploadPartNum=1", b"part")
    bucket.policy(rule("ABORT", 3, target="multipart-uploads"))
    cloud.advance(2 * DAY)
    assert bucket.uploads() == 1
    assert bucket.call("DELETE").status == 409
    cloud.advance(2 * DAY)
    assert bucket.uploads() == 0
    assert bucket.call("DELETE").status == 204


def test_versions_go_after_they_were_replaced(cloud: InProcess) -> None:
    """A previous version's days count from its replacement; in the end the bucket is empty, markers included."""
    bucket = Bucket(cloud, versioning="Enabled")
    bucket.put("o")
    cloud.advance(50 * DAY)
    bucket.put("o")
    bucket.policy(previous("DELETE", 10), rule("DELETE", 30))
    cloud.advance(9 * DAY)
    assert len(bucket.versions()) == 2
    cloud.advance(2 * DAY)
    assert [row[1] for row in bucket.versions()] == [False]
    cloud.advance(20 * DAY)
    assert [row[1] for row in bucket.versions()] == [True, False]
    assert bucket.names() == []
    cloud.advance(11 * DAY)
    assert bucket.versions() == []
    assert bucket.call("DELETE").status == 204


def test_policy_conditions_and_shape(cloud: InProcess) -> None:
    """A policy has an etag that conditions go by, and is shown as it was put; a bad one changes nothing."""
    bucket = Bucket(cloud)
    made = bucket.good("PUT", "/l", {"items": [rule("DELETE", 1)]}, {"if-none-match": "*"})
    assert made.json["items"][0]["target"] == "objects"
    assert set(made.json) == {"timeCreated", "items"}
    assert bucket.call("PUT", "/l", {"items": []}, {"if-none-match": "*"}).status == 412
    assert bucket.call("PUT", "/l", {"items": []}, {"if-match": "other"}).status == 412
    assert bucket.call("DELETE", "/l", headers={"if-match": "other"}).status == 412
    assert bucket.call("PUT", "/l", {"items": [rule("SHRED", 1)]}).status == 400
    got = bucket.good("GET", "/l")
    assert (got.json, got.headers["etag"]) == (made.json, made.headers["etag"])
    assert bucket.good("GET").json["objectLifecyclePolicyEtag"] == made.headers["etag"]


def test_policy_acts_through_a_restart(tmp_path: Path) -> None:
    """What was due while the emulator was down is done when it is back."""
    first = InProcess(tmp_path / "state", make_seed(tmp_path / "seed"))
    bucket = Bucket(first, "kept")
    bucket.put("o")
    bucket.policy(rule("DELETE", 1))
    first.cloud.clock.advance(2 * DAY)
    bucket.cloud = first.restarted()
    assert bucket.names() == []
    bucket.cloud.close()


RULES = st.lists(
    st.builds(
        lambda action, days, target: rule(action, days, target=target),
        st.sampled_from(["DELETE", "ARCHIVE", "INFREQUENT_ACCESS"]),
        st.integers(1, 6),
        st.sampled_from(["objects", "previous-object-versions"]),
    ),
    max_size=4,
    unique_by=lambda each: each["name"],
)
WRITES = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=5)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RULES, WRITES, st.sampled_from(["Disabled", "Enabled", "Suspended"]), st.integers(1, 20))
def test_one_jump_is_many_days(
    clouds: list[InProcess], rules: list[dict[str, Any]], writes: list[tuple[str, bool]], versioning: str, days: int
) -> None:
    """A jump over many days leaves what the same days leave that pass one by one with somebody looking."""
    name, half = f"bucket-{next(BUCKETS)}", len(writes) // 2
    first = "Disabled" if versioning == "Disabled" else "Enabled"
    jumping, walking = (Bucket(cloud, name, versioning=first) for cloud in clouds[1:])
    for bucket in (jumping, walking):
        bucket.policy(*rules)
        for number, (key, gone) in enumerate(writes):
            if number == half:
                bucket.good("POST", "", {"versioning": versioning})
            bucket.put(key)
            if gone:
                bucket.call("DELETE", f"/o/{key}")
    jumping.cloud.advance(days * DAY)
    for _ in range(days):
        walking.cloud.advance(DAY)
        walking.names()
    assert jumping.versions() == walking.versions()


# ---------------------------------------------------------------- retention


def hold(bucket: Bucket, **details: Any) -> str:
    return str(bucket.good("POST", "/retentionRules", {"displayName": "hold", **details}).json["id"])


def one_day() -> dict[str, Any]:
    return {"duration": {"timeAmount": 1, "timeUnit": "DAYS"}}


def test_retention_stops_every_write(cloud: InProcess) -> None:
    """Overwrite, delete, rename, copy and commit of a protected object are refused until its day ends."""
    bucket = Bucket(cloud)
    upload = bucket.good("POST", "/u", {"object": "o"}).json["uploadId"]
    part = bucket.good("PUT", f"/u/o?uploadId={upload}&uploadPartNum=1", b"part").headers["etag"]
    bucket.put("o", b"keep")
    hold(bucket, **one_day())
    bucket.put("other")
    copy = {
        "sourceObjectName": "other",
        "destinationRegion": "us-ashburn-1",
        "destinationNamespace": NAMESPACE,
        "destinationBucket": bucket.name,
        "destinationObjectName": "o",
    }
    commit = {"partsToCommit": [{"partNum": 1, "etag": part}]}
    writes: list[tuple[str, str, Any]] = [
        ("PUT", "/o/o", b"new"),
        ("DELETE", "/o/o", None),
        ("POST", "/actions/renameObject", {"sourceName": "o", "newName": "free"}),
        ("POST", "/actions/copyObject", copy),
        ("POST", f"/u/o?uploadId={upload}", commit),
        ("POST", "/u", {"object": "o"}),
    ]
    for method, rest, body in writes:
        reply = bucket.call(method, rest, body)
        assert (reply.status, reply.json["code"]) == (409, "ObjectProtectedByRetentionRule"), (method, rest)
    batch = bucket.good("POST", "/actions/batchDeleteObjects", {"objects": [{"objectName": "o"}]}).json
    assert (batch["deleted"], batch["failed"][0]["errorCode"]) == ([], "ObjectProtectedByRetentionRule")
    assert cloud.object_bytes(bucket.name, "o") == b"keep"
    cloud.advance(DAY)
    bucket.good("PUT", "/o/o", b"new")
    assert cloud.object_bytes(bucket.name, "o") == b"new"


def test_lifecycle_waits_for_retention(cloud: InProcess) -> None:
    """A lifecycle rule deletes nothing that is protected; when the retention rule goes, it does at once."""
    bucket = Bucket(cloud)
    bucket.put("o")
    rule_id = hold(bucket)
    bucket.policy(rule("DELETE", 1), rule("ARCHIVE", 1))
    cloud.advance(10 * DAY)
    assert bucket.tiers() == {"o": "Archive"}
    bucket.good("DELETE", f"/retentionRules/{rule_id}")
    assert bucket.names() == []


def test_retention_rules_change_and_lock(cloud: InProcess) -> None:
    """A rule changes under its etag; once its lock is in force it may only grow, and cannot be deleted."""
    bucket = Bucket(cloud)
    when = cloud.now + 15 * DAY
    lock = {"timeRuleLocked": iso(when)}
    made = bucket.good("POST", "/retentionRules", {"displayName": "a", **one_day(), **lock})
    where = f"/retentionRules/{made.json['id']}"
    assert bucket.call("PUT", where, {"displayName": "b"}, {"if-match": "other"}).status == 412
    changed = bucket.good("PUT", where, {"displayName": "b"}, {"if-match": made.headers["etag"]})
    assert changed.json["displayName"] == "b"
    assert changed.headers["etag"] != made.headers["etag"]
    cloud.advance(16 * DAY)
    assert bucket.call("DELETE", where).status == 409
    assert bucket.call("PUT", where, {"displayName": "c"}).status == 409
    longer = {"duration": {"timeAmount": 2, "timeUnit": "YEARS"}}
    assert bucket.good("PUT", where, longer).json["duration"] == longer["duration"]
    assert bucket.call("PUT", where, one_day()).status == 409
    assert bucket.call("DELETE").status == 204


def test_too_short_notice(cloud: InProcess) -> None:
    """A lock within 14 days is refused."""
    bucket = Bucket(cloud)
    soon = {"timeRuleLocked": iso(cloud.now + 13.9 * DAY)}
    reply = bucket.call("POST", "/retentionRules", {**one_day(), **soon})
    assert (reply.status, reply.json["code"]) == (400, "InvalidRetentionRuleDetails")


def test_retention_rules_page(cloud: InProcess) -> None:
    """The list of retention rules has pages, and ends at 100 rules."""
    bucket = Bucket(cloud)
    ids = [hold(bucket) for _ in range(5)]
    found: list[str] = []
    page = ""
    while True:
        reply = bucket.good("GET", f"/retentionRules?limit=2{page}")
        found += [each["id"] for each in reply.json["items"]]
        if "opc-next-page" not in reply.headers:
            break
        page = f"&page={reply.headers['opc-next-page']}"
    assert found == sorted(ids)
    for _ in range(95):
        hold(bucket)
    assert bucket.call("POST", "/retentionRules", {"displayName": "one too many"}).status == 400


def test_export_onto_a_protected_object(start_emulator: Callable[..., Emulator]) -> None:
    """An export does not overwrite what a retention rule protects: its work request fails, the object stays."""
    emulator = start_emulator()
    emulator.put("exports", "disk.qcow2", b"keep")
    rules = f"/n/{NAMESPACE}/b/exports/retentionRules"
    assert emulator.call("POST", rules, {"displayName": "hold"}).status == 200
    body = {"compartmentId": emulator.seed.compartment, "instanceId": instance_id("web-01"), "displayName": "i"}
    image = emulator.call("POST", "/20160918/images", body).json["id"]
    finished(emulator, "", image)
    place = {"destinationType": "objectStorageTuple", "bucketName": "exports", "namespaceName": NAMESPACE}
    export = {**place, "objectName": "disk.qcow2", "exportFormat": "QCOW2"}
    begun = emulator.call("POST", f"/20160918/images/{image}/actions/export", export)
    assert begun.status == 200, begun
    work = begun.headers["opc-work-request-id"]
    assert finished(emulator, work, image) == "FAILED"
    assert emulator.get("exports", "disk.qcow2").body == b"keep"
    assert emulator.call("GET", f"/n/{NAMESPACE}/b/exports/u").json == []


def finished(emulator: Emulator, work: str, image: str) -> str:
    """Wait until an image is AVAILABLE again; returns the status of the work request."""
    while emulator.call("GET", f"/20160918/images/{image}").json["lifecycleState"] != "AVAILABLE":
        pass
    if not work:
        return ""
    while (status := emulator.call("GET", f"/20160918/workRequests/{work}").json["status"]) == "IN_PROGRESS":
        pass
    return str(status)


# ---------------------------------------------------------------- tiers


def test_restored_objects_go_back(cloud: InProcess) -> None:
    """A restored object is readable for its hours, longer if asked again, and archived again afterwards."""
    bucket = Bucket(cloud)
    bucket.put("o", storage_tier="Archive")

    def state() -> str:
        return str(bucket.good("HEAD", "/o/o").headers["archival-state"])

    restore = {"objectName": "o", "hours": 2}
    assert state() == "Archived"
    assert bucket.good("POST", "/actions/restoreObjects", restore).status == 202
    assert state() == "Restoring"
    cloud.advance(3600)
    assert state() == "Restored"
    assert bucket.good("POST", "/actions/restoreObjects", {**restore, "hours": 5}).status == 200
    cloud.advance(4.5 * 3600)
    assert state() == "Restored"
    cloud.advance(3600)
    assert state() == "Archived"
