"""Retention rules: what they protect, for how long, and how they may change. Pure.

Sources: "Data Retention Rules" in OCI's documentation: a rule holds for each object from its last modification; a rule
without a duration holds until it is deleted; a lock needs 14 days of notice, can be changed or taken back until it
comes into force, and lets only the duration grow afterwards. The SDK's UpdateRetentionRuleDetails: a lock without a
duration is an error. Codes but InvalidRetentionRuleDetails are guesses: nobody published the others.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from hypersdk_emulator.errors import ServiceError

DAY_SECONDS = 86_400
YEAR_DAYS = 365
LOCK_NOTICE_SECONDS = 14 * DAY_SECONDS
MAX_RULES = 100  # OCI documentation, "Data Retention Rules": at most 100 of one bucket
UNITS = ("DAYS", "YEARS")
NEVER = float("inf")
Rule = Mapping[str, Any]


def seconds(duration: Mapping[str, Any] | None) -> float:
    """How long a duration is; without one, for ever."""
    if duration is None:
        return NEVER
    return float(duration["timeAmount"] * (YEAR_DAYS if duration["timeUnit"] == "YEARS" else 1) * DAY_SECONDS)


def protected_until(rules: Iterable[Rule], modified: float) -> float:
    """Until when an object that was last modified at a moment is protected; 0 without rules."""
    return max((modified + seconds(rule.get("duration")) for rule in rules), default=0.0)


def protecting(rules: Iterable[Rule], modified: float, now: float) -> Rule | None:
    """A rule that protects such an object now, or None."""
    return next((rule for rule in rules if modified + seconds(rule.get("duration")) > now), None)


def locked(rule: Rule, now: float) -> bool:
    """True if the rule's lock has come into force."""
    return rule.get("timeRuleLocked") is not None and moment(rule["timeRuleLocked"]) <= now


def moment(text: Any) -> float:
    """A time in RFC 3339, seconds since the epoch.

    Raises:
        ServiceError: 400 if it is none.
    """
    try:
        parsed = dt.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise bad("timeRuleLocked must be a time in RFC 3339") from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)).timestamp()


def bad(text: str) -> ServiceError:
    """400 for details that make no rule."""
    return ServiceError(400, "InvalidRetentionRuleDetails", text)


def details(body: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Name, duration and lock of a new rule, or of a changed one.

    Args:
        body: The details as they came.
        now: Virtual now.

    Raises:
        ServiceError: 400 for a bad duration, or a lock that comes too soon or without a duration.
    """
    name, lock = body.get("displayName"), body.get("timeRuleLocked")
    if name is not None and not isinstance(name, str):
        raise bad("displayName must be a text")
    duration = _duration(body.get("duration"))
    if lock is not None:
        if duration is None:
            raise bad("timeRuleLocked needs a duration: a rule without one cannot be locked")
        if moment(lock) < now + LOCK_NOTICE_SECONDS:
            raise bad("timeRuleLocked must be at least 14 days ahead")
    return {"displayName": name, "duration": duration, "timeRuleLocked": lock}


def _duration(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    amount = value.get("timeAmount") if isinstance(value, dict) else None
    if not isinstance(amount, int) or isinstance(amount, bool) or amount < 1 or value.get("timeUnit") not in UNITS:
        raise bad("duration needs timeAmount and timeUnit DAYS or YEARS")
    return {"timeAmount": amount, "timeUnit": value["timeUnit"]}


def changed(rule: Rule, body: Mapping[str, Any], now: float) -> dict[str, Any]:
    """A rule with the details of an update; what these leave out stays.

    Raises:
        ServiceError: 400 for bad details, 409 for what a locked rule does not let happen.
    """
    names = ("displayName", "duration", "timeRuleLocked")
    if not locked(rule, now):
        merged = {name: body.get(name, rule.get(name)) for name in names}
        if merged["timeRuleLocked"] == rule.get("timeRuleLocked") and merged["duration"] is not None:
            kept = {"timeRuleLocked": merged.pop("timeRuleLocked")}
            return {**rule, **details(merged, now), **kept}  # the notice was given when the lock was set
        return {**rule, **details(merged, now)}
    if any(name in body and body[name] != rule.get(name) for name in ("displayName", "timeRuleLocked")):
        raise refused(rule, "only its duration may be changed")
    longer = _duration(body.get("duration", rule["duration"]))
    if longer is None or seconds(longer) < seconds(rule["duration"]):
        raise refused(rule, "its duration may only grow")
    return {**rule, "duration": longer}


def refused(rule: Rule, why: str) -> ServiceError:
    """409 for a locked rule."""
    return ServiceError(409, "RetentionRuleLocked", f"The retention rule '{rule['id']}' is locked: {why}")
