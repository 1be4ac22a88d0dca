"""The fault matrix: every effect of the emulator, met by every verb of the product, and what must come of it.

A row is a fault, a column a verb and the call of it that is hit. What must come of it stands in `fault_outcomes.py`;
what must never come of it, whatever the row, is checked here: a wrong file under its final name, a wrong object in the
bucket, a part or an upload that nobody cleaned up, something left in the tenancy that the ending did not name.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import oci

import hypersdk
from hypersdk import errors, wiring
from hypersdk.model import ObjectRef
from hypersdk.waiting import StopFlag, Waiter
from hypersdk_emulator.faultrules import EFFECTS, Operation, fits
from hypersdk_emulator.for_tests import OciEmulator

PART = 64 * 1024
BODY = b"".join(number.to_bytes(4, "big") for number in range(40_000))  # 160,000 bytes: three parts
SMALL = BODY[:1000]
NAMES = ("list/a", "list/b", "list/c")
BUCKET = "exports"
CLEARED_AFTER = 300.0
"""Virtual seconds after which a fault that was to pass is dropped, if it did not pass by itself."""
PATIENCE = 6 * 3600.0
"""Virtual seconds after which somebody presses Ctrl-C."""
REAL_SECONDS = 0.002
"""What a virtual sleep takes in truth."""


class Time:
    """A clock that only sleeping moves, for everything that the product waits for."""

    def __init__(self, cloud: OciEmulator, stop: StopFlag, *, passing: bool) -> None:
        self.now = 0.0
        self._cloud = cloud
        self._stop = stop
        self._passing = passing

    def sleep(self, seconds: float) -> bool:
        """Let virtual time pass, faster and faster for those who wait for hours."""
        self.now += seconds * max(1.0, self.now / CLEARED_AFTER) ** 4
        if self._passing and self.now > CLEARED_AFTER:
            self._passing = False
            self._cloud.drop_faults()
        if self.now > PATIENCE:
            self._stop.set()
        time.sleep(REAL_SECONDS)
        return self._stop.is_set()


class Believed(Exception):
    """The service said something wrong of an object or a list, and nothing could show it."""


@dataclass
class Bench:
    """One cell being tried: a cloud, a directory, settings, and the virtual time of the product.

    Args:
        cloud: empty.
        folder: for local files.
        passing: the fault goes away; else it lasts.
    """

    cloud: OciEmulator
    folder: Path
    passing: bool
    config: hypersdk.Config = field(init=False)
    client: Any = field(init=False)
    seen: Any = None

    def __post_init__(self) -> None:
        self.cloud.bucket(BUCKET)
        self.client = self.cloud.client(oci.object_storage.ObjectStorageClient)
        self.config = hypersdk.load_config(
            {"config_file": str(self.cloud.config_file), "endpoint": self.cloud.endpoint, "bucket": BUCKET},
            {
                "HOME": str(self.folder),
                "HYPEREXPORT_STATE": str(self.folder / "runs.sqlite"),
                "HYPEREXPORT_OCI_COMPARTMENT_OCID": self.cloud.compartment_id,
                "HYPEREXPORT_RETRY_MAX_ATTEMPTS": "3",
                "HYPEREXPORT_RETRY_MAX_TIME": "1m",
                "HYPEREXPORT_RETRY_MAX_STANDSTILL": "1m",
                "HYPEREXPORT_NETWORK_READ_TIMEOUT": "1s",
                "HYPEREXPORT_TRANSFER_PART_SIZE": "64KiB",
                "HYPEREXPORT_TRANSFER_PARALLEL": "2",
            },
        )

    def waiter(self, **given: Any) -> Waiter:
        """The product's waiter, on virtual time."""
        stop = given.pop("stop", None) or StopFlag()
        clock = Time(self.cloud, stop, passing=self.passing)
        return Waiter(stop=stop, clock=lambda: clock.now, sleep=clock.sleep, **given)

    def ref(self, name: str) -> ObjectRef:
        """An object's address."""
        return ObjectRef("oci", self.cloud.namespace, BUCKET, name)

    def put(self, name: str, data: bytes) -> None:
        """Put an object there before the fault is declared."""
        self.client.put_object(self.cloud.namespace, BUCKET, name, data)

    def stored(self) -> dict[str, bytes]:
        """Every object that is there."""
        listed = self.client.list_objects(self.cloud.namespace, BUCKET).data.objects
        return {
            each.name: self.client.get_object(self.cloud.namespace, BUCKET, each.name).data.content for each in listed
        }

    def local(self) -> list[str]:
        """Names of the files that are no partials, journals or run stores of ours."""
        ours = (".hx-", "runs.sqlite")
        return sorted(path.name for path in self.folder.iterdir() if not any(each in path.name for each in ours))


