"""Bytes of a settings file as text, whatever editor wrote them."""

from __future__ import annotations

import codecs

from hypersdk import errors

# A byte order mark decides; Windows tools write UTF-16 ("> file" in PowerShell 5) and UTF-8 with a mark (Notepad).
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decode(data: bytes, name: str) -> str:
    """Decode a settings file: UTF-8, or UTF-16 with a byte order mark; every kind of line end becomes a line feed.

    Args:
        data: the file's bytes.
        name: the file's name for messages.

    Raises:
        ConfigError: not text; names the line.
    """
    encoding = "utf-8"
    for mark, marked in _MARKS:
        if data.startswith(mark):
            data, encoding = data[len(mark) :], marked
            break
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].decode(encoding, "replace").count("\n") + 1
        raise errors.ConfigError(
            f"{name}:{line}: not {encoding.upper()} text", resource=name, hint="save the file as UTF-8"
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise errors.ConfigError(f"{name}:{line}: a NUL byte; this is not a text file", resource=name)
    return text.replace("\r\n", "\n").replace("\r", "\n")
