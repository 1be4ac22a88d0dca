"""The end of a volume: its rules, its row, its bytes. Called in the caller's transaction."""

from hypersdk_emulator.blockstorage.records import layers, use_of
from hypersdk_emulator.blockstorage.state import may_delete_volume, must_be_available, terminating
from hypersdk_emulator.cloud import Cloud
from hypersdk_emulator.resources import Resource, transition_seconds


def delete_volume(cloud: Cloud, volume: Resource, operation: str) -> Resource:
    """Begin to delete a volume; its bytes are gone at once.

    Raises:
        ServiceError: 409 in use or in transition.
    """
    now = cloud.clock.timestamp()
    must_be_available("volume", volume.id, volume.state(now))
    may_delete_volume(volume.id, use_of(cloud, volume), hydrating_too=cloud.assumptions.delete_before_hydrated)
    return end_volume(cloud, volume, operation)


def end_volume(cloud: Cloud, volume: Resource, operation: str) -> Resource:
    """The same without its rules."""
    life = terminating(cloud.clock.timestamp(), transition_seconds(cloud, operation))
    volume = volume.changed(timeline=life, parent="")
    volume.save(cloud.db)
    layers(cloud).drop(volume.id)
    return volume