@dataclass(frozen=True)
class Verb:
    """A column: what is done, the call of it that meets the fault, and what must be so afterwards."""

    operation: str
    prepare: Callable[[Bench], None]
    run: Callable[[Bench], None]
    check: Callable[[Bench, errors.HypersdkError | None], None]


def _nothing(_bench: Bench) -> None:
    return


# ---------------------------------------------------------------- verbs of a store


def _put_three(bench: Bench) -> None:
    for name in NAMES:
        bench.put(name, SMALL)


def _list(bench: Bench) -> None:
    with wiring.Wiring(bench.config, bench.waiter()) as rooms:
        bench.seen = tuple(info.ref.name for info in rooms.oci_store.list(bench.ref("list/")))


def _head(bench: Bench) -> None:
    with wiring.Wiring(bench.config, bench.waiter()) as rooms:
        info = rooms.retrier.call("look", lambda: rooms.oci_store.head(bench.ref(NAMES[0])))
    bench.seen = info.size, info.etag


def _put(bench: Bench) -> None:
    with wiring.Wiring(bench.config, bench.waiter()) as rooms:
        rooms.retrier.call("write", lambda: rooms.oci_store.put(bench.ref("new"), SMALL))


def _one_object(bench: Bench) -> None:
    bench.put("disk", BODY)


def _download(bench: Bench) -> None:
    hypersdk.download(str(bench.ref("disk")), str(bench.folder / "disk"), bench.config)


def _one_file(bench: Bench) -> None:
    (bench.folder / "source").write_bytes(BODY)


def _upload(bench: Bench) -> None:
    hypersdk.upload(str(bench.folder / "source"), str(bench.ref("new")), bench.config)


def _list_is_whole(bench: Bench, error: errors.HypersdkError | None) -> None:
    if error is None and bench.seen != NAMES:
        assert set(bench.seen) < set(NAMES)
        raise Believed


def _facts_are_right(bench: Bench, error: errors.HypersdkError | None) -> None:
    etag = bench.client.head_object(bench.cloud.namespace, BUCKET, NAMES[0]).headers["etag"]
    if error is None and bench.seen != (len(SMALL), etag):
        raise Believed


def _file_is_whole_or_absent(bench: Bench, error: errors.HypersdkError | None) -> None:
    assert bench.local() == ([] if error else ["disk"])
    # An object that was replaced before the download began is the object; else it is the one that we put there.
    assert error or (bench.folder / "disk").read_bytes() == bench.stored()["disk"]


def _object_is_whole_or_absent(data: bytes) -> Callable[[Bench, errors.HypersdkError | None], None]:
    def check(bench: Bench, error: errors.HypersdkError | None) -> None:
        found = bench.stored()
        assert found.get("new", data) == data, "a wrong object stays in the bucket"
        assert error or found == {"new": data}, found.keys()
        _what_was_kept_is_used(bench, error, _upload)

    return check


def _what_was_kept_is_used(bench: Bench, error: errors.HypersdkError | None, again: Callable[[Bench], None]) -> None:
    """An unfinished upload stays only if the error says so, and then the same call makes an object of it."""
    if kept := bench.cloud.leftovers()["multipartUploads"]:
        notes = "".join(getattr(error, "__notes__", ()))
        assert all(str(each["id"]) in notes for each in kept), "an upload stays and nobody says so"
        again(bench)
        assert bench.stored()["new"] == BODY
        assert bench.cloud.leftovers()["multipartUploads"] == []


# ---------------------------------------------------------------- verbs of a copy


def _vouched(bench: Bench) -> None:
    """An object whose CRC32C the service knows: between two clouds an MD5 alone cannot be held against the parts."""
    bench.client.put_object(bench.cloud.namespace, BUCKET, "disk", BODY, opc_checksum_algorithm="CRC32C")


def _across(bench: Bench) -> None:
    hypersdk.copy(str(bench.ref("disk")), str(bench.ref("new")), bench.config)


def _copy_is_whole_or_absent(bench: Bench, error: errors.HypersdkError | None) -> None:
    found = bench.stored()
    assert found.get("new", found["disk"]) == found["disk"], "a wrong object stays in the bucket"
    assert ("new" in found) == (error is None)
    _what_was_kept_is_used(bench, error, _across)


TREE = {"disk": BODY, "in/a": SMALL, "in/b": SMALL}


def _tree_there(bench: Bench) -> None:
    for name, data in TREE.items():
        bench.put(name, data)


