"""What may be declared as a fault: matchers, effects and their fields, and the refusal of everything else. Pure.

A declaration is refused by the name of its field and with the nearest thing that exists: a fault that silently never
hits would make a test prove nothing.
"""

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

EVERY_OPERATION = "*"
ANY_TIMES = "any"
MAX_TIMES = 1_000_000
MAX_SECONDS = 86_400
MAX_RATE = 1 << 30
ERROR_STATUSES = range(400, 600)
PAGE_STATUSES = range(200, 600)
REDIRECTS = (301, 302, 303, 307, 308)


class FaultError(ValueError):
    """The declared fault is not one; the text names the field."""


@dataclass(frozen=True)
class Operation:
    """What a fault must know about an operation.

    Args:
        services: those that have an operation of this name.
        method: HTTP method of its first row.
        uploads: its request body is an object's bytes.
        in_path: the object's name is a part of its path.
    """

    services: frozenset[str] = frozenset()
    method: str = "GET"
    uploads: bool = False
    in_path: bool = False

    @property
    def has_reply_body(self) -> bool:
        """False for HEAD."""
        return self.method != "HEAD"


@dataclass(frozen=True)
class Field:
    """One field of a fault declaration: its type, and whether it must be given."""

    check: Callable[[Any], bool]
    says: str
    required: bool = False


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_headers(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(k, str) and isinstance(v, str) and not set(k + v) & set("\r\n\0") for k, v in value.items()
    )


def _count(*, required: bool = False, least: int = 0, most: int = 1 << 62) -> Field:
    says = f"a whole number from {least}" + ("" if most == 1 << 62 else f" to {most}")
    return Field(lambda v: _is_int(v) and least <= v <= most, says, required)


def _seconds(*, required: bool = True) -> Field:
    return Field(lambda v: _is_number(v) and 0 <= v <= MAX_SECONDS, f"seconds from 0 to {MAX_SECONDS}", required)


def _status(allowed: Collection[int], says: str, *, required: bool = False) -> Field:
    return Field(lambda v: _is_int(v) and v in allowed, says, required)


_TEXT = Field(lambda v: isinstance(v, str) and v != "", "a text that is not empty")
_ANY_TEXT = Field(lambda v: isinstance(v, str), "a text")
_HEADERS = Field(_is_headers, "an object of texts without line breaks")
_URL = Field(lambda v: isinstance(v, str) and re.match(r"https?://[^/\s]+", v) is not None, "an http(s) URL", True)  # noqa: FBT003 - required
_AFTER_BYTES = {"afterBytes": _count(required=True)}
_AT = {"at": _count(required=True)}
_RATE = {"bytesPerSecond": _count(required=True, least=1, most=MAX_RATE)}
_IS_ERROR = "a status from 400 to 599"

MATCHERS: Mapping[str, Field] = {
    "service": _TEXT,
    "objectName": _TEXT,
    "bucketName": _TEXT,
    "compartmentId": _TEXT,
    "instanceId": _TEXT,
    "path": _TEXT,
    "offset": _count(),
    "partNumber": _count(least=1, most=10_000),
    "skip": _count(),
    "nth": _count(least=1),
    "times": Field(
        lambda v: v == ANY_TIMES or (_is_int(v) and 1 <= v <= MAX_TIMES),
        f"a whole number from 1 to {MAX_TIMES}, or 'any'",
    ),
    "probability": Field(lambda v: _is_number(v) and 0 < v <= 1, "a number above 0, at most 1"),
    "seed": Field(_is_int, "a whole number"),
}
"""Fields that say which calls a fault hits, besides `operation`."""


@dataclass(frozen=True)
class Effect:
    """One kind of fault.

    Args:
        fields: its own fields.
        only: the operations that it is for, by name; empty = all that `kind` allows.
        kind: `any`; `reply` = the reply has a body; `read` = GetObject of a service; `ranged` = the same with a Range
            header; `upload` = the request's body is an object's bytes; `list` = JSON lists.
    """

    fields: Mapping[str, Field] = field(default_factory=dict)
    only: frozenset[str] = frozenset()
    kind: str = "any"


