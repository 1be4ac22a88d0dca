"""Faults that a test declares: validated, matched, consumed and counted. Pure: no clock, no socket.

A fault hits the next `times` matching calls after letting `skip` matching calls pass. Each call meets at most one
fault, the oldest that matches. What an effect does to a reply lives in `effects.py`; what it does to an export in
`exporter.py`. Everything consumed stays listed, so a test can prove that its fault really happened.
"""

import itertools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

EVERY_OPERATION = "*"
MAX_TIMES = 1_000_000
MAX_SECONDS = 86_400
ERROR_STATUSES = range(400, 600)


class FaultError(ValueError):
    """The declared fault is not one; the text names the field."""


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
    return isinstance(value, dict) and all(isinstance(k, str) and isinstance(v, str) for k, v in value.items())


def _count(*, required: bool = False, least: int = 0) -> Field:
    return Field(lambda v: _is_int(v) and v >= least, f"a whole number from {least}", required)


_TEXT = Field(lambda v: isinstance(v, str) and v != "", "a text that is not empty")
_SECONDS = Field(lambda v: _is_number(v) and 0 <= v <= MAX_SECONDS, f"seconds from 0 to {MAX_SECONDS}", required=True)
_AFTER_BYTES = {"afterBytes": _count(required=True)}

MATCHERS: Mapping[str, Field] = {
    "times": Field(lambda v: _is_int(v) and 1 <= v <= MAX_TIMES, f"a whole number from 1 to {MAX_TIMES}"),
    "skip": _count(),
    "objectName": _TEXT,
    "path": _TEXT,
}


@dataclass(frozen=True)
class Effect:
    """One kind of fault: its own fields, and the operations it makes sense for (empty: all)."""

    fields: Mapping[str, Field] = field(default_factory=dict)
    only: frozenset[str] = frozenset()


EFFECTS: Mapping[str, Effect] = {
    "error": Effect(
        {
            "status": Field(lambda v: _is_int(v) and v in ERROR_STATUSES, "a status from 400 to 599", required=True),
            "code": Field(lambda v: isinstance(v, str), "a text", required=True),
            "message": Field(lambda v: isinstance(v, str), "a text"),
            "headers": Field(_is_headers, "an object of texts"),
        }
    ),
    "cut-body": Effect(_AFTER_BYTES),
    "truncated": Effect(_AFTER_BYTES),
    "stall": Effect(_AFTER_BYTES),
    "flip-byte": Effect({"at": _count(required=True)}),
    "whole-body": Effect(only=frozenset({"GetObject"})),
    "shifted-range": Effect(only=frozenset({"GetObject"})),
    "object-replaced": Effect(only=frozenset({"GetObject"})),
    "html": Effect(),
    "reset": Effect(),
    "lost-response": Effect(),
    "hold": Effect(),
    "hold-before": Effect(),
    "delay": Effect({"seconds": _SECONDS}),
    "outage": Effect({"seconds": _SECONDS}),
    "work-request-fails": Effect(only=frozenset({"ExportImage", "CreateImage"})),
    "export-without-object": Effect(only=frozenset({"ExportImage"})),
    "export-all-zero": Effect(only=frozenset({"ExportImage"})),
    "work-request-gone": Effect(only=frozenset({"GetWorkRequest"})),
}


@dataclass
class Fault:
    """One declared fault and what has become of it."""

    id: str
    operation: str
    effect: str
    times: int
    skip: int
    declared: Mapping[str, Any]
    passed: int = 0
    consumed: int = 0
    holding: int = 0

    @property
    def remaining(self) -> int:
        """Matching calls that it will still hit."""
        return self.times - self.consumed

    def matches(self, operation: str, path: str, object_name: str) -> bool:
        """True if the call is one that this fault is about, spent or not."""
        declared = self.declared
        return (
            self.operation in (operation, EVERY_OPERATION)
            and declared.get("objectName", object_name) == object_name
            and declared.get("path", "") in path
        )

    def text(self, name: str, default: str = "") -> str:
        """A declared text field of the effect."""
        return str(self.declared.get(name, default))

    def number(self, name: str) -> int:
        """A declared whole-number field of the effect."""
        return int(self.declared[name])

    @property
    def seconds(self) -> float:
        """The declared duration of a delay or outage in real seconds."""
        return float(self.declared["seconds"])

    @property
    def headers(self) -> dict[str, str]:
        """The declared headers of an `error`."""
        return dict(self.declared.get("headers", {}))

    def as_json(self) -> dict[str, Any]:
        """The declaration with its id and counts."""
        counts = {"id": self.id, "remaining": self.remaining, "consumed": self.consumed, "holding": self.holding}
        return {**self.declared, "times": self.times, "skip": self.skip, **counts}


