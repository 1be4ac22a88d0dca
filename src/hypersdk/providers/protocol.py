"""What `exports` needs of a cloud that owns instances: one method = one request, which never waits or downloads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hypersdk.model import Image, Instance, ObjectRef, Operation, Secret, Volume


@dataclass(frozen=True, slots=True)
class Compartment:
    """A place in the tenancy where resources live. `path` is its name with those of its parents ("prod/web")."""

    id: str
    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Started:
    """The answer to a create: the resource and the operation that makes it (id None when the service names none)."""

    image: Image
    operation_id: str | None


@dataclass(frozen=True, slots=True)
class Attached:
    """Which boot volume an instance has."""

    instance_id: str
    volume_id: str


class Provider(Protocol):
    """One cloud account as seen with one set of credentials. Lists are lazy and hold every page."""

    @property
    def region(self) -> str:
        """Where we work."""

    @property
    def tenancy_id(self) -> str:
        """The account."""

    @property
    def writes_by_link(self) -> bool:
        """Whether this kind of signer cannot let the exporter write to a bucket and needs a pre-authenticated link."""

    def allow(self, what: str, place: str) -> str:
        """The sentence of a policy that lets this signer do something: verb and resource, in a compartment."""

    def namespace(self) -> str:
        """The tenancy's Object Storage namespace."""

    def regions(self) -> Sequence[str]:
        """Full names of the regions that the account may use."""

    def compartments(self) -> Iterator[Compartment]:
        """The root and every compartment below it that the caller can list."""

    def instances(self, compartment_id: str, *, name: str | None = None) -> Iterator[Instance]:
        """Instances of one compartment, dead ones included; `name` = exact display name."""

    def instance(self, instance_id: str) -> Instance:
        """One instance."""

    def instance_action(self, instance_id: str, action: str, *, retry_token: str | None = None) -> Instance:
        """START, STOP (power cut) or SOFTSTOP (asks the guest)."""

    def volumes(self, instance: Instance) -> Iterator[Volume]:
        """Boot volume and attached block volumes of an instance."""

    def boot_attachments(self, compartment_id: str, domain: str) -> Iterator[Attached]:
        """Which boot volumes the instances of a compartment have, in one availability domain."""

    def boot_volumes(self, compartment_id: str, domain: str) -> Iterator[Volume]:
        """Boot volumes of a compartment, in one availability domain; dead ones included."""

    def images(self, compartment_id: str, *, name: str | None = None) -> Iterator[Image]:
        """Custom images of one compartment (no platform images), deleted ones included."""

    def image_quota(self) -> int | None:
        """How many more custom images may be made in this region; None = the service does not tell."""

    def image(self, image_id: str) -> Image:
        """One image; a deleted one still answers, with state DELETED."""

    def create_image(
        self, instance: Instance, *, compartment_id: str, name: str, tags: Mapping[str, str], retry_token: str
    ) -> Started:
        """Begin to make a custom image of an instance's boot volume. A running instance goes down meanwhile."""

    def export_image(
        self, image_id: str, destination: ObjectRef | Secret, *, export_format: str, retry_token: str
    ) -> Started:
        """Begin to export an image to an object, or to a pre-authenticated link; `export_format` is OCI's word."""

    def delete_image(self, image_id: str, *, if_match: str | None = None) -> None:
        """Delete an image; absent is fine."""

    def operation(self, operation_id: str) -> Operation:
        """Progress of long-running work; NotFoundError once the service has forgotten it (12 h)."""

    def operations(self, compartment_id: str, resource_id: str) -> Iterator[Operation]:
        """Operations that touched a resource, newest first."""
