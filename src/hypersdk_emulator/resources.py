"""What the resources of all core services share: OCIDs, etags, `if-match`, durations, and a table for plain ones.

A plain resource is one whose rules need no column of their own; its `doc` holds what the API shows.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.database import Database, Row
from hypersdk_emulator.durations import duration
from hypersdk_emulator.errors import ServiceError, not_authorized_or_not_found
from hypersdk_emulator.timeline import Timeline

OCID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
OCID_LENGTH = 60
REGION_KEYS = {"us-ashburn-1": "iad", "us-phoenix-1": "phx", "eu-frankfurt-1": "fra", "uk-london-1": "lhr"}
"""Old regions have a three-letter key in their OCIDs; new ones their whole name."""


def new_ocid(cloud: Cloud, kind: str) -> str:
    """A fresh OCID of a regional resource."""
    region = REGION_KEYS.get(cloud.settings.region, cloud.settings.region)
    return f"ocid1.{kind}.oc1.{region}.{cloud.random.text(f'ocid {kind}', OCID_ALPHABET, OCID_LENGTH)}"


def transition_seconds(cloud: Cloud, operation: str, size_in_gbs: float | None = None) -> float:
    """How long one transient state of an operation lasts, in virtual seconds; see `durations.duration`."""
    return duration(operation, size_in_gbs, timing=cloud.settings.timing, pace=cloud.options.pace)


def etag(*values: object) -> str:
    """An opaque etag that changes with any of the values."""
    return str(uuid.UUID(bytes=hashlib.sha256(repr(values).encode()).digest()[:16]))


def check_if_match(if_match: str | None, current: str) -> None:
    """OCI's 412 of the core services if the caller's `if-match` is not the current etag."""
    if if_match is not None and if_match.strip('"') not in (current, "*"):
        raise ServiceError(412, "NoEtagMatch", "The provided etag does not match the current etag of the resource")


@dataclass(frozen=True)
class Resource:
    """A plain resource of some kind.

    Args:
        id: OCID.
        kind: the OCID's second word, such as `subnet`.
        compartment: where it lives; None for Oracle's own.
        name: display name.
        created: virtual time of its making.
        timeline: its lifecycle states.
        doc: what the API shows of it and no other column holds.
        parent: the resource it belongs to, such as a subnet's VCN; empty if none.
        version: counts its writes, for etags.
    """

    id: str
    kind: str
    compartment: str | None
    name: str
    created: float
    timeline: Timeline
    doc: Mapping[str, Any] = field(default_factory=dict)
    parent: str = ""
    version: int = 1

    def state(self, now: float) -> str:
        """Its lifecycleState."""
        return self.timeline.at(now)

    def etag(self, now: float) -> str:
        """Changes with every write and every state."""
        return etag(self.id, self.version, self.state(now))

    def changed(self, **values: Any) -> "Resource":
        """The next version of it."""
        return replace(self, version=self.version + 1, **values)

    def save(self, db: Database) -> None:
        """Write the row."""
        db.execute(
            "INSERT OR REPLACE INTO resources VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            self.id,
            self.kind,
            self.compartment,
            self.name,
            self.created,
            self.timeline.dump(),
            self.parent,
            self.version,
            json.dumps(self.doc),
        )

    def remove(self, db: Database) -> None:
        """Delete the row: from now on its id is unknown."""
        db.execute("DELETE FROM resources WHERE id = ?", self.id)


def find_resource(db: Database, kind: str, resource_id: str) -> Resource:
    """The resource of a kind and an id, or OCI's 404."""
    row = db.one("SELECT * FROM resources WHERE id = ? AND kind = ?", resource_id, kind)
    if row is None:
        raise not_authorized_or_not_found()
    return _resource(row)


def resources_in(db: Database, kind: str, compartment: str) -> list[Resource]:
    """All resources of a kind in one compartment."""
    rows = db.all("SELECT * FROM resources WHERE kind = ? AND compartment = ?", kind, compartment)
    return [_resource(row) for row in rows]


def children(db: Database, kind: str, parent: str) -> list[Resource]:
    """All resources of a kind that belong to another resource."""
    return [_resource(row) for row in db.all("SELECT * FROM resources WHERE kind = ? AND parent = ?", kind, parent)]


def resources_of(db: Database, kind: str) -> list[Resource]:
    """All resources of a kind, whatever their compartment."""
    return [_resource(row) for row in db.all("SELECT * FROM resources WHERE kind = ?", kind)]


def resources_tagged(db: Database, tag: str) -> list[Resource]:
    """All resources with a free-form tag of this name."""
    path = f'$.freeformTags."{tag}"'
    return [_resource(row) for row in db.all("SELECT * FROM resources WHERE json_extract(doc, ?) IS NOT NULL", path)]


def _resource(row: Row) -> Resource:
    return Resource(
        id=row["id"],
        kind=row["kind"],
        compartment=row["compartment"],
        name=row["name"],
        created=row["created"],
        timeline=Timeline.load(row["timeline"]),
        doc=json.loads(row["doc"]),
        parent=row["parent"],
        version=row["version"],
    )
