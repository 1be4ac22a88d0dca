"""Lets the virtual clock's days act on buckets: lifecycle policies delete, archive, move and abort.

Everything that was due happens in the order of its time, and as of its time, whenever somebody looks: a jump of a year
gives what a year of days would have given. A bucket is looked through once a virtual day at most.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.database import Row
from hypersdk_emulator.objectstorage import lifecycle, multipart, retention, storage
from hypersdk_emulator.objectstorage.lifecycle import Event, Rule, Subject
from hypersdk_emulator.objectstorage.storage import Bucket

_TIERS = {"ARCHIVE": "Archive", "INFREQUENT_ACCESS": "InfrequentAccess"}


@dataclass(frozen=True)
class _Pending:
    """An event with what it is about: a row of objects or uploads."""

    event: Event
    row: Row
    subject: Subject


def plan(cloud: Cloud, bucket: Bucket) -> None:
    """Look through this bucket at the next call, because its rules have changed; never again if it has no policy."""
    if "lifecycle" in bucket.doc:
        cloud.db.execute("INSERT OR REPLACE INTO lifecycle_sweeps VALUES (?, 0)", bucket.name)
    else:
        cloud.db.execute("DELETE FROM lifecycle_sweeps WHERE bucket = ?", bucket.name)


def catch_up_all(cloud: Cloud) -> None:
    """Do what is due in all buckets."""
    for row in cloud.db.all("SELECT bucket FROM lifecycle_sweeps ORDER BY bucket"):
        catch_up(cloud, row["bucket"])


def catch_up(cloud: Cloud, name: str) -> None:
    """Do what is due in one bucket; nothing if it has no policy or is not there."""
    row = cloud.db.one("SELECT next FROM lifecycle_sweeps WHERE bucket = ?", name)
    if row is None:
        return
    now, bucket = cloud.clock.timestamp(), storage.find_bucket(cloud, name)
    if now < row["next"] or bucket is None or bucket.read_only:
        return
    policy = bucket.doc["lifecycle"]
    rules = lifecycle.read(policy["items"])
    with storage.change(cloud) as trash:
        while pending := _due(cloud, bucket, rules, policy["since"], now):
            for each in pending:
                _act(cloud, bucket, each, trash)
        following = lifecycle.midnight(now + 1)
        cloud.db.execute("INSERT OR REPLACE INTO lifecycle_sweeps VALUES (?, ?)", name, following)


def _due(cloud: Cloud, bucket: Bucket, rules: Sequence[Rule], since: float, now: float) -> list[_Pending]:
    """The next event of each subject, if it is due by now, in the order of time; others may follow from them."""
    found = []
    for row, subject in _subjects(cloud, bucket, rules):
        event = lifecycle.next_event(rules, subject, since)
        if event is not None and event.due <= now:
            found.append(_Pending(event, row, subject))
    return sorted(found, key=lambda each: each.event.due)


def _subjects(cloud: Cloud, bucket: Bucket, rules: Sequence[Rule]) -> Iterator[tuple[Row, Subject]]:
    targets, held = lifecycle.for_targets(rules), bucket.doc.get("retentionRules", ())
    if targets & {"objects", "previous-object-versions"}:
        statement = (
            "SELECT *, LEAD(created) OVER (PARTITION BY name ORDER BY id) AS replaced FROM objects "
            "WHERE bucket = ? ORDER BY name, id"
        )
        for row in cloud.db.all(statement, bucket.name):
            protected = retention.protected_until(held, row["modified"])
            if not row["latest"]:
                yield row, Subject("previous-object-versions", row["name"], row["replaced"], row["tier"], protected)
            elif not row["marker"]:
                yield row, Subject("objects", row["name"], row["modified"], row["tier"], protected)
    if "multipart-uploads" in targets:
        for row in cloud.db.all("SELECT * FROM uploads WHERE bucket = ? ORDER BY id", bucket.name):
            yield row, Subject("multipart-uploads", row["object"], row["created"])


def _act(cloud: Cloud, bucket: Bucket, pending: _Pending, trash: list[str]) -> None:
    action, row = pending.event.action, pending.row
    if action == "ABORT":
        multipart.drop(cloud, row["id"], trash)
        return
    found = storage.object_of(row)
    if action in _TIERS:
        storage.redescribe(cloud, found, replace(found.content, tier=_TIERS[action]), {})
    elif pending.subject.target == "objects":
        storage.delete(cloud, bucket, found, trash, when=pending.event.due)
    else:
        storage.drop_version(cloud, found, trash)
        storage.drop_lonely_marker(cloud, found, trash)
