"""JSON that a client sent: read strictly, so that what comes out can be stored, compared and sent back. Pure."""

import json
import math
from typing import Any, NoReturn

from hypersdk_emulator.errors import ServiceError

MAX_DEPTH = 64  # of lists and objects in each other; the deepest model of the SDK has about ten
_MAX_NUMBER = 1 << 63  # what an SDK's `long` holds, and a column of the database


def refused(why: str) -> ServiceError:
    """The 400 for a body that cannot be read."""
    return ServiceError(400, "CannotParseRequest", why)


def parse(data: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ServiceError: 400 for what is not JSON, or holds a number or a text that no client could mean: infinite, longer
            than 64 bits, half a character; or that is nested too deep.
    """
    try:
        value = json.loads(data, parse_constant=_constant)
    except (ValueError, RecursionError):
        raise refused("The body is not JSON") from None
    _check(value, 0)
    return value


def _constant(name: str) -> NoReturn:
    raise ValueError(name)


def _check(value: Any, depth: int) -> None:
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, dict | list):
        if depth == MAX_DEPTH:
            raise refused(f"The body is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, dict):
            for name in value:
                _check_text(name)
        for each in value.values() if isinstance(value, dict) else value:
            _check(each, depth + 1)
    elif isinstance(value, int) and not -_MAX_NUMBER <= value < _MAX_NUMBER:
        raise refused("A number in the body has more than 64 bits")
    elif isinstance(value, float) and not math.isfinite(value):
        raise refused("A number in the body is not finite")


def _check_text(text: str) -> None:
    if not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text):
        raise refused("A text in the body has half a character (a lone surrogate)")
