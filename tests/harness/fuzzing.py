"""Requests that nobody sends on purpose: for every row of the route table, shaped by hypothesis after the SDK's models.

A request is planned first and filled in later: where a plan says `Known("instanceId", 3)`, the sender puts in something
that the cloud has shown under that name. So plans are the same in every run although ids are not.
"""

from __future__ import annotations

import http.client
import importlib
import inspect
import json
import re
import time
import urllib.parse
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

import oci
from emulator import NAMESPACE, Emulator, Reply
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from s3_signer import S3

from hypersdk_emulator.routing import Route

HANG_SECONDS = 5.0
CLIENTS = (
    (oci.object_storage.ObjectStorageClient, "oci.object_storage"),
    (oci.core.ComputeClient, "oci.core"),
    (oci.core.BlockstorageClient, "oci.core"),
    (oci.core.VirtualNetworkClient, "oci.core"),
    (oci.work_requests.WorkRequestClient, "oci.work_requests"),
    (oci.identity.IdentityClient, "oci.identity"),
    (oci.limits.LimitsClient, "oci.limits"),
)


@dataclass(frozen=True)
class Known:
    """Something that the cloud has shown under this name (or one like it), whichever the number falls on."""

    name: str
    number: int


@dataclass(frozen=True)
class Plan:
    """A request to be: texts, and places for what the cloud knows. Parts of the path are encoded unless bytes."""

    route: Route
    path: Mapping[str, Any]
    query: Mapping[str, Any]
    headers: Mapping[str, Any]
    body: Any


# ---------------------------------------------------------------- values

NASTY = (
    "",
    " ",
    "..",
    "../../x",
    "a/b",
    "a//b",
    "%",
    "%2e%2e",
    "\0",
    "a\nb",
    "\r\n",
    "\ud800",
    "é\u202e🜁",
    "²",
    "-1",
    "0",
    "1e999",
    "99999999999999999999",
    "null",
    "true",
    "ocid1.instance.oc1..",
    "ocid1.x.oc1.iad." + "a" * 300,
    "' OR 1=1 --",
    "a" * 1025,
    "*",
    "bytes=0-",
    "2026-13-01T00:00:00Z",
    "9999-12-31T23:59:59.999Z",
    "0001-01-01T00:00:00Z",
)
RAW = (b"%ff", b"%zz", b"..", b"%2e%2e", b"%00", b"//", b"%ed%a0%80", b"%", b"a%0ab", b"%2F")
nasty = st.sampled_from(NASTY) | st.text(max_size=30)
numbers = st.sampled_from((0, 1, 2, 5, 50, 100, 1000, -1, 2**31, 2**63, 10**30, 0.5, 1e308, float("nan"), float("inf")))
scalars = st.none() | st.booleans() | numbers | nasty
junk = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(nasty, inner, max_size=3), max_leaves=6
)
times = st.sampled_from(("2026-01-01T00:00:00Z", "2031-01-01T00:00:00.000Z"))
ranges = st.builds("bytes={}-{}".format, st.sampled_from(("", 0, 1, 5)), st.sampled_from(("", 0, 3, 100)))


def known(name: str) -> SearchStrategy[Known]:
    """Something the cloud has shown under this name."""
    return st.builds(Known, st.just(name), st.integers(0, 3) | st.integers(0, 50))


