"""Volumes, boot volumes, clones, backups and groups, by Oracle's own SDK."""

import threading
import uuid
from collections.abc import Iterator

import oci
import pytest
from blocks import AD_1, AD_2, SECONDS, Blocks, refused
from emulator import Emulator, instance_id, make_seed
from oci.core import models

MIB = 1 << 20
BOOT = "ocid1.bootvolume.oc1.iad.aaaaweb"
NAMES = [f"web-{n:02d}" for n in range(1, 5)]


def two_domains(seed):
    """A change of the seed: web-03 and web-04 are in the second availability domain, web-02 runs."""
    for instance in seed["instances"][2:]:
        instance["availabilityDomain"] = AD_2


@pytest.fixture(scope="module")
def blocks(tmp_path_factory) -> Iterator[Blocks]:
    """One cloud for this file; every test makes its own volumes."""
    folder = tmp_path_factory.mktemp("cloud")
    seed = make_seed(folder / "seed", instances=NAMES, transition_seconds=SECONDS, change=two_domains)
    emulator = Emulator(seed, folder / "state").start()
    yield Blocks(emulator)
    emulator.stop()


# ---------------------------------------------------------------- volumes


def test_a_volume_lives_from_provisioning_to_terminated(blocks):
    """PROVISIONING, AVAILABLE, updated, TERMINATING, TERMINATED; its fields are those asked for."""
    made = blocks.volume(ready=False, display_name="data", freeform_tags={"a": "b"}, vpus_per_gb=20)
    assert (made.lifecycle_state, made.display_name, made.freeform_tags) == ("PROVISIONING", "data", {"a": "b"})
    assert (made.size_in_gbs, made.size_in_mbs, made.vpus_per_gb) == (50, 50 * 1024, 20)
    blocks.wait()
    volume = blocks.again(made)
    assert (volume.lifecycle_state, volume.is_hydrated, volume.volume_group_id) == ("AVAILABLE", True, None)
    renamed = models.UpdateVolumeDetails(display_name="new", freeform_tags={"c": "d"})
    updated = blocks.storage.update_volume(volume.id, renamed).data
    assert (updated.display_name, updated.freeform_tags, updated.lifecycle_state) == ("new", {"c": "d"}, "AVAILABLE")
    grown = blocks.storage.update_volume(volume.id, models.UpdateVolumeDetails(size_in_gbs=60, vpus_per_gb=10)).data
    assert (grown.lifecycle_state, grown.size_in_gbs, grown.vpus_per_gb) == ("PROVISIONING", 60, 10)
    blocks.wait()
    blocks.storage.delete_volume(volume.id)
    assert blocks.again(volume).lifecycle_state == "TERMINATING"
    blocks.wait()
    assert blocks.again(volume).lifecycle_state == "TERMINATED"
    assert refused(blocks.storage.delete_volume, volume.id)[0] == 404


def test_a_deleted_volume_leaves_no_bytes(blocks):
    """Its file goes with it; what a clone or a backup still needs goes with the last of them."""
    folder = blocks.emulator.state / "volumes"
    before = set(folder.iterdir())
    volume = blocks.volume()
    blocks.write(volume, 0, b"x")
    backup, clone = blocks.backup(volume), blocks.clone(volume)
    blocks.storage.delete_volume(volume.id)
    blocks.storage.delete_volume(clone.id)
    assert len(set(folder.iterdir()) - before) == 1
    blocks.storage.delete_volume_backup(backup.id)
    assert set(folder.iterdir()) == before


def test_what_was_deleted_a_day_ago_is_forgotten(blocks):
    """A deleted volume is listed as TERMINATED for a day; after that it is in no list, and GET is 404."""
    volume = blocks.volume(display_name="forgotten")
    blocks.storage.delete_volume(volume.id)
    blocks.wait()

    def listed():
        return blocks.storage.list_volumes(compartment_id=blocks.compartment, display_name="forgotten").data

    assert [each.lifecycle_state for each in listed()] == ["TERMINATED"]
    blocks.wait(24 * 3600)
    assert listed() == []
    assert refused(blocks.storage.get_volume, volume.id)[0] == 404