EFFECTS: Mapping[str, Effect] = {
    # Another answer, or none.
    "error": Effect(
        {
            "status": _status(ERROR_STATUSES, _IS_ERROR, required=True),
            "code": Field(lambda v: isinstance(v, str), "a text", required=True),
            "message": _ANY_TEXT,
            "headers": _HEADERS,
        }
    ),
    "html": Effect({"status": _status(PAGE_STATUSES, "a status from 200 to 599"), "headers": _HEADERS}),
    "redirect": Effect({"to": _URL, "status": _status(REDIRECTS, f"one of {', '.join(map(str, REDIRECTS))}")}),
    "not-modified": Effect(),
    "reset": Effect({"afterBytes": _count()}),
    "lost-response": Effect(),
    "outage": Effect({"seconds": _seconds()}),
    # An answer that takes its time.
    "delay": Effect({"seconds": _seconds()}),
    "hold": Effect(),
    "hold-before": Effect(),
    "drip": Effect(_RATE, kind="reply"),
    "stall": Effect(_AFTER_BYTES, kind="reply"),
    # A body or header that is not what it should be.
    "cut-body": Effect(_AFTER_BYTES, kind="reply"),
    "truncated": Effect(_AFTER_BYTES, kind="reply"),
    "short-body": Effect(_AFTER_BYTES, kind="reply"),
    "flip-byte": Effect(_AT, kind="reply"),
    "gzip": Effect(kind="reply"),
    "wrong-length": Effect({"by": Field(lambda v: _is_int(v) and v != 0, "a whole number other than 0", True)}),  # noqa: FBT003 - required
    "no-length": Effect(),
    "whole-body": Effect(kind="ranged"),
    "shifted-range": Effect(kind="ranged"),
    "short-range": Effect(kind="ranged"),
    "other-total": Effect(kind="ranged"),
    "no-content-range": Effect(kind="ranged"),
    "stale-etag": Effect({"etag": _TEXT}),
    "object-replaced": Effect(kind="read"),
    # What happens to an upload's body.
    "early-refusal": Effect(
        {"status": _status(ERROR_STATUSES, _IS_ERROR), "code": _TEXT, "afterBytes": _count()}, kind="upload"
    ),
    "cut-request": Effect(_AFTER_BYTES, kind="upload"),
    "stall-request": Effect(_AFTER_BYTES, kind="upload"),
    "drip-request": Effect(_RATE, kind="upload"),
    "flip-request": Effect(_AT, kind="upload"),
    "store-flipped": Effect(_AT, kind="upload"),
    # Lists that do not say all.
    "list-lags": Effect({"seconds": _seconds()}, kind="list"),
    "list-drops": Effect({"count": _count(required=True, least=1)}, kind="list"),
    "empty-page": Effect(kind="list"),
    "small-pages": Effect({"limit": _count(required=True, least=1, most=1000)}, kind="list"),
    # Work that goes wrong.
    "work-request-fails": Effect(only=frozenset({"ExportImage", "CreateImage", "LaunchInstance"})),
    "work-request-stuck": Effect(only=frozenset({"ExportImage", "CreateImage"})),
    "work-request-gone": Effect(only=frozenset({"GetWorkRequest"})),
    "export-without-object": Effect(only=frozenset({"ExportImage"})),
    "export-all-zero": Effect(only=frozenset({"ExportImage"})),
}


def is_read(operation: str) -> bool:
    """True for GetObject, of whatever service."""
    return operation.endswith("GetObject")


def is_list(operation: str) -> bool:
    """True for calls that list."""
    return operation.startswith("List")


_KINDS: Mapping[str, tuple[str, Callable[[str, Operation], bool]]] = {
    "any": ("any call", lambda _name, _known: True),
    "reply": ("calls whose reply has a body", lambda _name, known: known.has_reply_body),
    "read": ("GetObject", lambda name, _known: is_read(name)),
    "ranged": ("GetObject", lambda name, _known: is_read(name)),
    "upload": ("PutObject or UploadPart", lambda _name, known: known.uploads),
    "list": ("calls that list", lambda name, _known: is_list(name)),
}