GOOD: Mapping[str, SearchStrategy[Any]] = {
    **dict.fromkeys(
        ("limit", "max-keys", "uploadPartNum", "partNumber", "number"), st.sampled_from(("1", "2", "1000"))
    ),
    **dict.fromkeys(("range", "x-amz-copy-source-range"), ranges),
    "action": st.sampled_from(("STOP", "START", "RESET", "SOFTSTOP")),
    "if-none-match": st.sampled_from(("*", Known("etag", 1))),
    "opc-multipart": st.just("true"),
    "storage-tier": st.sampled_from(("Standard", "Archive")),
    "opc-checksum-algorithm": st.sampled_from(("CRC32C", "SHA256", "SHA384")),
    "delimiter": st.just("/"),
    "fields": st.just("name,size,etag,md5,timeCreated"),
    "x-amz-copy-source": st.just("/exports/o1"),
    "destinationRegion": st.just("us-ashburn-1"),
    "cidrBlock": st.sampled_from(("10.0.0.0/16", "10.0.1.0/24")),
    "cidrBlocks": st.just(["10.0.0.0/16"]),
    "source": st.just("0.0.0.0/0"),
    "destination": st.just("0.0.0.0/0"),
    "statements": st.just(["Allow group Administrators to manage all-resources in tenancy"]),
    "matchingRule": st.just("ANY {instance.compartment.id = 'x'}"),
    "versionDate": st.none(),
    "objectName": known("object"),
    "protocol": st.sampled_from(("all", "6")),
    "direction": st.sampled_from(("INGRESS", "EGRESS")),
    "type": st.sampled_from(("paravirtualized", "iscsi", "FULL")),
    "name": st.sampled_from(("fuzz-a", "fuzz-b", "fuzz-c")),
    "freeformTags": st.just({"a": "b"}),
    "definedTags": st.just({}),
}


MEANT = (
    ("etag", "etag"),
    ("match", "etag"),
    ("namespace", "namespace"),
    ("objectname", "object"),
    ("sourcename", "object"),
    ("newname", "object"),
    ("prefix", "object"),
    ("start", "object"),
    ("bucket", "bucket"),
    ("compartment", "compartment"),
)
"""What a name with such a part in it is about."""
WANTED = frozenset(
    {
        "availabilityDomain",
        "compartmentId",
        "instanceId",
        "sourceDetails",
        "shape",
        "shapeConfig",
        "ocpus",
        "memoryInGBs",
    }
)
"""Fields that a service asks for in more cases than the SDK's models say."""


@cache
def text_of(name: str) -> SearchStrategy[Any]:
    """A text that could be meant for a field or parameter of this name."""
    low = name.lower()
    if name in GOOD:
        return GOOD[name]
    if low.startswith("time") or low.endswith("date"):
        return times
    if low.startswith("is") or low.endswith("insubtree"):
        return st.sampled_from(("true", "false"))
    for part, meant in MEANT:
        if part in low:
            return known(meant)
    return known(name)


# ---------------------------------------------------------------- what the SDK knows of an operation


@dataclass(frozen=True)
class Shape:
    """What the SDK sends for an operation; `allowed` are the values that it knows for a parameter in snake case."""

    query: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    allowed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    model: Any = None


@cache
def shape_of(operation: str) -> Shape:
    """The parameters and the body model of an operation, read from the SDK's source."""
    for client, package in CLIENTS:
        found = getattr(client, _snake(operation), None)
        if found is None:
            continue
        source = inspect.getsource(found)
        query, headers = (_names(source, f"{kind}_params") for kind in ("query", "header"))
        model = re.search(rf":param {re.escape(package)}\.models\.(\w+) \w+: \(required\)", source)
        needed = re.search(r"required_arguments = \[(.*?)\]", source)
        required = re.findall(r"['\"](\w+)['\"]", needed.group(1)) if needed else []
        lists = re.findall(r"(\w+)_allowed_values = \[(.*?)\]", source, re.DOTALL)
        return Shape(
            query,
            tuple(name for name in query if name in required),
            headers,
            {name: tuple(re.findall(r'"([^"]+)"', values)) for name, values in lists},
            getattr(importlib.import_module(f"{package}.models"), model.group(1)) if model else None,
        )
    return Shape()


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _names(source: str, variable: str) -> tuple[str, ...]:
    block = re.search(rf"{variable} = \{{(.*?)\n        \}}", source, re.DOTALL)
    return tuple(re.findall(r'^ +"([\w-]+)":', block.group(1), re.MULTILINE)) if block else ()


@cache
def body_of(model: Any, depth: int = 0) -> SearchStrategy[Any]:
    """JSON in the shape of an SDK model, or of one derived from it."""
    every = [each for each in vars(_package(model)).values() if inspect.isclass(each) and issubclass(each, model)]
    return st.one_of([_body_of_kind(kind, depth) for kind in [each for each in every if each is not model] or [model]])


