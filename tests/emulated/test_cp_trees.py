"""`hyperexport cp` of many objects: trees, patterns, names, what is there already, what cannot be."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from emulator import Emulator, make_seed
from filesystems import EXFAT, mounted
from hyperexport import Hyperexport

import hypersdk.cli

SCHEMAS = Path(hypersdk.cli.__file__).parent / "schemas"
PART = 64 * 1024
PARTS = {"HYPEREXPORT_TRANSFER_PART_SIZE": str(PART), "HYPEREXPORT_TRANSFER_PARALLEL": "2"}
BODIES = {"GetObject", "PutObject", "UploadPart"}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulator for this file; each test has a bucket of its own."""
    folder = tmp_path_factory.mktemp("trees")
    emulator = Emulator(make_seed(folder / "seed", disk_size=4 << 20), folder / "state").start()
    yield emulator
    emulator.stop()


class Desk:
    """The command in a directory of its own, with a bucket of its own."""

    def __init__(self, cloud: Emulator, folder: Path, bucket: str) -> None:
        self.cloud = cloud
        self.folder = folder
        self.bucket = bucket
        self.hyper = Hyperexport(cloud, folder)

    def url(self, name: str = "") -> str:
        """The address of an object."""
        return f"oci://{self.cloud.namespace}/{self.bucket}/{name}"

    def put(self, **objects: bytes) -> None:
        """Objects by name; "__" stands for "/"."""
        for name, body in objects.items():
            self.cloud.put(self.bucket, name.replace("__", "/"), body)

    def cp(self, *arguments: str, code: int = 0, **environ: str) -> Any:
        """Run it with --json; the document, by its schema."""
        ended = self.hyper.run("cp", *arguments, "--json", environ=environ)
        assert ended.code == code, ended.err
        document = ended.json
        jsonschema.validate(document, json.loads((SCHEMAS / "copy.schema.json").read_text()))
        assert document["copy"]["exit_code"] == code
        return document["copy"]

    def bodies(self, after: int) -> list[str]:
        """The requests since then that moved a body."""
        return [each["operation"] for each in self.cloud.log(after=after) if each["operation"] in BODIES]

    def mark(self) -> int:
        """Where the log ends now."""
        return max((each["id"] for each in self.cloud.log()), default=0)

    def files(self, below: str = ".") -> dict[str, bytes]:
        """Every file below a directory, those of the harness left out."""
        root = self.folder / below
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file() and not (path.parent == self.folder and path.suffix in {".out", ".err"})
        }


@pytest.fixture
def desk(cloud: Emulator, tmp_path: Path, request: pytest.FixtureRequest) -> Desk:
    """The command, and an empty bucket."""
    bucket = request.node.name.translate(str.maketrans("[]/ ,", "-----"))[:60]
    body = {"name": bucket, "compartmentId": cloud.seed.compartment}
    assert cloud.call("POST", f"/n/{cloud.namespace}/b", body).status == 200
    return Desk(cloud, tmp_path, bucket)


def outcomes(result: Any) -> dict[str, str]:
    """Target -> how it ended."""
    return {each["target"].rpartition("/")[2]: each["outcome"] for each in result["items"]}