def fits(kind: str, operation: str, known: Operation) -> bool:
    """True if an effect of this kind makes sense for the operation."""
    return _KINDS[kind][1](operation, known)


def validate(body: Any, operations: Mapping[str, Operation]) -> None:
    """Refuse a declaration that is not one.

    Args:
        body: the decoded JSON.
        operations: every operation the emulator knows, SDK camel-case.

    Raises:
        FaultError: names the field, what it should be and the nearest name that there is.
    """
    if not isinstance(body, dict):
        raise FaultError("a fault is a JSON object")
    operation, kind = body.get("operation"), body.get("effect")
    if not isinstance(operation, str) or (operation != EVERY_OPERATION and operation not in operations):
        raise FaultError(f"operation: {operation!r} is no operation of this emulator{_nearest(operation, operations)}")
    if not isinstance(kind, str) or kind not in EFFECTS:
        near = _nearest(kind, EFFECTS) or f"; there are {', '.join(sorted(EFFECTS))}"
        raise FaultError(f"effect: {kind!r} is no effect{near}")
    effect = EFFECTS[kind]
    _check_fields(body, kind, {**MATCHERS, **effect.fields})
    _check_service(body, operation, operations)
    if effect.only and operation not in effect.only:
        raise FaultError(f"operation: the effect {kind} is for {' or '.join(sorted(effect.only))}, not {operation}")
    if operation != EVERY_OPERATION:
        _check_operation(body, kind, operation, operations[operation])
    _check_contradictions(body)


def _check_fields(body: Mapping[str, Any], kind: str, fields: Mapping[str, Field]) -> None:
    for name in body:
        if name not in ("operation", "effect") and name not in fields:
            raise FaultError(f"{name}: no field of a fault with the effect {kind}{_nearest(name, fields)}")
    for name, rule in fields.items():
        if name not in body:
            if rule.required:
                raise FaultError(f"{name}: the effect {kind} needs {rule.says}")
        elif not rule.check(body[name]):
            raise FaultError(f"{name}: {body[name]!r} is not {rule.says}")


def _check_service(body: Mapping[str, Any], operation: str, operations: Mapping[str, Operation]) -> None:
    service = body.get("service")
    if service is None:
        return
    services = {each for known in operations.values() for each in known.services}
    if service not in services:
        raise FaultError(f"service: {service!r} is none of {', '.join(sorted(services))}{_nearest(service, services)}")
    if operation != EVERY_OPERATION and service not in operations[operation].services:
        raise FaultError(f"service: {operation} is an operation of {', '.join(sorted(operations[operation].services))}")


def _check_operation(body: Mapping[str, Any], kind: str, operation: str, known: Operation) -> None:
    """Refuse what can never happen for this operation."""
    wanted = EFFECTS[kind].kind
    if not fits(wanted, operation, known):
        raise FaultError(f"operation: the effect {kind} is for {_KINDS[wanted][0]}, not {operation}")
    if kind == "reset" and "afterBytes" in body and not known.has_reply_body:
        raise FaultError(f"afterBytes: the reply to {operation} has no body")
    if "offset" in body and not is_read(operation):
        raise FaultError(f"offset: {operation} takes no range")
    if "partNumber" in body and not operation.endswith("UploadPart"):
        raise FaultError(f"partNumber: {operation} is not UploadPart")
    if "objectName" in body and not known.in_path and known.method != "POST":
        raise FaultError(f"objectName: {operation} is not about one object")


def _check_contradictions(body: Mapping[str, Any]) -> None:
    for one, other in (("nth", "skip"), ("nth", "probability"), ("offset", "partNumber")):
        if one in body and other in body:
            raise FaultError(f"{other}: contradicts {one}; give one of them")
    if "seed" in body and "probability" not in body:
        raise FaultError("seed: belongs to probability, which is not given")


def _nearest(wanted: Any, names: Collection[str]) -> str:
    """A hint at the name that was perhaps meant."""
    near = difflib.get_close_matches(str(wanted), names, 1, 0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