@pytest.mark.parametrize(
    ("boot", "fields", "named"),
    [
        (False, {"size_in_gbs": 49}, "sizeInGBs"),
        (False, {"size_in_gbs": 32769}, "sizeInGBs"),
        (False, {"vpus_per_gb": 15}, "vpusPerGB"),
        (False, {"vpus_per_gb": 130}, "vpusPerGB"),
        (False, {"availability_domain": "Test:NOWHERE"}, "availabilityDomain"),
        (False, {"source_details": models.VolumeSourceDetails(type="magic")}, "magic"),
        (False, {"source_details": models.VolumeSourceFromBlockVolumeReplicaDetails(id="x")}, "blockVolumeReplica"),
        (True, {}, "sourceDetails"),
    ],
)
def test_what_cannot_be_a_volume_is_refused_by_the_name_of_its_field(blocks, boot, fields, named):
    """400 for sizes, performance, domains and sources that there are not."""
    status, _, message = refused(blocks.volume, boot=boot, **fields)
    assert (status, named in message) == (400, True), message


def test_a_boot_volume_has_no_lower_cost_level(blocks):
    """0 VPUs are for block volumes only."""
    assert blocks.volume(vpus_per_gb=0).vpus_per_gb == 0
    boot = blocks.storage.get_boot_volume(f"{BOOT}01").data
    details = models.UpdateBootVolumeDetails(vpus_per_gb=0)
    assert refused(blocks.storage.update_boot_volume, boot.id, details)[0] == 400


def test_lists_filter_sort_and_page(blocks):
    """By domain, name, state and group, in pages; what is asked of another domain is empty."""
    blocks.wait()
    tag = uuid.uuid4().hex
    made = [blocks.volume(ready=False, display_name=f"{tag}-{n}") for n in range(5)]
    every = oci.pagination.list_call_get_all_results(
        blocks.storage.list_volumes, compartment_id=blocks.compartment, limit=2, sort_by="DISPLAYNAME", sort_order="ASC"
    ).data
    assert [each.id for each in every if each.display_name.startswith(tag)] == [each.id for each in made]

    def found(**query):
        return [each.id for each in blocks.storage.list_volumes(compartment_id=blocks.compartment, **query).data]

    assert found(display_name=f"{tag}-3") == [made[3].id]
    assert set(found(lifecycle_state="PROVISIONING")) == {each.id for each in made}
    assert found(availability_domain=AD_2) == []
    assert refused(blocks.storage.list_volumes)[0] == 400
    blocks.wait()


def test_a_retry_token_makes_one_volume(blocks):
    """The same token answers with the same volume; with other parameters it is refused; 409 once that is deleted."""
    details = models.CreateVolumeDetails(
        compartment_id=blocks.compartment, availability_domain=AD_1, size_in_gbs=50, display_name="once"
    )
    ids = {blocks.storage.create_volume(details, opc_retry_token="token-1").data.id for _ in range(2)}
    assert len(ids) == 1
    details.size_in_gbs = 60
    assert refused(blocks.storage.create_volume, details, opc_retry_token="token-1")[0] == 400
    blocks.wait()
    blocks.storage.delete_volume(ids.pop())
    details.size_in_gbs = 50
    status, code, _ = refused(blocks.storage.create_volume, details, opc_retry_token="token-1")
    assert (status, code) == (409, "InvalidatedRetryToken")


