"""Lifecycle rules: what they say, which names they mean, and when they act on what. Pure.

Sources: the SDK's models ObjectLifecycleRule and ObjectNameFilter: ages count from the last modification, days end at
midnight UTC, a year has 365.2425 days, exclusions come before inclusions, how a glob pattern is read. OCI's "Object
Lifecycle Management": a previous version's age counts from when it ceased to be the latest; uploads have no name
filters; a retention rule is stronger. What OCI does within minutes or a day after midnight happens at midnight here.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypersdk_emulator.errors import ServiceError, invalid_parameter

MAX_RULES = 1000
MAX_PATTERN = 1024
DAY_SECONDS = 86_400
YEAR_DAYS = 365.2425
NEVER = float("inf")
ACTIONS = ("DELETE", "ARCHIVE", "INFREQUENT_ACCESS", "ABORT")
"""The stronger first: what is deleted need not be moved."""
TARGETS = ("objects", "previous-object-versions", "multipart-uploads")
_LONELY_RANGE = 3  # characters of `a-z`


@dataclass(frozen=True)
class NameFilter:
    """Which objects a rule means: none of the exclusions, and one of the inclusions if there are any."""

    prefixes: tuple[str, ...] = ()
    included: tuple[re.Pattern[str], ...] = ()
    excluded: tuple[re.Pattern[str], ...] = ()

    def takes(self, name: str) -> bool:
        """True if the rule is about this name."""
        if any(pattern.fullmatch(name) for pattern in self.excluded):
            return False
        if not self.prefixes and not self.included:
            return True
        return name.startswith(self.prefixes) or any(pattern.fullmatch(name) for pattern in self.included)


@dataclass(frozen=True)
class Rule:
    """A checked rule; `age` in seconds."""

    name: str
    action: str
    target: str
    age: float
    enabled: bool
    names: NameFilter


@dataclass(frozen=True)
class Subject:
    """Something that rules may act on.

    Args:
        target: One of `TARGETS`.
        name: Object name.
        since: When its age began, virtual time.
        tier: Storage tier; of no meaning for uploads.
        protected: Until when it must not be deleted; 0 if it is not protected.
    """

    target: str
    name: str
    since: float
    tier: str = "Standard"
    protected: float = 0.0


@dataclass(frozen=True)
class Event:
    """What happens to a subject next, and when."""

    due: float
    action: str


def midnight(moment: float) -> float:
    """The first midnight UTC at or after a moment."""
    return float(-(-moment // DAY_SECONDS) * DAY_SECONDS)


# ---------------------------------------------------------------- reading


def read(items: Any, *, auto_tiering: bool = False) -> tuple[Rule, ...]:
    """The rules of a policy.

    Args:
        items: As they came in a request.
        auto_tiering: The bucket moves objects to Infrequent Access by itself, so no rule may.

    Raises:
        ServiceError: 400 with the place of the mistake.
    """
    if not isinstance(items, list) or len(items) > MAX_RULES:
        raise invalid_parameter(f"items must be a list of at most {MAX_RULES} rules")
    rules = tuple(_rule(item, f"items[{number}]") for number, item in enumerate(items))
    names = [rule.name for rule in rules]
    if len(set(names)) != len(names):
        raise invalid_parameter("items: the names of rules must differ")
    if auto_tiering and any(rule.action == "INFREQUENT_ACCESS" for rule in rules):
        raise invalid_parameter("items: INFREQUENT_ACCESS is for buckets without auto-tiering")
    return rules


def _rule(item: Any, place: str) -> Rule:
    if not isinstance(item, dict):
        raise invalid_parameter(f"{place} must be an object")
    action, target = item.get("action"), item.get("target") or "objects"
    amount, unit, name, enabled = (item.get(key) for key in ("timeAmount", "timeUnit", "name", "isEnabled"))
    if action not in ACTIONS or target not in TARGETS:
        raise invalid_parameter(f"{place}: action is one of {', '.join(ACTIONS)}, target of {', '.join(TARGETS)}")
    if (action == "ABORT") != (target == "multipart-uploads"):
        raise invalid_parameter(f"{place}: ABORT is for multipart-uploads, and nothing else is")
    if not isinstance(amount, int) or isinstance(amount, bool) or amount < 1 or unit not in ("DAYS", "YEARS"):
        raise invalid_parameter(f"{place}: timeAmount is a whole number from 1, timeUnit DAYS or YEARS")
    if not isinstance(name, str) or not name:
        raise invalid_parameter(f"{place}: name must be a text")
    if not isinstance(enabled, bool):
        raise invalid_parameter(f"{place}: isEnabled must be true or false")
    names = NameFilter() if item.get("objectNameFilter") is None else _names(item["objectNameFilter"], place)
    if target == "multipart-uploads" and names != NameFilter():
        raise invalid_parameter(f"{place}: a rule for multipart-uploads has no objectNameFilter")
    days = amount * (YEAR_DAYS if unit == "YEARS" else 1)
    return Rule(name, action, target, days * DAY_SECONDS, enabled, names)


def _names(value: Any, place: str) -> NameFilter:
    if not isinstance(value, dict):
        raise invalid_parameter(f"{place}: objectNameFilter must be an object")
    lists = {}
    for key in ("inclusionPrefixes", "inclusionPatterns", "exclusionPatterns"):
        texts = [] if value.get(key) is None else value[key]
        if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
            raise invalid_parameter(f"{place}: {key} must be a list of texts")
        lists[key] = texts
    try:
        included = tuple(glob(text) for text in lists["inclusionPatterns"])
        excluded = tuple(glob(text) for text in lists["exclusionPatterns"])
    except ValueError as error:
        raise invalid_parameter(f"{place}: {error}") from None
    return NameFilter(tuple(lists["inclusionPrefixes"]), included, excluded)


def glob(pattern: str) -> re.Pattern[str]:
    """A glob pattern as the SDK describes it: `*`, `?`, `[set]` or `[a-z]`, and backslash before a plain character.

    Raises:
        ValueError: It is none.
    """
    if not 1 <= len(pattern) <= MAX_PATTERN:
        raise ValueError(f"a pattern has 1 to {MAX_PATTERN} characters")
    text, at = "", 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            text += ".*"
        elif char == "?":
            text += "."
        elif char == "[":
            end = pattern.find("]", at)
            text += _group(pattern[at:end] if end > at else "", pattern)
            at = end + 1
        elif char == "\\":
            if at == len(pattern):
                raise ValueError(f"the pattern {pattern!r} ends with a backslash")
            text += re.escape(pattern[at])
            at += 1
        else:
            text += re.escape(char)
    return re.compile(text, re.DOTALL)


def _group(inside: str, pattern: str) -> str:
    """What stands between brackets: characters, or one range; a hyphen in a set is its first or last character."""
    one_range = len(inside) == _LONELY_RANGE and inside[1] == "-"
    if not inside or inside[0] in "^:" or ("-" in inside[1:-1] and not one_range):
        raise ValueError(f"the pattern {pattern!r} has a bad group")
    if one_range:
        if inside[0] > inside[2]:
            raise ValueError(f"the pattern {pattern!r} has a range that runs backwards")
        return f"[{re.escape(inside[0])}-{re.escape(inside[2])}]"
    return f"[{''.join(re.escape(char) for char in inside)}]"


# ---------------------------------------------------------------- deciding


def next_event(rules: Sequence[Rule], subject: Subject, effective: float) -> Event | None:
    """What the rules do next to a subject, or None.

    Args:
        rules: The policy's.
        subject: As it is now.
        effective: When the policy was set: nothing happens before.
    """
    events = [
        Event(_due(rule, subject, effective), rule.action)
        for rule in rules
        if rule.enabled and rule.target == subject.target and rule.names.takes(subject.name) and _moves(rule, subject)
    ]
    soonest = min(events, key=lambda event: (event.due, ACTIONS.index(event.action)), default=None)
    return None if soonest is None or soonest.due == NEVER else soonest


def _moves(rule: Rule, subject: Subject) -> bool:
    """True if the action would change anything."""
    if rule.action == "ARCHIVE":
        return subject.tier != "Archive"
    return rule.action != "INFREQUENT_ACCESS" or subject.tier == "Standard"


def _due(rule: Rule, subject: Subject, effective: float) -> float:
    moment = midnight(subject.since + rule.age)
    if rule.action == "DELETE" and subject.protected > moment:
        moment = subject.protected if subject.protected == NEVER else midnight(subject.protected)
    return max(moment, effective)


def for_targets(rules: Iterable[Rule]) -> frozenset[str]:
    """The targets that any enabled rule is for."""
    return frozenset(rule.target for rule in rules if rule.enabled)


def policy_not_found(bucket: str) -> ServiceError:
    """404 for a bucket without a policy."""
    return ServiceError(404, "LifecyclePolicyNotFound", f"The bucket '{bucket}' has no lifecycle policy")


def shown(policy: Mapping[str, Any]) -> dict[str, Any]:
    """The SDK's model ObjectLifecyclePolicy."""
    return {"timeCreated": policy["timeCreated"], "items": policy["items"]}
