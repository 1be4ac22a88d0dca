"""Sizes, durations, switches and tags as people write them."""

from __future__ import annotations

import re
from decimal import Decimal

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?)(b?)", re.IGNORECASE | re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", re.ASCII)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600), "d": Decimal(86400)}
_SWITCHES = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def parse_size(text: str) -> int:
    """Read a size in bytes: "64M" and "64MiB" are 64 * 1024**2, "64MB" is 64 * 10**6.

    "M" alone is read as qemu-img and rclone read it. A fraction of a byte is dropped.

    Raises:
        ValueError: not a size; the message says what is expected.
    """
    match = _SIZE.fullmatch(text.strip())
    if not match or (match[3] and not match[2]):
        raise ValueError(f"not a size: {text!r} (expected a number with K, M, G or T, such as 64M or 1.5GiB)")
    decimal = bool(match[4]) and bool(match[2]) and not match[3]
    return int(Decimal(match[1]) * (1000 if decimal else 1024) ** _POWERS[match[2].lower()])


def parse_duration(text: str) -> float:
    """Read a duration in seconds: "90s", "2h", "1h30m", "500ms"; a bare number is seconds.

    Raises:
        ValueError: not a duration; the message says what is expected.
    """
    stripped = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", stripped, re.ASCII):
        return float(stripped)
    position, total = 0, Decimal(0)
    while match := _DURATION.match(stripped, position):
        total += Decimal(match[1]) * _SECONDS[match[2]]
        position = match.end()
    if not stripped or position != len(stripped):
        raise ValueError(f"not a duration: {text!r} (expected a number with ms, s, m, h or d, such as 90s or 2h)")
    return float(total)


def parse_switch(text: str) -> bool:
    """Read a yes or no: true/false, yes/no, on/off, 1/0.

    Raises:
        ValueError: neither.
    """
    value = _SWITCHES.get(text.strip().lower())
    if value is None:
        raise ValueError(f"not a switch: {text!r} (expected true or false)")
    return value