def _package(model: Any) -> ModuleType:
    return importlib.import_module(model.__module__.rpartition(".")[0])


def _body_of_kind(kind: Any, depth: int) -> SearchStrategy[Any]:
    empty = kind()
    needed: dict[str, SearchStrategy[Any]] = {}
    more: dict[str, SearchStrategy[Any]] = {}
    for name, type_name in empty.swagger_types.items():
        attribute = empty.attribute_map[name]
        fixed = getattr(empty, name)  # a derived model says its kind
        required = fixed is not None or attribute in WANTED or "**[Required]**" in (getattr(kind, name).__doc__ or "")
        value = st.just(fixed) if fixed is not None else _value(kind, name, attribute, type_name, depth)
        (needed if required else more)[attribute] = value
    return st.tuples(st.fixed_dictionaries(needed), few(more)).map(lambda both: both[0] | both[1])


_PLAIN = {"datetime": times, "bool": st.booleans(), "int": st.integers(1, 100), "float": st.sampled_from((1, 2, 12.5))}


def _value(kind: Any, name: str, attribute: str, type_name: str, depth: int) -> SearchStrategy[Any]:
    if type_name in _PLAIN or attribute in GOOD:
        return _PLAIN[type_name] if type_name in _PLAIN else GOOD[attribute]
    if type_name == "str":
        allowed = [v for k, v in vars(kind).items() if k.startswith(f"{name.upper()}_") and isinstance(v, str)]
        return st.sampled_from(allowed) if allowed else text_of(attribute)
    if inner := re.fullmatch(r"list\[(.+)\]", type_name):
        return st.lists(_value(kind, name, attribute, inner[1], depth), min_size=1, max_size=3)
    if inner := re.fullmatch(r"dict\(str, (.+)\)", type_name):
        return st.dictionaries(st.sampled_from("ab"), _value(kind, name, attribute, inner[1], depth), max_size=2)
    model = getattr(_package(kind), type_name, None)
    return scalars if model is None or depth > 3 else st.deferred(lambda: body_of(model, depth + 1))


# ---------------------------------------------------------------- plans

HEADERS = (
    "if-match",
    "if-none-match",
    "range",
    "content-md5",
    "opc-checksum-algorithm",
    "opc-content-crc32c",
    "opc-content-sha256",
    "opc-sse-customer-algorithm",
    "opc-sse-customer-key",
    "opc-sse-customer-key-sha256",
    "opc-meta-a",
    "opc-multipart",
    "storage-tier",
    "opc-retry-token",
    "opc-request-id",
    "opc-client-request-id",
    "content-encoding",
    "cache-control",
    "accept",
    "x-amz-copy-source",
    "x-amz-copy-source-range",
    "x-amz-storage-class",
    "x-amz-metadata-directive",
    "x-amz-tagging",
)
QUERY = ("limit", "page", "prefix", "versionId", "fields", "lifecycleState")
S3_QUERY = ("delimiter", "max-keys", "marker", "continuation-token", "start-after", "encoding-type", "key-marker")
XML = (
    b"<Delete><Object><Key>o</Key></Object></Delete>",
    b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>",
    b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
    b"<!DOCTYPE x [<!ENTITY a 'aaa'><!ENTITY b '&a;&a;&a;'>]><Delete><Object><Key>&b;</Key></Object></Delete>",
    b"<RestoreRequest><Days>99999999999999999999</Days></RestoreRequest>",
    b"<a><b></a>",
    b"<" * 2000,
)