def test_every_write_looks_at_if_match(blocks):
    """A stale etag is 412 NoEtagMatch for update and delete, and nothing is done."""
    volume = blocks.volume()
    old = blocks.storage.get_volume(volume.id).headers["etag"]
    new = blocks.storage.update_volume(volume.id, models.UpdateVolumeDetails(display_name="x")).headers["etag"]
    for call, *more in (
        (blocks.storage.update_volume, models.UpdateVolumeDetails(display_name="y")),
        (blocks.storage.delete_volume,),
    ):
        assert refused(call, volume.id, *more, if_match=old)[:2] == (412, "NoEtagMatch")
    assert blocks.again(volume).display_name == "x"
    blocks.storage.delete_volume(volume.id, if_match=new)


def test_everything_moves_between_compartments(blocks):
    """Change...Compartment of volume, backup, group and group backup shows in their compartment at once."""
    other = blocks.emulator.seed.value["tenancyId"]
    volume = blocks.volume()
    backup, group = blocks.backup(volume), blocks.group([volume])
    details = models.CreateVolumeGroupBackupDetails(volume_group_id=group.id)
    saved = blocks.storage.create_volume_group_backup(details).data
    for resource, noun in (
        (volume, "Volume"),
        (backup, "VolumeBackup"),
        (group, "VolumeGroup"),
        (saved, "VolumeGroupBackup"),
    ):
        name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in noun)
        move = getattr(blocks.storage, f"change{name}_compartment")
        move(resource.id, getattr(models, f"Change{noun}CompartmentDetails")(compartment_id=other))
        assert blocks.again(resource).compartment_id == other


# ---------------------------------------------------------------- clones


@pytest.mark.parametrize("boot", [False, True])
def test_a_clone_does_not_see_later_writes(blocks, boot):
    """Neither side sees what the other writes after the clone, on volumes and on boot volumes."""
    source = blocks.storage.get_boot_volume(f"{BOOT}02").data if boot else blocks.volume()
    blocks.write(source, MIB, b"before")
    clone = blocks.clone(source)
    blocks.write(source, MIB, b"AFTER!")
    blocks.write(clone, 2 * MIB, b"mine")
    assert blocks.read(clone, MIB, 6) == b"before"
    assert blocks.read(source, MIB, 6) == b"AFTER!"
    assert blocks.read(source, 2 * MIB, 4) == blocks.read(blocks.clone(source), 2 * MIB, 4) != b"mine"
    assert clone.source_details.id == source.id


def test_a_clone_is_available_before_it_is_hydrated(blocks):
    """is_hydrated is false for a while after AVAILABLE, and true after that."""
    clone = blocks.clone(blocks.volume(), ready=False)
    blocks.wait(1.5 * SECONDS)
    early = blocks.again(clone)
    assert (early.lifecycle_state, early.is_hydrated) == ("AVAILABLE", False)
    assert refused(blocks.storage.delete_volume, clone.id)[0] == 409
    blocks.wait(SECONDS)
    assert blocks.again(clone).is_hydrated


def test_a_clone_grows_and_never_shrinks_nor_moves(blocks):
    """Larger is taken and reads zero behind the source; smaller and another domain are 400."""
    source = blocks.volume(size_in_gbs=60)
    blocks.write(source, (60 << 30) - 4, b"last")
    clone = blocks.clone(source, size_in_gbs=70)
    assert clone.size_in_gbs == 70
    assert blocks.read(clone, (60 << 30) - 4, 8) == b"last\0\0\0\0"
    assert refused(blocks.clone, source, size_in_gbs=59)[0] == 400
    assert refused(blocks.clone, source, availability_domain=AD_2)[0] == 400


def test_an_attached_volume_is_cloned_one_at_a_time_a_detached_one_ten(blocks):
    """409 Conflict for the second clone of an attached source until the first is hydrated; for the eleventh else."""
    source = blocks.volume()
    for _ in range(10):
        blocks.clone(source, ready=False)
    assert refused(blocks.clone, source)[:2] == (409, "Conflict")
    blocks.wait()
    attachment = blocks.attach(source)
    blocks.clone(source, ready=False)
    blocks.wait(1.5 * SECONDS)
    assert refused(blocks.clone, source)[:2] == (409, "Conflict")
    blocks.wait()
    blocks.clone(source)
    blocks.detach(attachment)


