"""Faults that a test declares: matched, consumed and counted. Pure: no clock, no socket.

A fault hits the next `times` matching calls after letting `skip` matching calls pass; with a `probability` each
matching call is drawn from its seed, the same every time. Each call meets at most one fault, the oldest that matches.
What may be declared is in `faultrules.py`, what an effect does to a call in `effects.py`, `incoming.py` and
`spoiling.py`, what it does to work in `compute`. Everything consumed stays listed, so a test can prove that it hit.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from hypersdk_emulator.faultrules import ANY_TIMES, EFFECTS, EVERY_OPERATION, Operation, fits, validate

OLDER_ETAG = "00000000-0000-4000-8000-000000000000"
"""What `stale-etag` shows unless told otherwise."""

_SAME = {
    "service": "service",
    "objectName": "object_name",
    "bucketName": "bucket",
    "compartmentId": "compartment",
    "instanceId": "instance",
    "partNumber": "part",
}
"""Matchers that a call's fact must equal."""


@dataclass(frozen=True)
class Facts:
    """What a call is about, as far as a fault can ask; empty or None = nothing of the kind.

    Args:
        operation: SDK camel-case.
        service: as in the route table.
        path: the raw path as it came.
        object_name: the decoded object name.
        bucket: name of the bucket.
        compartment: OCID of the compartment that is asked for or that the resource lives in.
        instance: OCID of the instance.
        first: first byte that a Range header asks for.
        last: last byte of it; None = to the end.
        part: number of the part.
    """

    operation: str
    service: str = ""
    path: str = ""
    object_name: str = ""
    bucket: str = ""
    compartment: str = ""
    instance: str = ""
    first: int | None = None
    last: int | None = None
    part: int = 0

    def covers(self, offset: int) -> bool:
        """True if the range asked for has this byte."""
        return self.first is not None and self.first <= offset and (self.last is None or offset <= self.last)


@dataclass
class Fault:
    """One declared fault and what has become of it; `times` None = without end."""

    id: str
    operation: str
    effect: str
    times: int | None
    skip: int
    declared: Mapping[str, Any]
    random: Random
    passed: int = 0
    consumed: int = 0
    holding: int = 0

    @property
    def remaining(self) -> int | None:
        """Matching calls that it will still hit; None = any number."""
        return None if self.times is None else self.times - self.consumed

    @property
    def unconsumed(self) -> bool:
        """True if it has not done what it was declared for."""
        return not self.consumed if self.times is None else self.consumed < self.times

    def matches(self, facts: Facts, known: Operation) -> bool:
        """True if the call is one that this fault is about, spent or not."""
        kind = EFFECTS[self.effect].kind
        return (
            self.operation in (facts.operation, EVERY_OPERATION)
            and fits(kind, facts.operation, known)
            and (kind != "ranged" or facts.first is not None)
            and all(self._accepts(name, facts) for name in self.declared)
        )

    def _accepts(self, name: str, facts: Facts) -> bool:
        """True if the call agrees with one declared field; those of the effect say nothing about calls."""
        wanted = self.declared[name]
        if name in _SAME:
            return bool(getattr(facts, _SAME[name]) == wanted)
        if name == "path":
            return wanted in facts.path
        return name != "offset" or facts.covers(wanted)

    def text(self, name: str, default: str = "") -> str:
        """A declared text field of the effect."""
        return str(self.declared.get(name, default))

    def number(self, name: str, default: int = 0) -> int:
        """A declared whole-number field of the effect."""
        return int(self.declared.get(name, default))

    @property
    def seconds(self) -> float:
        """The declared duration of a delay, an outage or a lag in seconds."""
        return float(self.declared["seconds"])

    @property
    def headers(self) -> dict[str, str]:
        """The declared headers of an `error` or `html`."""
        return dict(self.declared.get("headers", {}))

    def as_json(self) -> dict[str, Any]:
        """The declaration with its id and counts."""
        counts = {"consumed": self.consumed, "unconsumed": self.unconsumed, "holding": self.holding}
        times = ANY_TIMES if self.times is None else self.times
        return {
            **self.declared,
            "times": times,
            "skip": self.skip,
            "id": self.id,
            "remaining": self.remaining,
            **counts,
        }


class FaultBook:
    """All declared faults of one emulator, oldest first.

    Args:
        operations: every operation the emulator knows, SDK camel-case.
    """

    def __init__(self, operations: Mapping[str, Operation]) -> None:
        self._operations = operations
        self._faults: dict[str, Fault] = {}
        self._numbers = itertools.count(1)
        self._outage_ends = float("-inf")

    @property
    def waiting(self) -> bool:
        """True if some fault may still hit; if not, nobody needs to find out what a call is about."""
        return any(fault.remaining != 0 for fault in self._faults.values())

    def declare(self, body: Any) -> Fault:
        """Add one fault.

        Raises:
            FaultError: the declaration is not one; nothing was added.
        """
        validate(body, self._operations)
        times = body.get("times", 1)
        fault = Fault(
            id=f"fault-{next(self._numbers)}",
            operation=body["operation"],
            effect=body["effect"],
            times=None if times == ANY_TIMES else times,
            skip=body["nth"] - 1 if "nth" in body else body.get("skip", 0),
            declared=dict(body),
            random=Random(body.get("seed", 0)),  # noqa: S311 - meant to be repeatable
        )
        self._faults[fault.id] = fault
        return fault

    def take(self, facts: Facts) -> Fault | None:
        """The fault that this call meets, if any; it counts as consumed from now on."""
        known = self._operations.get(facts.operation, Operation())
        for fault in self._faults.values():
            if fault.remaining == 0 or not fault.matches(facts, known):
                continue
            if fault.passed < fault.skip:
                fault.passed += 1
                continue
            if fault.random.random() >= fault.declared.get("probability", 1):
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