def test_a_tree_goes_up_and_comes_back(desk: Desk) -> None:
    """`cp -r` both ways gives the same files, large and small, empty and odd-named; a second time moves no body."""
    tree = {"a/b/deep": b"1", "a/zero": b"", "big": os.urandom(10 * PART + 1), "x\x01\x7f é": b"odd", ".dot": b"d"}
    for name, body in tree.items():
        (desk.folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (desk.folder / "tree" / name).write_bytes(body)
    up = desk.cp("-r", "tree", desk.url("in"), **PARTS)
    assert sorted(desk.cloud.names(desk.bucket)) == sorted(f"in/{name}" for name in tree)
    assert (up["counts"]["done"], up["moved"]) == (5, sum(map(len, tree.values())))
    down = desk.cp("-r", desk.url("in/"), "back", **PARTS)
    assert (down["counts"]["done"], down["moved"]) == (5, up["moved"])
    assert desk.files("back") == tree
    after = desk.mark()
    again = [desk.cp("-r", "tree", desk.url("in/"), **PARTS), desk.cp("-r", desk.url("in"), "back/", **PARTS)]
    assert [(each["counts"]["skipped"], each["moved"]) for each in again] == [(5, 0), (5, 0)]
    assert desk.bodies(after) == []


def test_one_object_both_ways(desk: Desk) -> None:
    """Into a directory under its own name, to a name under that; a second time moves no body; the old file stays."""
    body = os.urandom(5 * PART)
    (desk.folder / "disk.raw").write_bytes(body)
    (desk.folder / "out").mkdir()
    for target, name in ((desk.url(), "disk.raw"), (desk.url("in/"), "in/disk.raw"), (desk.url("other"), "other")):
        assert desk.cp("disk.raw", target, **PARTS)["items"][0]["target"] == desk.url(name)
        assert desk.cloud.get(desk.bucket, name).body == body
    for target, path in (("out", "out/disk.raw"), ("new/", "new/disk.raw"), ("new/x", "new/x")):
        assert desk.cp(desk.url("disk.raw"), target, **PARTS)["items"][0]["target"] == path
        assert (desk.folder / path).read_bytes() == body
    after = desk.mark()
    assert desk.cp("disk.raw", desk.url("other"), **PARTS)["counts"]["skipped"] == 1
    assert desk.cp(desk.url("disk.raw"), "out", **PARTS)["counts"]["skipped"] == 1
    assert desk.cp(desk.url("disk.raw"), desk.url("other"))["counts"]["skipped"] == 1
    assert desk.bodies(after) == []


def test_what_stands_there_is_not_replaced_unasked(desk: Desk) -> None:
    """C015: other bytes of equal size are refused with 6 on both sides, and replaced with --overwrite."""
    (desk.folder / "here").write_bytes(b"zero")
    desk.put(there=b"four")
    for line in (("here", desk.url("there")), (desk.url("there"), "here")):
        refused = desk.cp(*line, code=6)["items"][0]
        assert refused["outcome"] == "refused"
        assert refused["code"] in {"already-exists", "destination-exists"}
        assert "--overwrite" in refused["because"]
    assert desk.cloud.get(desk.bucket, "there").body == b"four"
    assert desk.cp(desk.url("there"), "here", "--overwrite")["counts"]["done"] == 1
    assert (desk.folder / "here").read_bytes() == b"four"


def test_a_failed_overwrite_leaves_the_old_file(desk: Desk) -> None:
    """C016: an absent source, a refusal in the middle, a wrong etag: exit 5, 4, 1, and the file is as it was."""
    (desk.folder / "good").write_bytes(b"good")
    desk.put(new=b"other")
    assert desk.hyper.run("cp", desk.url("absent"), "good", "--overwrite").code == 5
    desk.cloud.fault("GetObject", "error", status=403, code="NotAuthorized", message="no", bucketName=desk.bucket)
    denied = desk.cp(desk.url("new"), "good", "--overwrite", code=4)
    assert denied["items"][0]["code"] == "permission-denied"
    assert desk.hyper.run("cp", desk.url("new"), "good", "--overwrite", "--if-match", "wrong").code == 1
    assert (desk.folder / "good").read_bytes() == b"good"


def test_an_etag_names_the_one_object(desk: Desk) -> None:
    """--if-match: the source's, or of an upload that of what it replaces; another is exit 1, many are a slip."""
    desk.put(x=b"old")
    (desk.folder / "new").write_bytes(b"new!")
    etag = desk.cloud.get(desk.bucket, "x").headers["etag"]
    assert desk.cp(desk.url("x"), "copy", "--if-match", etag)["counts"]["done"] == 1
    assert desk.cp("new", desk.url("x"), "--if-match", etag)["counts"]["done"] == 1
    for line in (("new", desk.url("x")), (desk.url("x"), "again"), ("new", desk.url("absent"))):
        assert desk.hyper.run("cp", *line, "--if-match", etag).code == 1
    assert desk.cloud.get(desk.bucket, "x").body == b"new!"
    assert desk.hyper.run("cp", "-r", desk.url(), "all", "--if-match", etag).code == 2


def test_patterns_and_filters(desk: Desk) -> None:
    """C036: patterns in quotes, includes and excludes relative to the copy's root; a dry run's list is what happens."""
    desk.put(vm__1__disk_raw=b"1", vm__1__log=b"l", vm__2__disk_raw=b"2", keep__x=b"k", top_raw=b"t")
    names = ("-r", desk.url(), "all", "--include", "*_raw", "--include", "keep/*", "--exclude", "/vm/2/")
    foreseen = desk.cp(*names, "--dry-run")
    assert not (desk.folder / "all").exists()
    done = desk.cp(*names)
    assert [each["target"] for each in foreseen["items"]] == [each["target"] for each in done["items"]]
    assert {each["outcome"] for each in foreseen["items"]} == {"planned"}
    assert sorted(desk.files("all")) == ["keep/x", "top_raw", "vm/1/disk_raw"]
    desk.cp(desk.url("vm/*/disk_raw"), "disks")
    assert desk.files("disks") == {"1/disk_raw": b"1", "2/disk_raw": b"2"}
    desk.cp("-r", "all", desk.url("up/"), "--exclude", "keep/")
    assert [name for name in desk.cloud.names(desk.bucket) if name.startswith("up/")] == [
        "up/top_raw",
        "up/vm/1/disk_raw",
    ]


def test_nothing_selected_is_said(desk: Desk) -> None:
    """5 unless --allow-empty; an absent source is 5 either way; a bucket needs -r, and the hint says so."""
    desk.put(x=b"1")
    assert desk.cp(desk.url("no-*"), "out", code=5)["items"] == []
    assert desk.cp(desk.url("no-*"), "out", "--allow-empty")["items"] == []
    assert desk.cp("-r", desk.url(), "out", "--exclude", "*", "--allow-empty")["items"] == []
    assert not (desk.folder / "out").exists()
    assert desk.hyper.run("cp", desk.url("gone"), "out", "--allow-empty").code == 5
    slip = desk.hyper.run("cp", desk.url(), "out")
    assert (slip.code, slip.out, "add -r" in slip.err) == (2, "", True)


def test_names_that_cannot_be_are_outcomes(desk: Desk) -> None:
    """C028, C029: `a` beside `a/b`, a marker, `..`, an absolute name: each said, the rest done, nothing outside; 3."""
    for name in ("a", "a/b", "d/", "../up", "/abs", "c//d", "n\u0301", "fine"):
        desk.cloud.put(desk.bucket, name, b"" if name.endswith("/") else b"x")
    for _ in range(2):
        result = desk.cp("-r", desk.url(), "out", code=3)
        refused = {each["source"].removeprefix(desk.url()): each for each in result["items"] if each["code"]}
        assert sorted(refused) == ["../up", "/abs", "a", "c//d"]
        assert "'a/b'" in refused["a"]["because"]
        assert {each["outcome"] for each in refused.values()} == {"refused"}
    assert result["counts"] | {"refused": 4, "skipped": 4, "done": 0} == result["counts"]
    assert sorted(desk.files("out")) == ["a/b", "fine", "n\u0301"]
    assert (desk.folder / "out" / "d").is_dir()
    assert not (desk.folder / "up").exists()


def test_names_that_a_disk_takes_for_one(desk: Desk) -> None:
    """C027: on a disk that knows no case nothing of `A` and `a`, `d/x` and `D/y` is copied; both names are told."""
    desk.put(A=b"1", a=b"2", d__x=b"3", D__y=b"4", sole=b"5")
    with mounted(EXFAT, desk.folder) as disk:
        for expected in ("done", "skipped"):
            result = desk.cp("-r", desk.url(), str(disk), code=3)
            ended = {each["source"].removeprefix(desk.url()): each for each in result["items"]}
            assert {name: each["outcome"] for name, each in ended.items()} == {
                "sole": expected, "A": "refused", "a": "refused", "d/x": "refused", "D/y": "refused"
            }  # fmt: skip
            assert "'a'" in ended["A"]["because"]
            assert "'d/x'" in ended["D/y"]["because"]
        assert [path.name for path in disk.iterdir()] == ["sole"]
    assert desk.cp("-r", desk.url(), "here")["counts"]["done"] == 5


def test_long_names_are_told_apart(desk: Desk) -> None:
    """C024: names of 240 to 255 bytes that begin alike go both ways beside each other; one byte more is refused."""
    names = [f"{'n' * 240}{'x' * more}" for more in range(16)] + ["ü" * 127 + "a", "ü" * 127 + "b"]
    for name in names:
        (desk.folder / "tree" / name).parent.mkdir(exist_ok=True)
        (desk.folder / "tree" / name).write_bytes(name[-9:].encode())
    assert desk.cp("-r", "tree", desk.url())["counts"]["done"] == 18
    desk.cloud.put(desk.bucket, "y" * 256, b"x")
    result = desk.cp("-r", desk.url(), "back", code=3, **PARTS)
    assert result["counts"] | {"done": 18, "refused": 1} == result["counts"]
    assert desk.files("back") == desk.files("tree")


def test_an_outage_is_waited_for_and_shown(desk: Desk) -> None:
    """While the network is down nothing is tried and the reason is told; then the copy goes on to its end."""
    desk.put(a=b"1", b=b"2")
    desk.cloud.fault("GetObject", "outage", seconds=1.5, bucketName=desk.bucket)
    ended = desk.hyper.run("cp", "-r", desk.url(), "out")
    assert ended.code == 0, ended.err
    assert re.search(r"^waiting: network down since \d\d:\d\d \(http:.*: no connection\)$", ended.err, re.MULTILINE)
    assert desk.files("out") == {"a": b"1", "b": b"2"}


def test_local_entries_that_are_no_objects(desk: Desk) -> None:
    """C028: links, sockets, names with line breaks or invalid UTF-8 are refused one by one; the others go up."""
    tree = desk.folder / "tree"
    tree.mkdir()
    for name in ("fine", "line\nbreak", os.fsdecode(b"bad\xff")):
        (tree / name).write_bytes(b"x")
    (tree / "link").symlink_to("fine")
    os.mkfifo(tree / "pipe")
    (tree / ".hx-0123456789ab.partial").write_bytes(b"ours")
    result = desk.cp("-r", "tree", desk.url(), code=3)
    assert desk.cloud.names(desk.bucket) == ["fine"]
    assert result["counts"] | {"done": 1, "refused": 4} == result["counts"]
    everything = desk.hyper.run("cp", "-r", "tree", desk.url())
    assert everything.code == 3
    assert r"line\nbreak" in everything.out
    assert "link" in everything.out
    assert len(everything.out.splitlines()) == 6


def test_archived_objects_are_named(desk: Desk) -> None:
    """C034: each that is not restored is refused with what to do, exit 3; the restored one comes."""
    for name in ("cold", "warm"):
        desk.cloud.put(desk.bucket, name, b"x", {"storage-tier": "Archive"})
    path = f"/n/{desk.cloud.namespace}/b/{desk.bucket}/actions/restoreObjects"
    assert desk.cloud.call("POST", path, {"objectName": "warm", "hours": 24}).status in {200, 202}
    desk.cloud.control("POST", "clock", {"advanceSeconds": 5 * 3600})
    result = desk.cp("-r", desk.url(), "out", code=3)
    assert outcomes(result) == {"cold": "refused", "warm": "done"}
    cold = next(each for each in result["items"] if each["outcome"] == "refused")
    assert "restore" in cold["because"]


def test_a_listing_that_fails_copies_nothing(desk: Desk) -> None:
    """Design rule 9: a list that cannot be read to its end is the command's failure, and no half of it is copied."""
    desk.put(a=b"1", b=b"2")
    desk.cloud.fault("ListObjects", "error", status=404, code="BucketNotFound", message="gone", bucketName=desk.bucket)
    ended = desk.hyper.run("cp", "-r", desk.url(), "out")
    assert (ended.code, ended.out) == (5, "")
    assert desk.bucket in ended.err
    assert not (desk.folder / "out").exists()


def test_one_failure_ends_no_other(desk: Desk) -> None:
    """A part that is refused for good: its object failed, all others done, exit 3; its code and request id are told."""
    for number in range(6):
        desk.cloud.put(desk.bucket, str(number), b"x" * 100)
    desk.cloud.fault("GetObject", "error", status=400, code="InvalidParameter", message="no", objectName="3")
    result = desk.cp("-r", desk.url(), "out", code=3)
    assert result["counts"] | {"done": 5, "failed": 1} == result["counts"]
    failed = next(each for each in result["items"] if each["outcome"] == "failed")
    assert (failed["target"], failed["code"]) == ("out/3", "request-refused")
    assert sorted(desk.files("out")) == ["0", "1", "2", "4", "5"]
    assert desk.cp("-r", desk.url(), "out")["counts"] | {"done": 1, "skipped": 5} != {}


def test_events_are_lines(desk: Desk) -> None:
    """--jsonl: started, one outcome each, ended: each line by the schema; nothing else on stdout."""
    desk.put(a=b"1", b=b"22")
    (desk.folder / "out").mkdir()
    (desk.folder / "out" / "b").write_bytes(b"33")
    ended = desk.hyper.run("cp", "-r", desk.url(), "out", "--jsonl")
    assert ended.code == 3
    lines = [json.loads(line) for line in ended.out.splitlines()]
    schema = json.loads((SCHEMAS / "event.schema.json").read_text())
    for line in lines:
        jsonschema.validate(line, schema)
    assert [line["event"] for line in lines if line["event"] != "progress"] == [
        "started",
        "outcome",
        "outcome",
        "ended",
    ]
    assert (lines[-1]["exit_code"], lines[-1]["counts"]["refused"]) == (3, 1)


def test_events_end_however_it_ends(desk: Desk) -> None:
    """A copy that cannot begin has an `ended` line, too, with its exit code; with --json there is no document."""
    lines = desk.hyper.run("cp", desk.url("absent"), "x", "--jsonl").out.splitlines()
    ended = json.loads(lines[-1])
    jsonschema.validate(ended, json.loads((SCHEMAS / "event.schema.json").read_text()))
    assert (ended["event"], ended["exit_code"], ended["counts"]["done"]) == ("ended", 5, 0)
    assert desk.hyper.run("cp", desk.url("absent"), "x", "--json").out == ""


def test_quiet_and_verbose(desk: Desk) -> None:
    """-q leaves stderr empty but for errors; -v shows each call; the table and the summary say what happened."""
    desk.put(a=b"1")
    quiet = desk.hyper.run("cp", desk.url("a"), "x", "-q")
    assert (quiet.code, quiet.err, len(quiet.out.splitlines())) == (0, "", 2)
    again = desk.hyper.run("cp", desk.url("a"), "x", "-v")
    assert "skipped" in again.out
    assert "look at" in again.err
    assert again.err.splitlines()[-1] == "1 skipped"
    bad = desk.hyper.run("cp", desk.url("absent"), "y", "-q")
    assert (bad.code, len(bad.err.splitlines())) == (5, 1)


def test_metadata_and_content_type(desk: Desk) -> None:
    """They go with each object that is written; a local file keeps none, and the slip is said before the first byte."""
    (desk.folder / "f").write_bytes(b"x")
    desk.cp("f", desk.url("x"), "--metadata", "owner=me", "--metadata", "run=a=b", "--content-type", "text/plain")
    headers = desk.cloud.get(desk.bucket, "x").headers
    assert (headers["opc-meta-owner"], headers["opc-meta-run"], headers["content-type"]) == ("me", "a=b", "text/plain")
    for line in ((desk.url("x"), "y", "--metadata", "a=b"), ("f", desk.url("z"), "--metadata", "novalue")):
        assert desk.hyper.run("cp", *line).code == 2
    assert not (desk.folder / "y").exists()


def test_digests_on_request(desk: Desk) -> None:
    """--checksum and --verify reach the copy, and the digests its result."""
    desk.put(x=b"abc")
    item = desk.cp(desk.url("x"), "y", "--checksum", "sha256", "--checksum", "md5", "--verify", "reread")["items"][0]
    assert item["checksums"]["md5"] == "900150983cd24fb0d6963f7d28e17f72"
    assert item["checksums"]["sha256"].startswith("ba7816bf8f01cfea")
    assert "crc32c" in item["checksums"]


def test_between_local_directories(desk: Desk) -> None:
    """No cloud and no credentials are asked; every name that a file system can have is copied."""
    for name in ("a/b", "line\nbreak"):
        (desk.folder / "from" / name).parent.mkdir(parents=True, exist_ok=True)
        (desk.folder / "from" / name).write_bytes(b"x")
    after = desk.mark()
    assert desk.cp("-r", "from", "to")["counts"]["done"] == 2
    assert desk.cp("-r", "from", "to")["counts"]["skipped"] == 2
    assert sorted(desk.files("to")) == ["a/b", "line\nbreak"]
    assert desk.cloud.log(after=after) == []
    inside = desk.hyper.run("cp", "-r", "from", "from/a")
    assert (inside.code, "into itself" in inside.err) == (2, True)


@pytest.mark.parametrize("direction", ["down", "up"])
def test_an_interrupted_copy_goes_on(desk: Desk, direction: str) -> None:
    """Ctrl-C: 130, what stays is named, the same command resumes and fetches or sends no finished part again."""
    body = os.urandom(12 * PART)
    operation = "GetObject" if direction == "down" else "UploadPart"
    if direction == "down":
        desk.cloud.put(desk.bucket, "disk", body)
        line = ("cp", desk.url("disk"), "disk")
    else:
        (desk.folder / "disk").write_bytes(body)
        line = ("cp", "disk", desk.url("disk"))
    fault = desk.cloud.fault(operation, "hold-before", bucketName=desk.bucket, skip=6, times=2)
    after = desk.mark()
    running = desk.hyper.start(*line, environ=PARTS)
    wait_for(lambda: any(each["id"] == fault["id"] and each.get("holding") for each in desk.cloud.faults()))
    running.signal(signal.SIGINT)
    ended = running.wait()
    desk.cloud.remote.drop_faults()
    assert ended.code == 130, ended.err
    assert "interrupted" in ended.out
    assert "stays: " in ended.err
    assert "the same command goes on with it" in ended.err
    done = len([each for each in desk.cloud.log(after=after) if each["operation"] == operation])
    again = desk.hyper.run(*line, environ=PARTS)
    assert again.code == 0, again.err
    moved = len([each for each in desk.cloud.log(after=after) if each["operation"] == operation]) - done
    assert moved <= 12 - 6 + 2
    whole = (desk.folder / "disk").read_bytes() if direction == "down" else desk.cloud.get(desk.bucket, "disk").body
    assert whole == body


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until it is so."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