def test_no_clone_while_a_backup_runs(blocks):
    """409 Conflict for a clone, a second backup and a deletion of a volume whose backup is CREATING."""
    volume = blocks.volume()
    backup = blocks.backup(volume, ready=False)
    assert backup.lifecycle_state == "REQUEST_RECEIVED"
    blocks.wait(SECONDS / 2)
    assert blocks.again(backup).lifecycle_state == "CREATING"
    for call, *more in ((blocks.clone, volume), (blocks.backup, volume), (blocks.storage.delete_volume, volume.id)):
        assert refused(call, *more)[:2] == (409, "Conflict")
    blocks.wait()
    blocks.clone(volume)


# ---------------------------------------------------------------- backups


@pytest.mark.parametrize("boot", [False, True])
def test_full_and_incremental_backups_restore_completely(blocks, boot):
    """The first is full whatever was asked; each restores its own instant whole; sizes tell what is unique."""
    source = blocks.storage.get_boot_volume(f"{BOOT}01").data if boot else blocks.volume(size_in_gbs=100)
    volume = blocks.clone(source)
    blocks.write(volume, 0, b"one")
    first = blocks.backup(volume, "INCREMENTAL")
    blocks.write(volume, 3 * MIB, b"two")
    second = blocks.backup(volume, "INCREMENTAL")
    third = blocks.backup(volume, "FULL")
    blocks.write(volume, 0, b"end")
    assert [each.type for each in (first, second, third)] == ["FULL", "INCREMENTAL", "FULL"]
    assert [each.unique_size_in_gbs for each in (first, second, third)] == [1, 1, 1]
    assert (second.source_type, second.size_in_gbs) == ("MANUAL", volume.size_in_gbs)
    if not boot:
        assert [each.unique_size_in_mbs for each in (first, second)] == [1, 1]
    before = blocks.restore(first)
    assert (blocks.read(before, 0, 3), blocks.read(before, 3 * MIB, 3)) != (b"one", b"two")
    assert blocks.read(before, 0, 3) == b"one"
    after = blocks.restore(second, availability_domain=AD_2)
    assert (blocks.read(after, 0, 3), blocks.read(after, 3 * MIB, 3)) == (b"one", b"two")
    assert after.source_details.id == second.id


def test_a_backup_outlives_its_volume_and_its_predecessor(blocks):
    """After volume and full backup are deleted the incremental one restores all bytes."""
    volume = blocks.volume()
    blocks.write(volume, 0, b"one")
    first = blocks.backup(volume)
    blocks.write(volume, MIB, b"two")
    second = blocks.backup(volume)
    blocks.storage.delete_volume_backup(first.id)
    blocks.storage.delete_volume(volume.id)
    blocks.wait()
    assert blocks.again(first).lifecycle_state == "TERMINATED"
    assert refused(blocks.restore, first)[0] == 404
    restored = blocks.restore(second)
    assert (blocks.read(restored, 0, 3), blocks.read(restored, MIB, 3)) == (b"one", b"two")


def test_the_backup_after_a_resize_is_full(blocks):
    """Asked incremental, it is FULL once, and incremental again after that."""
    volume = blocks.volume()
    blocks.backup(volume)
    blocks.storage.update_volume(volume.id, models.UpdateVolumeDetails(size_in_gbs=60))
    blocks.wait()
    assert [blocks.backup(volume, "INCREMENTAL").type for _ in range(2)] == ["FULL", "INCREMENTAL"]
    assert refused(blocks.storage.update_volume, volume.id, models.UpdateVolumeDetails(size_in_gbs=50))[0] == 400


