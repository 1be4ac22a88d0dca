"""Buckets, objects, versions and bodies in the database: what is stored, and how one write changes it.

Rules: a bucket's objects are rows keyed by name and version. In a bucket with versioning Disabled a write replaces the
row; Enabled keeps the old one; Suspended replaces only the row that was written while not Enabled. The newest row of
a name is `latest`; if that is a delete marker, the name looks absent. A body is shared by copies and renames and goes
when no row refers to it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.database import Row
from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.objectstorage import retention
from hypersdk_emulator.replies import Segment

RESTORE_SECONDS = 3600  # an archived object is readable within one hour of RestoreObjects (OCI documentation)


@dataclass(frozen=True)
class Bucket:
    """A bucket; `doc` holds its settings by their API names."""

    name: str
    compartment: str
    created: float
    etag: str
    doc: Mapping[str, Any]

    @property
    def versioning(self) -> str:
        """Disabled, Enabled or Suspended."""
        return str(self.doc.get("versioning", "Disabled"))

    @property
    def read_only(self) -> bool:
        """True for the destination of a replication policy."""
        return "replicatedFrom" in self.doc


@dataclass(frozen=True)
class Content:
    """What a write brings: bytes and how they are described.

    Args:
        body: Id of the body.
        size: Its bytes.
        md5: Base64 MD5, or the composite with its `-N` suffix.
        multipart: The object was made from parts.
        headers: Content headers to give back, by lower-case name.
        meta: User metadata without the `opc-meta-` prefix.
        checksums: Additional checksum headers to give back, by lower-case name.
        sse: SHA-256 of the customer's key, base64, or empty.
        kms: OCID of the key of Key Management, or empty.
        tier: Storage tier.
    """

    body: int | None
    size: int
    md5: str
    multipart: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, str] = field(default_factory=dict)
    checksums: Mapping[str, str] = field(default_factory=dict)
    sse: str = ""
    kms: str = ""
    tier: str = "Standard"

    def described(self) -> str:
        """The JSON of a row's `doc`."""
        return json.dumps(
            {
                "multipart": self.multipart,
                "headers": dict(self.headers),
                "meta": dict(self.meta),
                "checksums": dict(self.checksums),
                "sse": self.sse,
                "kms": self.kms,
            }
        )


@dataclass(frozen=True)
class StoredObject:
    """One version of an object."""

    id: int
    bucket: str
    name: str
    version: str
    marker: bool
    etag: str
    created: float
    modified: float
    content: Content
    restored: Mapping[str, float]

    def archival_state(self, now: float) -> str | None:
        """Archived, Restoring, Restored, or None for an object that is not in the archive tier."""
        if self.content.tier != "Archive":
            return None
        if not self.restored or now >= self.restored["until"]:
            return "Archived"
        return "Restored" if now >= self.restored["ready"] else "Restoring"


def new_etag(cloud: Cloud) -> str:
    """An opaque etag, as OCI's a UUID."""
    return cloud.random.uuid("etag")


@contextmanager
def change(cloud: Cloud) -> Iterator[list[str]]:
    """A transaction that collects body files nobody needs any more; they go after the commit."""
    trash: list[str] = []
    with cloud.db.transaction():
        yield trash
    cloud.bodies.discard(trash)


# ---------------------------------------------------------------- buckets


def find_bucket(cloud: Cloud, name: str) -> Bucket | None:
    """The bucket of this name."""
    row = cloud.db.one("SELECT * FROM buckets WHERE name = ?", name)
    return None if row is None else bucket_of(row)


def bucket_of(row: Row) -> Bucket:
    """A bucket from its row."""
    return Bucket(row["name"], row["compartment"], row["created"], row["etag"], json.loads(row["doc"]))


def save_bucket(cloud: Cloud, bucket: Bucket) -> Bucket:
    """Write a bucket with a new etag."""
    saved = replace(bucket, etag=new_etag(cloud))
    row = (saved.name, saved.compartment, saved.created, saved.etag, json.dumps(dict(saved.doc)))
    cloud.db.execute("INSERT OR REPLACE INTO buckets VALUES (?, ?, ?, ?, ?)", *row)
    return saved


# ---------------------------------------------------------------- bodies


def new_body(cloud: Cloud, files: Sequence[tuple[str, int]]) -> int:
    """A body made of files in order, as (file, size); empty ones are left out. Call it inside a transaction."""
    size = sum(each for _, each in files)
    body = cloud.db.execute("INSERT INTO bodies (size) VALUES (?)", size).lastrowid
    assert body is not None
    start = 0
    rows = []
    for file, each in files:
        if each:
            rows.append((body, start, each, file))
        start += each
    cloud.db.executemany("INSERT INTO segments VALUES (?, ?, ?, ?)", rows)
    return body


