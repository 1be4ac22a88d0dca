"""Fields of a JSON body: read with the type they must have, refused as OCI does otherwise."""

from collections.abc import Mapping
from typing import Any

from hypersdk_emulator.errors import invalid_parameter, missing_parameter

MAX_NAME = 255


def optional_text(body: Mapping[str, Any], name: str) -> str | None:
    """A text that may be absent or null, but not empty."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value or len(value) > MAX_NAME:
        raise invalid_parameter(f"{name} must be a text of 1 to {MAX_NAME} characters")
    return value


def text(body: Mapping[str, Any], name: str, most: int = MAX_NAME) -> str:
    """A text that must be there."""
    value = body.get(name)
    if value is None:
        raise missing_parameter(name)
    if not isinstance(value, str) or not value or len(value) > most:
        raise invalid_parameter(f"{name} must be a text of 1 to {most} characters")
    return value


def tags(body: Mapping[str, Any]) -> dict[str, str] | None:
    """The free-form tags, or None if the body does not speak of them."""
    value = body.get("freeformTags")
    if value is None:
        return None
    if not isinstance(value, dict) or not all(isinstance(tag, str) for tag in value.values()):
        raise invalid_parameter("freeformTags must be an object of texts")
    return dict(value)


def defined_tags(body: Mapping[str, Any]) -> dict[str, dict[str, Any]] | None:
    """The defined tags, namespace by namespace, or None if the body does not speak of them."""
    value = body.get("definedTags")
    if value is None:
        return None
    if not isinstance(value, dict) or not all(isinstance(keys, dict) for keys in value.values()):
        raise invalid_parameter("definedTags must be an object of objects")
    return dict(value)


def optional_object(body: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """A JSON object that may be absent or null."""
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise invalid_parameter(f"{name} must be an object")
    return value


def optional_flag(body: Mapping[str, Any], name: str) -> bool | None:
    """True, false, or None if absent."""
    value = body.get(name)
    if not isinstance(value, bool | None):
        raise invalid_parameter(f"{name} must be true or false")
    return value


def optional_whole(body: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    """A whole number of a range, or None if absent."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise invalid_parameter(f"{name} must be a whole number from {least} to {most}")
    return value


def optional_texts(body: Mapping[str, Any], name: str) -> list[str]:
    """A list of texts; empty if absent."""
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise invalid_parameter(f"{name} must be a list of texts")
    return list(value)


def query_flag(query: Mapping[str, str], name: str, *, default: bool) -> bool:
    """A query parameter that is `true` or `false`."""
    value = query.get(name)
    if value is None:
        return default
    if value.lower() not in ("true", "false"):
        raise invalid_parameter(f"{name} must be true or false")
    return value.lower() == "true"