def test_backups_have_the_tags_of_their_volume(blocks):
    """Tags go from the volume into the backup and the volume restored from it; lists find it by volume."""
    volume = blocks.volume(freeform_tags={"team": "db"})
    backup = blocks.backup(volume)
    assert backup.freeform_tags == {"team": "db"}
    assert blocks.restore(backup).freeform_tags == {"team": "db"}
    listed = blocks.storage.list_volume_backups(compartment_id=blocks.compartment, volume_id=volume.id).data
    assert [each.id for each in listed] == [backup.id]
    renamed = models.UpdateVolumeBackupDetails(display_name="kept")
    assert blocks.storage.update_volume_backup(backup.id, renamed).data.display_name == "kept"


# ---------------------------------------------------------------- changed blocks


def delta(blocks, first, second, size=None):
    details = models.VolumeSourceFromVolumeBackupDeltaDetails(
        first_backup_id=first.id, second_backup_id=second.id, change_block_size_in_bytes=size
    )
    return blocks.volume(source_details=details)


def test_a_delta_tells_what_was_written_between_two_backups(blocks):
    """In blocks of the size asked for; the bytes there are the second backup's; backups may go meanwhile."""
    volume = blocks.volume()
    blocks.write(volume, 0, b"x" * MIB)
    first = blocks.backup(volume)
    blocks.write(volume, 5000, b"a")
    blocks.write(volume, 10 * MIB + 100, b"b" * 70_000)
    blocks.backup(volume)
    blocks.write(volume, 5000, b"c")
    last = blocks.backup(volume)
    blocks.write(volume, 20 * MIB, b"later")
    fine, coarse = delta(blocks, first, last), delta(blocks, first, last, 65536)
    blocks.storage.delete_volume_backup(first.id)
    blocks.wait()
    assert blocks.changes(fine) == [(4096, 4096), (10 * MIB, 73728)]
    assert blocks.changes(coarse) == [(0, 65536), (10 * MIB, 131072)]
    assert blocks.read(fine, 5000, 1) == b"c"
    assert fine.source_details.type == "volumeBackupDelta"


def test_boot_volumes_have_deltas_too(blocks):
    """Made of two boot volume backups; only with the boot volume's own source."""
    boot = blocks.clone(blocks.storage.get_boot_volume(f"{BOOT}01").data)
    first = blocks.backup(boot)
    blocks.write(boot, 8192, b"x")
    second = blocks.backup(boot)
    source = models.BootVolumeSourceFromBootVolumeBackupDeltaDetails(
        first_backup_id=first.id, second_backup_id=second.id
    )
    changed = blocks.volume(boot=True, source_details=source)
    assert (blocks.changes(changed), changed.source_details.type) == ([(8192, 4096)], "bootVolumeBackupDelta")
    assert refused(delta, blocks, first, second)[0] == 404


def test_deltas_keep_the_documented_rules(blocks):
    """400 for block sizes, order, a full backup between or as the second; 403 resized or another's; 404, 409."""
    volume, other = blocks.volume(), blocks.volume()
    first, second = blocks.backup(volume), blocks.backup(volume)
    foreign = blocks.backup(other)
    full, after = blocks.backup(volume, "FULL"), blocks.backup(volume)
    for size in (2048, 5000, 2 * MIB):
        assert refused(delta, blocks, first, second, size)[0] == 400
    assert refused(delta, blocks, second, first)[0] == 400
    assert refused(delta, blocks, first, full)[0] == 400
    assert refused(delta, blocks, first, after)[0] == 400
    assert refused(delta, blocks, foreign, second)[0] == 403
    assert blocks.changes(delta(blocks, full, after)) == []
    blocks.storage.update_volume(volume.id, models.UpdateVolumeDetails(size_in_gbs=60))
    blocks.wait()
    blocks.backup(volume)
    resized = blocks.backup(volume)
    assert refused(delta, blocks, after, resized)[0] == 403
    running = blocks.backup(volume, ready=False)
    assert refused(delta, blocks, resized, running)[:2] == (409, "IncorrectState")
    blocks.wait()
    blocks.storage.delete_volume_backup(first.id)
    assert refused(delta, blocks, first, second)[0] == 404


