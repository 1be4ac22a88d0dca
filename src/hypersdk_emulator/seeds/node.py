"""Reads JSON objects with the types they must have; a mistake is named by its place, such as `users[0].id`."""

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, TypeVar

from hypersdk_emulator.clock import LATEST

T = TypeVar("T")

OCID = re.compile(r"ocid1\.[a-z0-9]+\.[a-z0-9]+\.[a-z0-9-]*\.[a-z0-9._-]+")


class SeedError(ValueError):
    """The seed is wrong; the text begins with the place in it."""


class Node:
    """One JSON object of the seed while it is read: typed access, and no key may be left over at the end."""

    def __init__(self, value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise SeedError(f"{place or 'seed'}: expected an object")
        self._left = dict(value)
        self._place = place

    def at(self, key: str) -> str:
        """The place of a key, for messages."""
        return f"{self._place}.{key}" if self._place else key

    def has(self, key: str) -> bool:
        """True if the key is there and not taken yet."""
        return self._left.get(key) is not None

    def take(self, key: str, check: Callable[[Any], bool], says: str, default: Any = ...) -> Any:
        """The value of a key; absent and null mean the default, without a default they are a mistake."""
        value = self._left.pop(key, None)
        if value is None:
            if default is ...:
                raise SeedError(f"{self.at(key)}: missing; expected {says}")
            return default
        if not check(value):
            raise SeedError(f"{self.at(key)}: {value!r} is not {says}")
        return value

    def text(self, key: str, default: Any = ...) -> str:
        """A text that is not empty."""
        return str(self.take(key, lambda v: isinstance(v, str) and v != "", "a text", default))

    def maybe(self, key: str) -> str | None:
        """A text, or None."""
        value = self.take(key, lambda v: isinstance(v, str) and v != "", "a text", None)
        return None if value is None else str(value)

    def ocid(self, key: str) -> str:
        """An OCID."""
        return str(self.take(key, _is_ocid, "an OCID such as ocid1.instance.oc1.iad.aaaa"))

    def maybe_ocid(self, key: str) -> str | None:
        """An OCID, or None."""
        value = self.take(key, _is_ocid, "an OCID such as ocid1.instance.oc1.iad.aaaa", None)
        return None if value is None else str(value)

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        return bool(self.take(key, lambda v: isinstance(v, bool), "true or false", default))

    def whole(self, key: str, default: Any = ...) -> int:
        """A whole number from 1."""
        return int(self.take(key, lambda v: type(v) is int and v >= 1, "a whole number from 1", default))

    def number(self, key: str, default: Any = ...) -> float:
        """A number from 0."""
        return float(self.take(key, is_number, "a number from 0", default))

    def choice(self, key: str, words: tuple[str, ...], default: Any = ...) -> str:
        """One of some words."""
        return str(self.take(key, lambda v: v in words, f"one of {', '.join(words)}", default))

    def mapping(self, key: str) -> dict[str, Any]:
        """A JSON object with free keys; empty if absent."""
        return dict(self.take(key, lambda v: isinstance(v, dict), "an object", {}))

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty if absent."""
        return tuple(self.take(key, lambda v: isinstance(v, list) and all(isinstance(t, str) for t in v), "texts", []))

    def maybe_time(self, key: str) -> float | None:
        """A moment in UTC, in seconds since the epoch, or None."""
        value = self.take(key, lambda v: _moment(v) is not None, "a time such as 2026-01-01T00:00:00Z", None)
        return None if value is None else _moment(value)

    def child(self, key: str) -> "Node":
        """A JSON object that must be there."""
        return Node(self.take(key, lambda v: isinstance(v, dict), "an object"), self.at(key))

    def each(self, key: str, read: Callable[["Node"], T]) -> tuple[T, ...]:
        """A list of JSON objects, each read whole; empty if absent."""
        return tuple(self._each(key, read))

    def _each(self, key: str, read: Callable[["Node"], T]) -> Iterator[T]:
        for n, value in enumerate(self.take(key, lambda v: isinstance(v, list), "a list", [])):
            node = Node(value, f"{self.at(key)}[{n}]")
            result = read(node)
            node.done()
            yield result

    def done(self) -> None:
        """Refuse keys that nobody asked for: they are typing mistakes."""
        for key in self._left:
            raise SeedError(f"{self.at(key)}: no such key in a seed")


def _moment(value: Any) -> float | None:
    """A text with a date, a time and a Z, as seconds since the epoch; None if it is none, or no time of the clock."""
    if not isinstance(value, str) or not value.endswith("Z"):
        return None
    try:
        moment = datetime.fromisoformat(value.removesuffix("Z") + "+00:00").timestamp()
    except (ValueError, OverflowError):
        return None
    return moment if 0 <= moment <= LATEST else None


def _is_ocid(value: Any) -> bool:
    return isinstance(value, str) and OCID.fullmatch(value) is not None


def is_number(value: Any) -> bool:
    """True for a finite number from 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
