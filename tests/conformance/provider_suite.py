"""One suite for every provider; a binding subclasses `ProviderSuite` and gives the fixture `bound`.

A new provider is done when this suite is green (style.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from hypersdk import errors
from hypersdk.exports.states import Pace, await_image, await_operation
from hypersdk.model import Image, Instance, ObjectRef
from hypersdk.providers.protocol import Provider
from hypersdk.retry import Retrier

QUICK = Pace(0.05, 0.2)


@dataclass(frozen=True)
class Bound:
    """A provider to test and what its account must hold.

    Attributes:
        provider: under test; its pages are smaller than the account's lists.
        retrier: repeats calls.
        compartment: OCID of the compartment with the instances; it has the path "main" and a child "main/sub".
        stopped: makes a new stopped instance of that name there, with one data volume.
        others: names of further instances there.
        bucket: an empty bucket that takes exports.
        names: the object names in a bucket.
    """

    provider: Provider
    retrier: Retrier
    compartment: str
    stopped: Callable[[], str]
    others: tuple[str, ...]
    bucket: ObjectRef
    names: Callable[[], list[str]]

    def instance(self) -> Instance:
        """A stopped instance that no other test uses."""
        return self.provider.instance(self.stopped())

    def image(self, name: str, token: str) -> Image:
        """An image of such an instance, AVAILABLE."""
        instance = self.instance()
        started = self.provider.create_image(
            instance, compartment_id=self.compartment, name=name, tags={}, retry_token=token
        )
        return await_image(self.provider, self.retrier, started.image.id, started.operation_id, pace=QUICK)


class ProviderSuite:
    """What every provider promises."""

    def test_compartments_are_the_root_and_all_below_with_paths(self, bound: Bound) -> None:
        """The tenancy itself is one of them, and nested ones carry the names of their parents."""
        found = {compartment.path: compartment.id for compartment in bound.provider.compartments()}
        assert bound.provider.tenancy_id in found.values()
        assert found["main"] == bound.compartment
        assert "main/sub" in found

    def test_instances_are_all_listed(self, bound: Bound) -> None:
        """A list holds every page, each instance once."""
        listed = [instance.name for instance in bound.provider.instances(bound.compartment)]
        assert len(listed) == len(set(listed))
        assert set(bound.others) <= set(listed)

    def test_a_name_is_exact(self, bound: Bound) -> None:
        """A name selects what has exactly this name; part of it, or other case, selects nothing."""
        name = bound.others[-1]
        assert [i.name for i in bound.provider.instances(bound.compartment, name=name)] == [name]
        assert list(bound.provider.instances(bound.compartment, name=name[:-1])) == []
        assert list(bound.provider.instances(bound.compartment, name=name.upper())) == []

    def test_an_instance_by_id_is_the_listed_one(self, bound: Bound) -> None:
        """Both ways to an instance tell the same facts."""
        listed = next(iter(bound.provider.instances(bound.compartment, name=bound.others[0])))
        got = bound.provider.instance(listed.id)
        assert (got.name, got.shape, got.tags, got.compartment_id) == (
            listed.name,
            listed.shape,
            listed.tags,
            bound.compartment,
        )
        assert got.region == bound.provider.region
        assert got.launch_options["firmware"]

    def test_unknown_ids_are_not_found(self, bound: Bound) -> None:
        """What is absent, or hidden from us, raises NotFoundError that names it."""
        absent = "ocid1.instance.oc1.iad.nobody"
        with pytest.raises(errors.NotFoundError, match="absent or not allowed") as caught:
            bound.provider.instance(absent)
        assert caught.value.resource == absent
        with pytest.raises(errors.NotFoundError):
            bound.provider.image("ocid1.image.oc1.iad.nobody")

    def test_power_goes_both_ways(self, bound: Bound) -> None:
        """START and STOP lead to the next state, and what the state forbids is a StateConflict."""
        instance = bound.instance()
        assert bound.provider.instance_action(instance.id, "START").lifecycle_state in {"STARTING", "RUNNING"}
        assert bound.provider.instance_action(instance.id, "SOFTSTOP").lifecycle_state in {"STOPPING", "STOPPED"}
        with pytest.raises(errors.StateConflict):
            bound.provider.instance_action(instance.id, "STOP")

    def test_volumes_are_the_boot_volume_and_the_data(self, bound: Bound) -> None:
        """The boot volume comes first; sizes are bytes."""
        boot, data = list(bound.provider.volumes(bound.instance()))
        assert (boot.boot, boot.size) == (True, 50 * 1024**3)
        assert (data.boot, data.size, data.name) == (False, 100 * 1024**3, "data")

    def test_boot_volumes_in_bulk_are_those_of_each_instance(self, bound: Bound) -> None:
        """Listed for a compartment, attachments and volumes tell of an instance what asking for it alone tells."""
        instance = bound.instance()
        place = (instance.compartment_id, instance.availability_domain)
        attached = {each.instance_id: each.volume_id for each in bound.provider.boot_attachments(*place)}
        volumes = {volume.id: volume for volume in bound.provider.boot_volumes(*place)}
        assert volumes[attached[instance.id]] == next(v for v in bound.provider.volumes(instance) if v.boot)
        assert set(attached) > {instance.id}

    def test_our_own_region_is_one_that_the_account_may_use(self, bound: Bound) -> None:
        """The regions have full names, and ours is among them."""
        assert bound.provider.region in bound.provider.regions()

    def test_an_image_is_made_listed_and_deleted(self, bound: Bound) -> None:
        """An image lives from create to delete; deleting what is gone is fine."""
        image = bound.image("made", "token-of-made")
        assert image.size == 50 * 1024**3
        assert image.id in [each.id for each in bound.provider.images(bound.compartment)]
        assert [each.id for each in bound.provider.images(bound.compartment, name="made")] == [image.id]
        bound.provider.delete_image(image.id)
        assert bound.provider.image(image.id).lifecycle_state == "DELETED"
        bound.provider.delete_image(image.id)

    def test_an_image_takes_one_from_the_quota_until_it_is_deleted(self, bound: Bound) -> None:
        """The quota counts custom images that are there; deleted ones give their place back."""
        before = bound.provider.image_quota()
        assert before is not None
        image = bound.image("counted", "token-of-counted")
        assert bound.provider.image_quota() == before - 1
        bound.provider.delete_image(image.id)
        assert bound.provider.image_quota() == before

    def test_platform_images_are_not_custom_images(self, bound: Bound) -> None:
        """The cloud's own images do not show up in a compartment's list."""
        assert [each for each in bound.provider.images(bound.compartment) if each.compartment_id is None] == []

    def test_a_repeated_create_makes_one_image(self, bound: Bound) -> None:
        """The same retry token again answers with the image that it made before."""
        instance = bound.instance()
        made = [
            bound.provider.create_image(
                instance, compartment_id=bound.compartment, name="once", tags={"a": "b"}, retry_token="same-token"
            ).image
            for _ in range(2)
        ]
        assert made[0].id == made[1].id
        assert made[0].tags == {"a": "b"}
        with pytest.raises(errors.StateConflict):
            bound.provider.create_image(
                instance, compartment_id=bound.compartment, name="twice", tags={}, retry_token="another-token"
            )

    def test_delete_takes_the_etag_for_proof(self, bound: Bound) -> None:
        """An image that is another one than we looked at stays."""
        image = bound.image("pinned", "token-of-pinned")
        with pytest.raises(errors.PreconditionFailed):
            bound.provider.delete_image(image.id, if_match="stale")
        bound.provider.delete_image(image.id, if_match=bound.provider.image(image.id).etag)

    def test_an_export_becomes_an_object(self, bound: Bound) -> None:
        """Export to a bucket ends with the operation SUCCEEDED, the image AVAILABLE and the object there."""
        image = bound.image("exported", "token-of-exported")
        target = ObjectRef("oci", bound.bucket.namespace, bound.bucket.bucket, "a b/disk.qcow2")
        started = bound.provider.export_image(image.id, target, export_format="QCOW2", retry_token="token-of-export")
        assert started.operation_id is not None
        operation = await_operation(bound.provider, bound.retrier, started.operation_id, pace=QUICK)
        assert operation is not None
        assert (operation.succeeded, operation.percent) == (True, 100.0)
        assert await_image(bound.provider, bound.retrier, image.id, pace=QUICK).id == image.id
        assert "a b/disk.qcow2" in bound.names()
        known = [each.id for each in bound.provider.operations(bound.compartment, image.id)]
        assert known[0] == started.operation_id
        assert len(known) == 2

    def test_an_export_to_nowhere_is_refused(self, bound: Bound) -> None:
        """A bucket that does not exist is a refusal that repeating cannot cure."""
        image = bound.image("nowhere", "token-of-nowhere")
        nowhere = ObjectRef("oci", bound.bucket.namespace, "absent", "x")
        with pytest.raises(errors.RequestRefused, match="bucket") as caught:
            bound.provider.export_image(image.id, nowhere, export_format="QCOW2", retry_token="token-to-nowhere")
        assert caught.value.request_id