@cache
def plans(route: Route) -> SearchStrategy[Plan]:
    """Requests for a row: such as could be meant, with up to three places in which something else stands."""
    pattern, _, fixed = route.pattern.partition("?")
    shape = shape_of(route.operation)
    path = {name: text_of(name) for name in re.findall(r"\{(\w+)\*?\}", pattern)}
    always = {
        name: text_of(name) if name.endswith(("Id", "Number")) else st.just("") for name in fixed.split("&") if name
    }
    always |= {name: _parameter(name, shape) for name in shape.required}
    asked = {*(shape.query or QUERY), *(S3_QUERY if route.service == "s3" else ())} - set(always)
    query = st.tuples(st.fixed_dictionaries(always), few({name: _parameter(name, shape) for name in sorted(asked)}))
    headers = few({name: text_of(name) for name in sorted({*HEADERS, *shape.headers})})
    made = st.builds(
        lambda *parts: Plan(route, parts[0], parts[1][0] | parts[1][1], parts[2], parts[3]),
        st.fixed_dictionaries(path),
        query,
        st.one_of(st.just({}), headers),
        _bodies(route, shape),
    )
    wild = st.tuples(st.integers(0, 60), junk, nasty, st.sampled_from(RAW))
    return st.builds(mutated, made, st.lists(wild, max_size=3))


def _parameter(name: str, shape: Shape) -> SearchStrategy[Any]:
    allowed = shape.allowed.get(_snake(name))
    return st.sampled_from(allowed) if allowed else text_of(name)


def few(values: dict[str, SearchStrategy[Any]]) -> SearchStrategy[dict[str, Any]]:
    """At most three of many."""
    if not values:
        return st.just({})
    chosen = st.lists(st.sampled_from(sorted(values)), max_size=3, unique=True)
    return chosen.flatmap(lambda names: st.fixed_dictionaries({name: values[name] for name in names}))


def _bodies(route: Route, shape: Shape) -> SearchStrategy[Any]:
    anything = st.binary(max_size=500)
    if route.method in ("GET", "HEAD", "DELETE"):
        return st.none()
    if route.service == "s3":
        return st.sampled_from(XML) | anything
    if not route.body_signed or route.auth == "par":
        return anything
    return _control_body(route.operation) if shape.model is None else body_of(shape.model)


anything = {
    name: st.lists(st.dictionaries(nasty, junk)) for name in ("buckets", "instances", "users", "objects", "images")
}
CONTROL: Mapping[str, tuple[dict[str, SearchStrategy[Any]], dict[str, SearchStrategy[Any]]]] = {
    "PutSeed": ({}, {**anything, "timing": junk, "limits": junk, "assume": junk, "namespace": nasty}),
    "AdvanceClock": ({"advanceSeconds": st.sampled_from((0, 60, 3600.5))}, {}),
    "DeclareFault": (
        {
            "operation": known("operation"),
            "effect": st.sampled_from(("error", "delay", "cut-body", "hold", "outage", "small-pages")),
        },
        {
            "status": st.sampled_from((400, 503)),
            "code": nasty,
            "seconds": numbers,
            "afterBytes": numbers,
            "times": numbers,
            "limit": numbers,
        },
    ),
    "ReleaseHolds": ({}, {"all": st.booleans(), "id": known("id")}),
    "IssueSessionToken": (
        {"userId": known("user"), "publicKeyPem": known("publicKeyPem")},
        {"ttlSeconds": numbers},
    ),
    "IssueResourcePrincipal": (
        {"compartmentId": known("compartment")},
        {"version": st.sampled_from(("2.2", "3.0")), "publicKeyPem": known("publicKeyPem"), "type": nasty, "id": nasty},
    ),
}
"""Bodies of the emulator's own calls: fields that must be there, and further ones."""
OTHER = {
    "publicKey": known("publicKeyPem"),
    "sessionPublicKey": known("publicKeyPem"),
    "certificate": known("publicKeyPem"),
}


def _control_body(operation: str) -> SearchStrategy[Any]:
    needed, more = CONTROL.get(operation, (OTHER, {}))
    return st.tuples(st.fixed_dictionaries(needed), few(more)).map(lambda both: both[0] | both[1])