# ---------------------------------------------------------------- groups


def test_a_group_holds_its_volumes_and_leaves_them(blocks):
    """Members cannot be deleted or join another group; deleting the group frees them."""
    volumes = [blocks.volume(), blocks.volume(size_in_gbs=70)]
    group = blocks.group(volumes, display_name="set")
    assert (group.size_in_gbs, group.volume_ids, group.is_hydrated) == (120, [each.id for each in volumes], True)
    assert {blocks.again(each).volume_group_id for each in volumes} == {group.id}
    listed = blocks.storage.list_volumes(compartment_id=blocks.compartment, volume_group_id=group.id).data
    assert {each.id for each in listed} == set(group.volume_ids)
    assert refused(blocks.storage.delete_volume, volumes[0].id)[:2] == (409, "Conflict")
    assert refused(blocks.group, volumes)[:2] == (409, "Conflict")
    blocks.storage.delete_volume_group(group.id)
    blocks.wait()
    assert blocks.again(group).lifecycle_state == "TERMINATED"
    assert [(blocks.again(each).lifecycle_state, blocks.again(each).volume_group_id) for each in volumes] == [
        ("AVAILABLE", None)
    ] * 2
    blocks.storage.delete_volume(volumes[0].id)


def test_an_update_replaces_the_members(blocks):
    """UpdateVolumeGroup takes the whole list: who is left out is free, who is new belongs to it."""
    one, two, three = (blocks.volume() for _ in range(3))
    group = blocks.group([one, two])
    details = models.UpdateVolumeGroupDetails(volume_ids=[two.id, three.id], display_name="changed")
    blocks.storage.update_volume_group(group.id, details)
    blocks.wait()
    assert (blocks.again(group).volume_ids, blocks.again(group).display_name) == ([two.id, three.id], "changed")
    assert [blocks.again(each).volume_group_id for each in (one, two, three)] == [None, group.id, group.id]


def test_the_limits_of_a_group(blocks):
    """33 volumes, more than 128 TB, another domain, the same volume twice and none at all are 400."""
    many = [blocks.volume(ready=False, size_in_gbs=32768 if n < 5 else 50) for n in range(33)]
    away = blocks.volume(availability_domain=AD_2)
    for volumes in (many, many[:5], [away], [many[0], many[0]], []):
        assert refused(blocks.group, volumes)[0] == 400
    blocks.group(many[5:])


def test_a_group_clone_is_one_instant(blocks):
    """A writer that goes A then B, over and over: in no clone of the group is B ahead of A."""
    pair = [blocks.volume(), blocks.volume()]
    group = blocks.group(pair)
    end = threading.Event()

    def write():
        count = 0
        while not end.is_set():
            count += 1
            for volume in pair:
                blocks.write(volume, 0, count.to_bytes(8, "big"))

    writer = threading.Thread(target=write)
    writer.start()
    source = models.VolumeGroupSourceFromVolumeGroupDetails(volume_group_id=group.id)
    try:
        clones = [blocks.group(source) for _ in range(8)]
    finally:
        end.set()
        writer.join()
    seen = []
    for clone in clones:
        a, b = (
            int.from_bytes(blocks.read(blocks.storage.get_volume(each).data, 0, 8), "big") for each in clone.volume_ids
        )
        seen.append(a)
        assert a - b in (0, 1), (a, b)
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


def test_a_group_clone_names_the_source_of_each_volume(blocks):
    """Boot and data volumes are cloned together, each with its source's id; not hydrated until all are."""
    boot = blocks.clone(blocks.storage.get_boot_volume(f"{BOOT}01").data)
    data = blocks.volume(freeform_tags={"of": "data"})
    group = blocks.group([boot, data])
    source = models.VolumeGroupSourceFromVolumeGroupDetails(volume_group_id=group.id)
    clone = blocks.group(source, ready=False, freeform_tags={"of": "group"})
    assert (clone.lifecycle_state, clone.is_hydrated) == ("PROVISIONING", False)
    blocks.wait()
    assert blocks.again(clone).is_hydrated
    boots = blocks.storage.list_boot_volumes(compartment_id=blocks.compartment, volume_group_id=clone.id).data
    datas = blocks.storage.list_volumes(compartment_id=blocks.compartment, volume_group_id=clone.id).data
    assert [each.source_details.id for each in (*boots, *datas)] == [boot.id, data.id]
    assert datas[0].freeform_tags == {"of": "data"}
    assert refused(blocks.group, source, availability_domain=AD_2)[0] == 400


