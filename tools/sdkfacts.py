"""What the clients of Oracle's SDK send and expect, read from their generated source and models."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

_METHOD = re.compile(
    r'^        resource_path = "(?P<path>[^"]*)"\n        method = "(?P<method>[A-Z]+)"\n'
    r'        operation_name = "(?P<name>\w+)"$',
    re.MULTILINE,
)
_BASE = re.compile(r"'base_path': '([^']*)'")
_QUERY = re.compile(r"query_params = \{\n(.*?)\n        \}", re.DOTALL)
_QUERY_NAME = re.compile(r'^            "([^"]+)":', re.MULTILINE)
_BODY = re.compile(r"body=(\w+)")
_REPLY = re.compile(r'response_type="(?:list\[)?(\w+)\]?"')


@dataclass(frozen=True)
class Operation:
    """One call of the SDK.

    Args:
        name: in camel case, as routes and faults have it.
        method: HTTP method.
        path: with the service's base path.
        asked: names of query parameters, and of the fields of the body's model.
        model: name of the reply's model, or empty.
        shown: names of its fields.
    """

    name: str
    method: str
    path: str
    asked: tuple[str, ...]
    model: str
    shown: tuple[str, ...]


@cache
def operations(client: str, module: str) -> tuple[Operation, ...]:
    """The calls of a client, in alphabetical order.

    Args:
        client: name of its class.
        module: the module of its service, such as oci.core.
    """
    service = importlib.import_module(module)
    source = inspect.getsource(inspect.getmodule(getattr(service, client)))
    base = _BASE.search(source)
    assert base is not None, f"{client}: no base path"
    found = [
        _operation(chunk, base[1].rstrip("/"), service.models)
        for chunk in source.split("\n    def ")
        if _METHOD.search(chunk)
    ]
    assert found, f"{client}: no operations"
    return tuple(sorted(found, key=lambda operation: operation.name))


def _operation(chunk: str, base: str, models: Any) -> Operation:
    """The call that a method of the client makes, from the method's source."""
    sent, query, body, reply = (each.search(chunk) for each in (_METHOD, _QUERY, _BODY, _REPLY))
    assert sent is not None
    given = body and re.search(rf":param oci\.[\w.]+\.models\.(\w+) {body[1]}:", chunk)
    model = reply[1] if reply and hasattr(models, reply[1]) else ""
    return Operation(
        name="".join(word[:1].upper() + word[1:] for word in sent["name"].split("_")),
        method=sent["method"],
        path=base + sent["path"],
        asked=(*(_QUERY_NAME.findall(query[1]) if query else ()), *(_fields(models, given[1]) if given else ())),
        model=model,
        shown=_fields(models, model) if model else (),
    )


def _fields(models: Any, name: str) -> tuple[str, ...]:
    return tuple(getattr(models, name)().attribute_map.values())