def mutated(plan: Plan, wild: Sequence[tuple[int, Any, str, bytes]]) -> Plan:
    """The plan with other things in some of its places; places are numbered over path, query, headers and body."""
    parts = {"path": dict(plan.path), "query": dict(plan.query), "headers": dict(plan.headers), "body": plan.body}
    for number, value, text, raw in wild:
        every = list(_places(parts))
        holder, key, kind = every[number % len(every)]
        if kind == "path":
            holder[key] = raw if number % 2 else text or "x"
        elif kind == "body":
            holder[key] = json.dumps(value).encode()[number % 5 :] if key == "body" and number % 3 == 0 else value
        else:
            holder[key] = text
    return Plan(plan.route, **parts)


def _places(parts: dict[str, Any]) -> Iterator[tuple[Any, Any, str]]:
    """Every value that can be replaced: what holds it, under which key, and in which part of the request."""
    for kind in ("path", "query", "headers"):
        for key in parts[kind]:
            yield parts[kind], key, kind
    yield parts["query"], "limit", "query"
    if parts["body"] is not None:
        yield from _inner(parts, "body")


def _inner(holder: Any, key: Any) -> Iterator[tuple[Any, Any, str]]:
    yield holder, key, "body"
    value = holder[key]
    if isinstance(value, dict | list):
        for inner in list(value) if isinstance(value, dict) else range(len(value)):
            yield from _inner(value, inner)


# ---------------------------------------------------------------- what the cloud shows


def _key(name: str) -> str:
    low = re.sub(r"[^a-z0-9]", "", name.lower())
    return low.removesuffix("id") or "id"


GIVEN = frozenset({"namespace", "bucket", "object", "number", "operation", "compartment", "compartmentId", "key"})
"""What a fuzzer adds itself: replies name other things in the same way."""


RUINOUS = ("PutSeed", "ResetCloud", "DeclareFault", "DeleteUser", "DeleteApiKey", "TerminateInstance", "DeleteBucket")
"""Calls after which the cloud may no longer have what the next ones need."""


class Pool:
    """What a cloud has shown, by name; the newest values of each name."""

    MOST = 40

    def __init__(self) -> None:
        self._values: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, name: str, *values: str) -> None:
        """Keep values under a name."""
        kept = self._values[_key(name)]
        for value in values:
            if value not in kept:
                kept.append(value)
        del kept[: -self.MOST]

    def learn(self, value: Any, name: str = "") -> None:
        """Keep every text of a JSON value under its key, and OCIDs also under their kind."""
        if isinstance(value, dict):
            for key, inner in value.items():
                self.learn(inner, key)
            if "accessUri" in value:
                self.add("token", str(value["accessUri"]).split("/")[2])
                self.add("par", str(value.get("id", "")))
        elif isinstance(value, list):
            for inner in value[:50]:
                self.learn(inner, name)
        elif isinstance(value, str) and value and len(value) < 500:
            if name not in GIVEN:
                self.add(name, value)
            kind = re.match(r"ocid1\.(\w+)\.", value)
            if kind and kind[1] not in GIVEN:
                self.add(kind[1], value)

    def get(self, wanted: Known) -> str:
        """The value that a plan means."""
        there = self._values.get(_key(wanted.name)) or self._values["id"]
        return there[-1 - wanted.number % len(there)]

    def fill(self, value: Any) -> Any:
        """A planned value with what the cloud knows in its places."""
        if isinstance(value, Known):
            return self.get(value)
        if isinstance(value, dict):
            return {key: self.fill(inner) for key, inner in value.items()}
        return [self.fill(inner) for inner in value] if isinstance(value, list) else value


# ---------------------------------------------------------------- sending


