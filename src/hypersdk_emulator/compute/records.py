"""Instances, images and jobs as rows of the database: loading and saving. No rules and no wire format."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hypersdk_emulator.compute.state import Work, WorkStatus, image_state
from hypersdk_emulator.database import Database, Row
from hypersdk_emulator.errors import not_authorized_or_not_found
from hypersdk_emulator.resources import etag
from hypersdk_emulator.timeline import Timeline


@dataclass(frozen=True)
class Instance:
    """An instance; `doc` holds what the API shows and no rule touches."""

    id: str
    compartment: str
    name: str
    created: float
    timeline: Timeline
    doc: Mapping[str, Any]
    version: int = 1
    last_image: float | None = None

    def state(self, now: float) -> str:
        """Its lifecycleState."""
        return self.timeline.at(now)

    def etag(self, now: float) -> str:
        """Changes with every write and every state."""
        return etag(self.id, self.version, self.state(now))

    def changed(self, **values: Any) -> "Instance":
        """The next version of it."""
        return replace(self, version=self.version + 1, **values)

    def save(self, db: Database) -> None:
        """Write the row."""
        db.execute(
            "INSERT OR REPLACE INTO instances VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            self.id,
            self.compartment,
            self.name,
            self.created,
            self.timeline.dump(),
            self.version,
            self.last_image,
            json.dumps(self.doc),
        )


@dataclass(frozen=True)
class Image:
    """An image. `doc["disk"]` is the file with its bytes; platform images have none, and no compartment."""

    id: str
    compartment: str | None
    name: str
    created: float
    timeline: Timeline
    doc: Mapping[str, Any]
    version: int = 1
    deleted: bool = False
    exporting: bool = False

    def state(self, now: float) -> str:
        """Its lifecycleState."""
        return image_state(self.timeline, now=now, exporting=self.exporting, deleted=self.deleted)

    def etag(self, now: float) -> str:
        """Changes with every write and every state."""
        return etag(self.id, self.version, self.state(now))

    def changed(self, **values: Any) -> "Image":
        """The next version of it."""
        return replace(self, version=self.version + 1, **values)

    def save(self, db: Database) -> None:
        """Write the row; `exporting` is not stored, it follows from the jobs."""
        db.execute(
            "INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            self.id,
            self.compartment,
            self.name,
            self.created,
            self.timeline.dump(),
            self.version,
            int(self.deleted),
            json.dumps(self.doc),
        )


@dataclass(frozen=True)
class Job:
    """A compute work request about an image or instance, its `subject`.

    `doc` holds what its work needs to be done again, its errors, logs and resources.
    """

    id: str
    operation: str
    compartment: str
    subject: str
    work: Work
    doc: Mapping[str, Any] = field(default_factory=dict)

    def save(self, db: Database) -> None:
        """Write the row."""
        work = self.work
        db.execute(
            "INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            self.id,
            self.operation,
            self.compartment,
            self.subject,
            work.accepted,
            work.started,
            work.due,
            work.finished,
            work.outcome,
            json.dumps(self.doc),
        )


def find_instance(db: Database, instance_id: str) -> Instance:
    """The instance of an id, or OCI's 404."""
    row = db.one("SELECT * FROM instances WHERE id = ?", instance_id)
    if row is None:
        raise not_authorized_or_not_found()
    return _instance(row)


def instances_in(db: Database, compartment: str) -> list[Instance]:
    """All instances of one compartment."""
    return [_instance(row) for row in db.all("SELECT * FROM instances WHERE compartment = ?", compartment)]


def every_instance(db: Database) -> list[Instance]:
    """All instances of all compartments."""
    return [_instance(row) for row in db.all("SELECT * FROM instances")]


def find_image(db: Database, image_id: str) -> Image:
    """The image of an id, deleted or not, or OCI's 404."""
    row = db.one(f"SELECT *, {_EXPORTING} AS exporting FROM images WHERE id = ?", image_id)  # noqa: S608 - constant text
    if row is None:
        raise not_authorized_or_not_found()
    return _image(row)


def images_in(db: Database, compartment: str | None) -> list[Image]:
    """The images of one compartment and the platform images (of None: of all compartments)."""
    where = "" if compartment is None else "WHERE compartment IS NULL OR compartment = ?"
    values = () if compartment is None else (compartment,)
    statement = f"SELECT *, {_EXPORTING} AS exporting FROM images {where}"  # noqa: S608 - constant text
    return [_image(row) for row in db.all(statement, *values)]


def find_job(db: Database, job_id: str) -> Job | None:
    """The job of an id."""
    row = db.one("SELECT * FROM jobs WHERE id = ?", job_id)
    return None if row is None else _job(row)


def job_about(db: Database, operation: str, subject: str) -> Job | None:
    """The newest job of an operation about an image or instance."""
    query = "SELECT * FROM jobs WHERE subject = ? AND operation = ? ORDER BY accepted DESC LIMIT 1"
    row = db.one(query, subject, operation)
    return None if row is None else _job(row)


def jobs_in(db: Database, compartment: str) -> list[Job]:
    """All jobs of one compartment."""
    return [_job(row) for row in db.all("SELECT * FROM jobs WHERE compartment = ?", compartment)]


def unfinished_jobs(db: Database) -> list[Job]:
    """Jobs whose work is still to be done."""
    return [_job(row) for row in db.all("SELECT * FROM jobs WHERE finished IS NULL ORDER BY accepted")]


_EXPORTING = (
    "EXISTS (SELECT 1 FROM jobs WHERE jobs.subject = images.id AND operation = 'ExportImage' AND finished IS NULL)"
)


def _instance(row: Row) -> Instance:
    return Instance(
        id=row["id"],
        compartment=row["compartment"],
        name=row["name"],
        created=row["created"],
        timeline=Timeline.load(row["timeline"]),
        doc=json.loads(row["doc"]),
        version=row["version"],
        last_image=row["last_image"],
    )


def _image(row: Row) -> Image:
    return Image(
        id=row["id"],
        compartment=row["compartment"],
        name=row["name"],
        created=row["created"],
        timeline=Timeline.load(row["timeline"]),
        doc=json.loads(row["doc"]),
        version=row["version"],
        deleted=bool(row["deleted"]),
        exporting=bool(row["exporting"]),
    )


def _job(row: Row) -> Job:
    outcome = WorkStatus(row["outcome"])
    work = Work(row["accepted"], row["started"], row["due"], row["finished"], outcome)
    return Job(row["id"], row["operation"], row["compartment"], row["subject"], work, json.loads(row["doc"]))