def segments(cloud: Cloud, body: int | None, first: int, end: int) -> list[Segment]:
    """The pieces of a body that cover bytes `first` up to `end`."""
    statement = "SELECT * FROM segments WHERE body = ? AND start < ? AND start + size > ? ORDER BY start"
    return [Segment(row["start"], row["size"], row["file"]) for row in cloud.db.all(statement, body, end, first)]


def _release_body(cloud: Cloud, body: int | None, trash: list[str]) -> None:
    if body is None or cloud.db.one("SELECT 1 FROM objects WHERE body = ?", body):
        return
    trash += [row["file"] for row in cloud.db.all("SELECT file FROM segments WHERE body = ?", body)]
    cloud.db.execute("DELETE FROM segments WHERE body = ?", body)
    cloud.db.execute("DELETE FROM bodies WHERE id = ?", body)


# ---------------------------------------------------------------- objects


def latest(cloud: Cloud, bucket: str, name: str) -> StoredObject | None:
    """The object of this name as a plain read sees it."""
    row = cloud.db.one("SELECT * FROM objects WHERE bucket = ? AND name = ? AND latest = 1", bucket, name)
    return None if row is None or row["marker"] else object_of(row)


def version(cloud: Cloud, bucket: str, name: str, version_id: str) -> StoredObject | None:
    """One version of an object, delete markers included."""
    statement = "SELECT * FROM objects WHERE bucket = ? AND name = ? AND version = ?"
    row = cloud.db.one(statement, bucket, name, version_id)
    return None if row is None else object_of(row)


def newest_version(cloud: Cloud, bucket: str, name: str) -> str | None:
    """Version id of the newest row of a name, be it a delete marker."""
    row = cloud.db.one("SELECT version FROM objects WHERE bucket = ? AND name = ? AND latest = 1", bucket, name)
    return None if row is None else str(row["version"])


def object_of(row: Row) -> StoredObject:
    """An object version from its row."""
    doc = json.loads(row["doc"])
    restored = doc.pop("restored", {})
    content = Content(row["body"], row["size"], row["md5"], tier=row["tier"], **doc)
    return StoredObject(
        row["id"],
        row["bucket"],
        row["name"],
        row["version"],
        bool(row["marker"]),
        row["etag"],
        row["created"],
        row["modified"],
        content,
        restored,
    )


def refuse_read_only(bucket: Bucket) -> None:
    """Refuse to change objects of a bucket that only replication may change.

    Raises:
        ServiceError: 403.
    """
    if bucket.read_only:
        text = f"The bucket '{bucket.name}' is read-only: it is the destination of a replication policy"
        raise ServiceError(403, "BucketIsReadonly", text)


def refuse_protected(cloud: Cloud, bucket: Bucket, found: StoredObject | None) -> None:
    """Refuse to change an object that a retention rule of its bucket protects.

    Raises:
        ServiceError: 409, or 403 by the assumption `retention-403`.
    """
    rules = bucket.doc.get("retentionRules", ())
    if found is None or found.marker or not rules:
        return
    rule = retention.protecting(rules, found.modified, cloud.clock.timestamp())
    if rule is not None:
        text = f"The object '{found.name}' is protected by the retention rule '{rule.get('displayName') or rule['id']}'"
        status = 403 if cloud.assumptions.retention_403 else 409
        raise ServiceError(status, "ObjectProtectedByRetentionRule", text)


def store(cloud: Cloud, bucket: Bucket, name: str, content: Content, trash: list[str]) -> StoredObject:
    """Make `content` the latest version of a name. Call it inside `change`.

    Raises:
        ServiceError: 403 or 409 if the bucket, or what is there, must not be changed.
    """
    refuse_read_only(bucket)
    if bucket.doc.get("retentionRules"):
        refuse_protected(cloud, bucket, latest(cloud, bucket.name, name))
    made = _add(cloud, bucket, name, content, trash, marker=False)
    if (replica := _replica(cloud, bucket)) is not None:
        _add(cloud, replica, name, replace(content, tier=default_tier(replica)), trash, marker=False, etag=made.etag)
    return made