def validate(body: Any, operations: Collection[str]) -> None:
    """Refuse a declaration that is not one.

    Args:
        body: the decoded JSON.
        operations: every operation the emulator knows, SDK camel-case.

    Raises:
        FaultError: names the field and what it should be.
    """
    if not isinstance(body, dict):
        raise FaultError("a fault is a JSON object")
    operation, kind = body.get("operation"), body.get("effect")
    if not isinstance(operation, str) or (operation != EVERY_OPERATION and operation not in operations):
        raise FaultError(f"operation: {operation!r} is no operation of this emulator")
    if not isinstance(kind, str) or kind not in EFFECTS:
        raise FaultError(f"effect: {kind!r} is none of {', '.join(sorted(EFFECTS))}")
    effect = EFFECTS[kind]
    if effect.only and operation not in effect.only:
        raise FaultError(f"operation: the effect {kind} is for {' or '.join(sorted(effect.only))}, not {operation}")
    _validate_fields(body, kind, {**MATCHERS, **effect.fields})


def _validate_fields(body: Mapping[str, Any], kind: str, fields: Mapping[str, Field]) -> None:
    for name in body:
        if name not in ("operation", "effect") and name not in fields:
            raise FaultError(f"{name}: no field of a fault with the effect {kind}")
    for name, rule in fields.items():
        if name not in body:
            if rule.required:
                raise FaultError(f"{name}: the effect {kind} needs {rule.says}")
        elif not rule.check(body[name]):
            raise FaultError(f"{name}: {body[name]!r} is not {rule.says}")


class FaultBook:
    """All declared faults of one emulator, oldest first.

    Args:
        operations: every operation the emulator knows, SDK camel-case.
    """

    def __init__(self, operations: Collection[str]) -> None:
        self._operations = operations
        self._faults: dict[str, Fault] = {}
        self._numbers = itertools.count(1)
        self._outage_ends = float("-inf")

    def declare(self, body: Any) -> Fault:
        """Add one fault.

        Raises:
            FaultError: the declaration is not one; nothing was added.
        """
        validate(body, self._operations)
        fault = Fault(
            id=f"fault-{next(self._numbers)}",
            operation=body["operation"],
            effect=body["effect"],
            times=body.get("times", 1),
            skip=body.get("skip", 0),
            declared=dict(body),
        )
        self._faults[fault.id] = fault
        return fault

    def take(self, operation: str, *, path: str = "", object_name: str = "") -> Fault | None:
        """The fault that this call meets, if any; it counts as consumed from now on.

        Args:
            operation: the call, SDK camel-case.
            path: the raw path as it came.
            object_name: the decoded object name, empty for calls without one.
        """
        for fault in self._faults.values():
            if not fault.remaining or not fault.matches(operation, path, object_name):
                continue
            if fault.passed < fault.skip:
                fault.passed += 1
                continue
            fault.consumed += 1
            return fault
        return None

    def start_outage(self, fault: Fault, real_now: float) -> None:
        """From now on no call is answered, until `fault.seconds` of real time have passed."""
        self._outage_ends = max(self._outage_ends, real_now + fault.seconds)

    def in_outage(self, real_now: float) -> bool:
        """True while a consumed `outage` lasts."""
        return real_now < self._outage_ends

    def listing(self) -> list[dict[str, Any]]:
        """Every fault since the last `clear`, spent ones too."""
        return [fault.as_json() for fault in self._faults.values()]

    def get(self, fault_id: str) -> Fault | None:
        """The fault of this id."""
        return self._faults.get(fault_id)

    def clear(self) -> None:
        """Drop all faults, and end an outage."""
        self._faults.clear()
        self._outage_ends = float("-inf")