def test_a_group_backup_restores_all_volumes_of_one_instant(blocks):
    """REQUEST_RECEIVED, CREATING, COMMITTED, AVAILABLE; a backup for each volume; restored as a new group."""
    pair = [blocks.volume(), blocks.volume()]
    group = blocks.group(pair)
    for volume in pair:
        blocks.write(volume, 0, b"saved")
    details = models.CreateVolumeGroupBackupDetails(volume_group_id=group.id, type="INCREMENTAL")
    backup = blocks.storage.create_volume_group_backup(details).data
    states = []
    for _ in range(20):
        states.append(blocks.again(backup).lifecycle_state)
        blocks.wait(SECONDS / 15)
    assert list(dict.fromkeys(states)) == ["REQUEST_RECEIVED", "CREATING", "COMMITTED", "AVAILABLE"]
    for volume in pair:
        blocks.write(volume, 0, b"later")
    members = [blocks.storage.get_volume_backup(each).data for each in blocks.again(backup).volume_backup_ids]
    assert [(each.volume_id, each.type) for each in members] == [(each.id, "FULL") for each in pair]
    assert {each.volume_group_backup_id for each in members} == {backup.id}
    restored = blocks.group(models.VolumeGroupSourceFromVolumeGroupBackupDetails(volume_group_backup_id=backup.id))
    for each in restored.volume_ids:
        assert blocks.read(blocks.storage.get_volume(each).data, 0, 5) == b"saved"
    blocks.storage.delete_volume_group_backup(backup.id)
    blocks.wait()
    assert {blocks.again(each).lifecycle_state for each in members} == {"TERMINATED"}


# ---------------------------------------------------------------- the guest's I/O


def test_reads_and_writes_stay_inside_the_volume(blocks):
    """Behind the end, without numbers, of a deleted or unknown volume: refused and named."""
    volume = blocks.volume()
    size = 50 << 30
    assert blocks.send_data("PUT", volume, f"offset={size - 2}", b"abc").status == 400
    assert blocks.send_data("GET", volume, f"offset={size}&length=1").status == 400
    assert blocks.send_data("GET", volume, "offset=-1").status == 400
    assert blocks.send_data("GET", volume, "offset=0&length=99999999").status == 400
    assert blocks.send_data("PUT", volume, "offset=0", bytes(9 * MIB)).status == 413
    assert blocks.read(volume, size - 3, 3) == b"\0\0\0"
    blocks.storage.delete_volume(volume.id)
    assert blocks.send_data("GET", volume, "offset=0&length=1").status == 404
    assert blocks.emulator.send("GET", f"/_emulator/volumes/{volume.id}/data").status == 401


def test_the_guest_is_held_to_its_attachment(blocks):
    """With attachmentId: 403 for a write through a read-only one, 409 once it is detached, 400 for another volume."""
    volume, other = blocks.volume(), blocks.volume()
    attachment = blocks.attach(volume, is_read_only=True)
    query = f"offset=0&length=1&attachmentId={attachment.id}"
    assert blocks.send_data("GET", volume, query).status == 200
    assert blocks.send_data("PUT", volume, query, b"x").status == 403
    assert blocks.send_data("GET", other, query).status == 400
    blocks.detach(attachment)
    assert blocks.send_data("GET", volume, query).status == 409
    assert instance_id("web-01") == attachment.instance_id