def _tree_here(bench: Bench) -> None:
    for name in TREE:
        (bench.folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (bench.folder / "tree" / name).write_bytes(SMALL)


def _copy_down(bench: Bench) -> None:
    _copy(bench, str(bench.ref("")), str(bench.folder / "out"))


def _copy_up(bench: Bench) -> None:
    _copy(bench, str(bench.folder / "tree"), str(bench.ref("up/")))


def _copy(bench: Bench, source: str, target: str) -> None:
    bench.seen = []
    for each in hypersdk.copy_tree(source, target, bench.config):
        bench.seen.append(each)
    for each in bench.seen:
        if each.error is not None:
            raise each.error


def _copies_are_whole_or_absent(bench: Bench, error: errors.HypersdkError | None) -> None:
    root = bench.folder / "out"
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    found = {name: data for name, data in found.items() if ".hx-" not in name}
    there = bench.stored()  # one that was replaced before it was copied is the object
    assert all(found[name] == there[name] for name in found), "a wrong file stands under its final name"
    _every_item_ended_once(bench, error, set(found))


def _objects_are_whole_or_absent(bench: Bench, error: errors.HypersdkError | None) -> None:
    found = {name.removeprefix("up/"): data for name, data in bench.stored().items()}
    assert set(found.values()) <= {SMALL}, "a wrong object stays in the bucket"
    assert bench.cloud.leftovers()["multipartUploads"] == []
    _every_item_ended_once(bench, error, set(found))


def _every_item_ended_once(bench: Bench, error: errors.HypersdkError | None, found: set[str]) -> None:
    """Each object has one outcome, what is done stands there, and one failure ended no other unless it had to."""
    done = {str(each.item.target).removeprefix(str(bench.ref("up/"))).removeprefix(f"{bench.folder}/out/")
            for each in bench.seen if each.kind == "done"}  # fmt: skip
    assert done <= found
    if not bench.seen and error is not None:
        return
    if error is None and len(bench.seen) < len(TREE):
        raise Believed  # the list said so
    assert len(bench.seen) == len(TREE)
    if error is None:
        assert done == set(TREE)
    elif bench.passing and not isinstance(error, errors.AuthError | errors.Stopped):
        assert len(done) == len(TREE) - 1


# ---------------------------------------------------------------- verbs of an export


def _instance(bench: Bench) -> None:
    bench.cloud.seed({"assume": {"open-upload": False}})
    bench.cloud.instance("web-01")


def _export(bench: Bench) -> None:
    hypersdk.export_instance("web-01", hypersdk.ExportOptions(output_dir=str(bench.folder)), bench.config)


def _disk_is_right_and_nothing_is_left(bench: Bench, error: errors.HypersdkError | None) -> None:
    disks = [name for name in bench.local() if name.endswith(".qcow2")]
    assert disks == ([] if error else ["web-01.qcow2"])
    if not error:
        raw = bench.folder / "web-01.qcow2"
        command = ["qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", str(raw), str(bench.cloud.small_disk)]
        assert subprocess.run(command, check=False).returncode == 0
    notes = "\n".join(getattr(error, "__notes__", ()))
    for kind, found in bench.cloud.leftovers().items():
        for each in found:
            names = [str(each[key]) for key in ("id", "object", "name", "displayName") if each.get(key)]
            assert any(name in notes for name in names), f"{kind} {each} stays and nobody says so: {notes!r}"


VERBS: Mapping[str, Verb] = {
    "list": Verb("ListObjects", _put_three, _list, _list_is_whole),
    "head": Verb("HeadObject", _put_three, _head, _facts_are_right),
    "ranged get": Verb("GetObject", _one_object, _download, _file_is_whole_or_absent),
    "put": Verb("PutObject", _nothing, _put, _object_is_whole_or_absent(SMALL)),
    "part": Verb("UploadPart", _one_file, _upload, _object_is_whole_or_absent(BODY)),
    "commit": Verb("CommitMultipartUpload", _one_file, _upload, _object_is_whole_or_absent(BODY)),
    "cp: list": Verb("ListObjects", _tree_there, _copy_down, _copies_are_whole_or_absent),
    "cp: get": Verb("GetObject", _tree_there, _copy_down, _copies_are_whole_or_absent),
    "cp: put": Verb("PutObject", _tree_here, _copy_up, _objects_are_whole_or_absent),
    "cp across: get": Verb("GetObject", _vouched, _across, _copy_is_whole_or_absent),
    "cp across: part": Verb("UploadPart", _vouched, _across, _copy_is_whole_or_absent),
    "create image": Verb("CreateImage", _instance, _export, _disk_is_right_and_nothing_is_left),
    "export": Verb("ExportImage", _instance, _export, _disk_is_right_and_nothing_is_left),
    "work request": Verb("GetWorkRequest", _instance, _export, _disk_is_right_and_nothing_is_left),
}
"""Columns, in the order of the page."""


# ---------------------------------------------------------------- rows


@dataclass(frozen=True)
class Row:
    """A row: the fault, as declared, and after how many real seconds it is dropped while somebody waits for it."""

    effect: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    released: float = 0.0

    @property
    def name(self) -> str:
        """As the page shows it."""
        shown = [str(value) for value in self.fields.values() if not isinstance(value, dict)]
        headers = [f"{name}: {value}" for name, value in self.fields.get("headers", {}).items()]
        return " ".join([self.effect, *shown, *headers])

    def hits(self, verb: Verb) -> bool:
        """True if the emulator takes this fault for the verb's call."""
        rule = EFFECTS[self.effect]
        known = Operation(method=_METHODS.get(verb.operation, "GET"), uploads=verb.operation in _UPLOADS)
        if self.effect == "reset" and self.fields and not known.has_reply_body:
            return False
        return fits(rule.kind, verb.operation, known) and (not rule.only or verb.operation in rule.only)


_METHODS = {"HeadObject": "HEAD"}
_UPLOADS = ("PutObject", "UploadPart")


def _error(status: int, code: str, **headers: str) -> Row:
    return Row("error", {"status": status, "code": code, **({"headers": headers} if headers else {})})


ROWS = (
    _error(400, "InvalidParameter"),
    _error(401, "NotAuthenticated"),
    _error(404, "NotAuthorizedOrNotFound"),
    _error(409, "IncorrectState"),
    _error(409, "ConcurrentObjectUpdate"),
    _error(409, "InvalidatedRetryToken"),
    _error(409, "ResourceLocked"),
    _error(412, "NoEtagMatch"),
    _error(429, "TooManyRequests", **{"retry-after": "1"}),
    _error(429, "TooManyRequests", connection="close"),
    _error(500, "InternalServerError"),
    _error(503, "ServiceUnavailable"),
    Row("html", {"status": 200}),
    Row("html", {"status": 407}),
    Row("html", {"status": 503}),
    Row("redirect", {"to": "http://127.0.0.1:9"}),
    Row("not-modified"),
    Row("reset"),
    Row("reset", {"afterBytes": 10}),
    Row("lost-response"),
    Row("outage", {"seconds": 0.3}),
    Row("delay", {"seconds": 0.02}),
    Row("hold", released=0.3),
    Row("hold-before"),
    Row("drip", {"bytesPerSecond": 500_000}),
    Row("stall", {"afterBytes": 10}),
    Row("cut-body", {"afterBytes": 10}),
    Row("truncated", {"afterBytes": 10}),
    Row("short-body", {"afterBytes": 10}),
    Row("flip-byte", {"at": 10}),
    Row("gzip"),
    Row("wrong-length", {"by": 7}),
    Row("wrong-length", {"by": -7}),
    Row("no-length"),
    Row("whole-body"),
    Row("shifted-range"),
    Row("short-range"),
    Row("other-total"),
    Row("no-content-range"),
    Row("stale-etag"),
    Row("object-replaced"),
    Row("early-refusal"),
    Row("cut-request", {"afterBytes": 10}),
    Row("stall-request", {"afterBytes": 10}, released=0.3),
    Row("drip-request", {"bytesPerSecond": 5_000_000}),
    Row("flip-request", {"at": 10}),
    Row("store-flipped", {"at": 10}),
    Row("list-lags", {"seconds": 60}),
    Row("list-drops", {"count": 1}),
    Row("empty-page"),
    Row("small-pages", {"limit": 1}),
    Row("work-request-fails"),
    Row("work-request-stuck"),
    Row("work-request-gone"),
    Row("export-without-object"),
    Row("export-all-zero"),
)


def outcome(bench: Bench, row: Row, verb: Verb, patch: Callable[[str, Any], None]) -> str:
    """Try one cell.

    Args:
        bench: where.
        row: the fault.
        verb: what meets it.
        patch: `monkeypatch.setattr`, for the product's own waiters.

    Returns:
        `ok`, `believed`, or the name of the error's class.
    """
    patch("hypersdk.library.Waiter", bench.waiter)
    verb.prepare(bench)
    times: Mapping[str, Any] = {} if bench.passing else {"times": "any"}
    bench.cloud.fault(verb.operation, row.effect, **row.fields, **times)
    error: errors.HypersdkError | None = None
    release = threading.Timer(row.released, bench.cloud.release)
    if row.released:
        release.start()
    try:
        verb.run(bench)
    except errors.HypersdkError as caught:
        error = caught
    finally:
        if row.released:
            release.join()
    if bench.passing:
        consumed = [fault["consumed"] for fault in bench.cloud.faults()]
        assert consumed in ([1], []), f"the fault hit {consumed} times"
    bench.cloud.drop_faults()
    try:
        verb.check(bench, error)
    except Believed:
        return "believed"
    return "ok" if error is None else type(error).__name__