def delete(
    cloud: Cloud, bucket: Bucket, found: StoredObject, trash: list[str], *, when: float | None = None
) -> StoredObject | None:
    """Delete what a plain DELETE deletes: the object, or with versioning by a delete marker, which is returned.

    Args:
        cloud: The cloud.
        bucket: The object's bucket.
        found: The object.
        trash: Collects the files to delete.
        when: Virtual time of a marker; None for now.

    Raises:
        ServiceError: 403 or 409 if it must not be deleted.
    """
    refuse_read_only(bucket)
    refuse_protected(cloud, bucket, found)
    if (replica := _replica(cloud, bucket)) is not None and (copy := latest(cloud, replica.name, found.name)):
        _delete(cloud, replica, copy, trash, when)
    return _delete(cloud, bucket, found, trash, when)


def _delete(
    cloud: Cloud, bucket: Bucket, found: StoredObject, trash: list[str], when: float | None
) -> StoredObject | None:
    if bucket.versioning == "Disabled":
        drop_version(cloud, found, trash)
        return None
    return _add(cloud, bucket, found.name, Content(None, 0, ""), trash, marker=True, when=when)


def _replica(cloud: Cloud, bucket: Bucket) -> Bucket | None:
    """The bucket to which a replication policy carries what happens in this one."""
    policy = bucket.doc.get("replication")
    return None if policy is None else find_bucket(cloud, policy["destinationBucketName"])


def default_tier(bucket: Bucket) -> str:
    """The tier of objects that are written without one."""
    return "Archive" if bucket.doc.get("storageTier") == "Archive" else "Standard"


def drop_version(cloud: Cloud, found: StoredObject, trash: list[str]) -> None:
    """Delete one version for good; the newest one left becomes the latest."""
    db = cloud.db
    db.execute("DELETE FROM objects WHERE id = ?", found.id)
    _release_body(cloud, found.content.body, trash)
    statement = "SELECT id FROM objects WHERE bucket = ? AND name = ? ORDER BY id DESC LIMIT 1"
    if newest := db.one(statement, found.bucket, found.name):
        db.execute("UPDATE objects SET latest = 1 WHERE id = ?", newest["id"])


def drop_lonely_marker(cloud: Cloud, found: StoredObject, trash: list[str]) -> None:
    """Delete a delete marker that has nothing left to hide, after a version was dropped."""
    rows = cloud.db.all("SELECT * FROM objects WHERE bucket = ? AND name = ? LIMIT 2", found.bucket, found.name)
    if len(rows) == 1 and rows[0]["marker"]:
        drop_version(cloud, object_of(rows[0]), trash)


def rename(cloud: Cloud, bucket: Bucket, found: StoredObject, new_name: str, trash: list[str]) -> StoredObject:
    """Give an object a new name; its bytes stay where they are."""
    moved = store(cloud, bucket, new_name, found.content, trash)
    delete(cloud, bucket, found, trash)
    return moved


def redescribe(cloud: Cloud, found: StoredObject, content: Content, restored: Mapping[str, float]) -> None:
    """Change tier, keys and restoration of one version; its bytes and its etag stay."""
    doc = {**json.loads(content.described()), "restored": dict(restored)}
    cloud.db.execute("UPDATE objects SET tier = ?, doc = ? WHERE id = ?", content.tier, json.dumps(doc), found.id)


def _add(
    cloud: Cloud,
    bucket: Bucket,
    name: str,
    content: Content,
    trash: list[str],
    *,
    marker: bool,
    when: float | None = None,
    etag: str = "",
) -> StoredObject:
    db, now = cloud.db, cloud.clock.timestamp() if when is None else when
    unversioned = bucket.versioning != "Enabled"
    replaced = []
    if unversioned:
        statement = "SELECT id, body FROM objects WHERE bucket = ? AND name = ? AND unversioned = 1"
        for old in db.all(statement, bucket.name, name):
            db.execute("DELETE FROM objects WHERE id = ?", old["id"])
            replaced.append(old["body"])
    db.execute("UPDATE objects SET latest = 0 WHERE bucket = ? AND name = ? AND latest = 1", bucket.name, name)
    version = cloud.random.uuid("version")
    row = (bucket.name, name, version, marker, unversioned, etag or new_etag(cloud), content.size, content.md5)
    added = db.execute(
        "INSERT INTO objects (bucket, name, version, latest, marker, unversioned, etag, size, md5, created, modified, "
        "tier, body, doc) VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *row,
        now,
        now,
        content.tier,
        content.body,
        content.described(),
    )
    for body in replaced:
        _release_body(cloud, body, trash)
    stored = db.one("SELECT * FROM objects WHERE id = ?", added.lastrowid)
    assert stored is not None
    return object_of(stored)
