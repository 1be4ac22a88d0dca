"""XML bodies: read without document types and entities, written from pairs of names and values. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from xml.parsers import expat
from xml.sax.saxutils import escape

from hypersdk_emulator.errors import ServiceError

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
MAX_DEPTH = 10
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\r\ufffe\uffff]")

Content: TypeAlias = "str | int | float | bool | Iterable[tuple[str, Content]] | None"


@dataclass
class Node:
    """An element: its name without a prefix, its text, its children."""

    name: str
    text: str = ""
    children: "list[Node]" = field(default_factory=list)

    def all(self, name: str) -> "list[Node]":
        """The children of this name."""
        return [child for child in self.children if child.name == name]

    def get(self, name: str) -> str | None:
        """The text of the first child of this name, or None."""
        found = self.all(name)
        return found[0].text.strip() if found else None


def malformed(text: str = "does not fit the published schema") -> ServiceError:
    """400 for a body that is no good XML."""
    return ServiceError(400, "MalformedXML", f"The XML you provided was not well-formed or {text}.")


def _refuse(*_: Any) -> None:
    raise malformed("has a document type, which is not allowed")


def parse(data: bytes, root: str) -> Node:
    """Read a document.

    Args:
        data: The body.
        root: Name that its root element must have.

    Raises:
        ServiceError: 400 for no XML, another root, too deep nesting, or a document type.
    """
    top = Node("")
    stack = [top]
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)

    def start(name: str, _: dict[str, str]) -> None:
        if len(stack) > MAX_DEPTH:
            raise malformed("is nested too deeply")
        node = Node(name.rpartition(":")[2])
        stack[-1].children.append(node)
        stack.append(node)

    def characters(data: str) -> None:
        stack[-1].text += data

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: stack.pop()
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = _refuse
    try:
        parser.Parse(data, True)  # noqa: FBT003 - expat takes no keywords
    except (expat.ExpatError, ValueError):
        raise malformed() from None
    if top.children[0].name != root:
        raise malformed()
    return top.children[0]


def document(root: str, content: Content, namespace: str = NAMESPACE) -> bytes:
    """Write a document.

    Args:
        root: Name of the root element.
        content: Its text, or (name, content) pairs; a pair whose content is None is left out.
        namespace: Default namespace; empty for none.
    """
    opening = f'{root} xmlns="{namespace}"' if namespace else root
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{opening}>{_inner(content)}</{root}>'.encode()


def _inner(content: Content) -> str:
    if isinstance(content, bool):
        return str(content).lower()
    if isinstance(content, str | int | float):
        return _CONTROLS.sub(lambda found: f"&#x{ord(found[0]):x};", escape(str(content)))
    pairs = content or ()
    return "".join(f"<{name}>{_inner(each)}</{name}>" for name, each in pairs if each is not None)