@dataclass
class Fuzzer:
    """Sends planned requests to an emulator and notes what no request may cause.

    `failures` are by operation and kind, each with one example; `statuses` count the replies of each operation.
    """

    emulator: Emulator
    pool: Pool = field(default_factory=Pool)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    statuses: defaultdict[str, defaultdict[int, int]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(int))
    )
    slowest: float = 0.0
    sent: int = 0

    def __post_init__(self) -> None:
        self._connections = {base: self._connect(base) for base in ("", self.emulator.metadata)}
        self._seen = self._turn = 0
        self.populate()

    def _connect(self, base: str) -> http.client.HTTPConnection:
        host = urllib.parse.urlsplit(base).netloc or self.emulator.host
        return http.client.HTTPConnection(host, timeout=2 * HANG_SECONDS)

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections.values():
            connection.close()

    def populate(self) -> None:
        """Make (again) what requests can be about."""
        call, pool = self.emulator.call, self.pool
        self.emulator.control("DELETE", "faults")
        self._turn += 1
        self.emulator.control("PUT", "seed", self._with_new_instances())
        pool.add("namespace", NAMESPACE)
        pool.add("compartment", self.emulator.seed.value["tenancyId"], self.emulator.seed.compartment)
        pool.add("key", self.emulator.seed.value["users"][0]["apiKeys"][0]["publicKeyPem"])
        name = f"fuzz{self._turn}"
        call("POST", f"/n/{NAMESPACE}/b", {"name": name, "compartmentId": self.emulator.seed.compartment})
        pool.add("bucket", "exports", name)
        bucket = f"/n/{NAMESPACE}/b/{name}"
        pool.add("number", "1", "2")
        pool.add("operation", "GetObject", "ListObjects", "CreateImage")
        for number in range(3):
            call("PUT", f"{bucket}/o/o{number}", b"0123456789" * number)
            pool.add("object", f"o{number}")
        upload = call("POST", f"{bucket}/u", {"object": "o1"})
        access = {"name": "p", "accessType": "AnyObjectReadWrite", "timeExpires": "2040-01-01T00:00:00Z"}
        par = call("POST", f"{bucket}/p", {**access, "bucketListingAction": "ListObjects"})
        for reply in (upload, par):
            if reply.status == 200:
                pool.learn(reply.json)
        if upload.status == 200:
            part = call("PUT", f"{bucket}/u/o1?uploadId={upload.json['uploadId']}&uploadPartNum=1", b"part")
            pool.add("etag", part.headers.get("etag", "none"))
        where = {"compartmentId": self.emulator.seed.compartment, "availabilityDomain": "Test:US-ASHBURN-AD-1"}
        made = call("POST", "/20160918/volumes", {**where, "sizeInGBs": 50})
        if made.status == 200:
            pool.learn(made.json)

    def _with_new_instances(self) -> dict[str, Any]:
        """The seed with instances of new names: those of before may be gone."""
        text = json.dumps(self.emulator.seed.value["instances"])
        value = {**self.emulator.seed.value, "instances": json.loads(re.sub(r"web-?0", f"web{self._turn}x", text))}
        self.pool.learn(value)
        return value

    def send(self, plan: Plan) -> None:
        """Send one planned request and judge its reply."""
        route, began = plan.route, time.monotonic()
        self.sent += 1
        try:
            reply = self._exchange(plan)
        except (OSError, http.client.HTTPException) as error:
            self._fail(plan, f"no reply: {type(error).__name__}")
            self.close()
            return
        seconds = time.monotonic() - began
        self.slowest = max(self.slowest, seconds)
        self.statuses[route.operation][reply.status] += 1
        if seconds > HANG_SECONDS:
            self._fail(plan, f"took {seconds:.0f} s")
        self._judge(plan, reply)
        if self.sent % 200 == 0:
            self.populate()
        if route.operation in RUINOUS:
            self.populate()

    def _judge(self, plan: Plan, reply: Reply) -> None:
        if reply.status >= 500 and reply.status not in (501, 507):
            self._fail(plan, f"{reply.status}: {self._reason(reply)}")
        elif reply.status >= 400 and plan.route.method != "HEAD":
            self._judge_error(plan, reply)
        elif reply.body and reply.headers.get("content-type", "").startswith("application/json"):
            self.pool.learn(reply.json)
        for name in ("etag", "opc-next-page", "opc-work-request-id", "version-id"):
            if name in reply.headers:
                self.pool.add({"opc-next-page": "page"}.get(name, name.removeprefix("opc-")), reply.headers[name])

    def _judge_error(self, plan: Plan, reply: Reply) -> None:
        if plan.route.service == "s3":
            good = reply.status == 304 or (b"<Code>" in reply.body and b"<Message>" in reply.body)
        elif plan.route.service == "metadata":
            good = True
        else:
            try:
                good = {"code", "message"} <= set(reply.json) and all(isinstance(v, str) for v in reply.json.values())
            except (ValueError, TypeError):
                good = False
        if not good:
            self._fail(plan, f"{reply.status} without code and message: {reply.body[:80]!r}")

    def _reason(self, reply: Reply) -> str:
        """The end of the traceback that the emulator's log has for a reply."""
        entries = self.emulator.control("GET", f"log?after={self._seen}")["requests"]
        self._seen = max([self._seen, *(entry["id"] for entry in entries)])
        mine = [each for each in entries if each.get("requestId") == reply.headers.get("opc-request-id")]
        lines = str(mine[-1].get("error", "")).strip().splitlines() if mine else []
        places = [line.strip() for line in lines if line.startswith("  File") and "hypersdk_emulator" in line]
        place = re.sub(r'.*hypersdk_emulator/([\w/]+\.py)", line (\d+).*', r"\1:\2", places[-1]) if places else ""
        return f"{lines[-1] if lines else reply.body[:100]!r} at {place}"

    def _fail(self, plan: Plan, what: str) -> None:
        example = {name: self.pool.fill(dict(part)) for name, part in (("path", plan.path), ("query", plan.query))}
        text = f"{example} headers {self.pool.fill(dict(plan.headers))} body {self.pool.fill(plan.body)!r}"
        self.failures.setdefault((plan.route.operation, what), text[:1500])

    # -- how a request of each kind is sent

    def _exchange(self, plan: Plan) -> Reply:
        route, fill = plan.route, self.pool.fill
        pattern = route.pattern.partition("?")[0]
        query = {name: str(fill(value)) for name, value in plan.query.items()}
        headers = dict(_headers({name: fill(value) for name, value in plan.headers.items()}))
        body = plan.body if plan.body is None or isinstance(plan.body, bytes) else json.dumps(fill(plan.body)).encode()
        if route.auth == "s3":
            path = re.sub(r"\{(\w+)\*?\}", lambda m: _plain(fill(plan.path[m[1]])), pattern)
            query = {name: value.encode(errors="replace").decode() for name, value in query.items()}
            return S3(self.emulator).call(route.method, path, body or b"", headers, query=query)
        path = re.sub(r"\{(\w+)\*?\}", lambda m: _encoded(fill(plan.path[m[1]])), pattern)
        asked = urllib.parse.urlencode(query, errors="replace")
        target = f"{path}?{asked}" if asked else path
        base = self.emulator.metadata if route.service == "metadata" else ""
        signed = self._authorized(route, target, body, headers)
        connection = self._connections[base]
        connection.request(route.method, target, body, signed)
        reply = connection.getresponse()
        return Reply(reply.status, {n.lower(): v for n, v in reply.getheaders()}, reply.read())

    def _authorized(self, route: Route, target: str, body: bytes | None, headers: dict[str, str]) -> dict[str, str]:
        if route.auth == "control":
            return {**headers, "authorization": f"Bearer {self.emulator.token}"}
        if route.service == "metadata":
            return {**headers, "authorization": "Bearer Oracle"}
        if route.auth == "par":
            return headers | ({route.header: "true"} if route.header else {})
        covered = (body or b"") if route.body_signed and route.method in ("POST", "PUT") else None
        return self.emulator.signed_headers(route.method, target, covered, headers)


def _headers(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Header lines that can be sent: no line ends, their bytes UTF-8."""
    for name, value in values.items():
        text = re.sub(r"[\x00-\x1f\x7f]", "", str(value)).strip()
        yield name, text.encode(errors="replace").decode("latin-1")


def _encoded(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode()
    return urllib.parse.quote(str(value).encode(errors="replace"), safe="")


def _plain(value: Any) -> str:
    text = value.decode() if isinstance(value, bytes) else str(value)
    return text.encode(errors="replace").decode()
