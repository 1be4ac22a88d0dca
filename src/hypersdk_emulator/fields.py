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
