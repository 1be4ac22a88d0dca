"""How a request finds its operation: path patterns over the raw (still encoded) path."""

import re
import urllib.parse
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from hypersdk_emulator.errors import ServiceError
from hypersdk_emulator.faultrules import Operation

_FIRST = 3  # segments of a path by which the rows to try are chosen
_MOST_BEGINS = 1000  # for which the rows are kept
Handler = Callable[[Any], Awaitable[web.StreamResponse]]  # takes a Call, which knows its Route: no import in a circle


@dataclass(frozen=True)
class Route:
    """One operation of one service.

    Args:
        operation: The SDK's name of the call in camel case; faults and the log use it.
        service: `objectstorage`, `s3`, `compute`, `identity`, `limits`, `workrequests` or `control`.
        method: HTTP method.
        pattern: Path with `{name}` for one segment and `{name*}` for the rest of the path, slashes included.
        handler: What answers.
        auth: `signed`; `public` = signed, or anonymous where the bucket is public; `par` = token in the path;
            `own` = the handler finds out who calls; `s3` = signed as Amazon S3 has it; `control` = the emulator's own
            calls.
        body_signed: The signature covers the body (all but PutObject and UploadPart, on methods with a body).
        header: Taken only if the request has this header with the value `true`.
        differs: What the emulator does not do as OCI does, for the support table in the docs; empty = nothing known.
    """

    operation: str
    service: str
    method: str
    pattern: str
    handler: Handler
    auth: str = "signed"
    body_signed: bool = True
    header: str = ""
    differs: str = ""


def operations_of(routes: Iterable[Route]) -> dict[str, Operation]:
    """What faults must know about each operation, by its name; the emulator's own calls meet no faults."""
    found: dict[str, Operation] = {}
    for route in routes:
        if route.auth == "control":
            continue
        known = found.get(route.operation, Operation(method=route.method))
        found[route.operation] = replace(
            known,
            services=known.services | {route.service},
            uploads=known.uploads or not route.body_signed,
            in_path=known.in_path or "{object" in route.pattern,
        )
    return found


class Router:
    """Finds the route of a request; the first matching row wins."""

    def __init__(self, routes: Iterable[Route]) -> None:
        every = tuple(routes)
        self.serves_s3 = any(route.auth == "s3" for route in every)  # found by query and headers, too: s3/routes.py
        self._rows = [(_compile(route.pattern), route) for route in every if route.auth != "s3"]
        self._begins = {route: _segments(route.pattern) for _, route in self._rows}
        self._literals = {text for begin in self._begins.values() for text in begin if not text.startswith("{")}
        self._near: dict[tuple[str, ...], list[tuple[re.Pattern[str], Route]]] = {}

    def find(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[Route, dict[str, str]]:
        """The route and the decoded path parameters.

        Args:
            method: HTTP method.
            path: Raw path without the query. Repeated slashes before an object's name count as one.
            headers: Request headers, case-insensitive.

        Raises:
            ServiceError: 404 for an unknown path, 405 for a known one with another method, 400 for bad encoding.
        """
        other = False
        for pattern, route in self._rows_near(path):
            found = pattern.fullmatch(path)
            if found and route.method != method:
                other = True
            elif found and (not route.header or headers.get(route.header, "").lower() == "true"):
                return route, {name: _decode(value) for name, value in found.groupdict().items()}
        if other:
            raise ServiceError(405, "MethodNotAllowed", f"{method} is not allowed here")
        raise ServiceError(404, "NotFound", "No such operation")

    def _rows_near(self, path: str) -> list[tuple[re.Pattern[str], Route]]:
        """The rows whose first segments can be those of a path, in the table's order: few of hundreds."""
        begin = tuple(text if text in self._literals else "" for text in _segments(path))
        if begin not in self._near:
            if len(self._near) > _MOST_BEGINS:
                self._near.clear()
            self._near[begin] = [row for row in self._rows if _agree(self._begins[row[1]], begin)]
        return self._near[begin]


def _segments(path: str) -> list[str]:
    """The first segments of a path or pattern; repeated slashes count as one."""
    return [text for text in path.split("/") if text][:_FIRST]


def _agree(pattern: Sequence[str], begin: Sequence[str]) -> bool:
    pairs = zip(pattern, begin, strict=False)
    return all(mine == theirs or mine.startswith("{") for mine, theirs in pairs)


def _compile(pattern: str) -> re.Pattern[str]:
    text = ""
    for segment in pattern.strip("/").split("/"):
        if segment.endswith("*}"):
            text += f"/(?P<{segment[1:-2]}>.+)"
        elif segment.startswith("{"):
            text += f"/+(?P<{segment[1:-1]}>[^/]+)"
        else:
            text += "/+" + re.escape(segment)
    return re.compile(text if pattern.endswith("*}") else text + "/*", re.DOTALL)


def _decode(value: str) -> str:
    """Percent-decode once; a plus stays a plus."""
    try:
        return urllib.parse.unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise ServiceError(400, "InvalidParameter", "The path is not UTF-8") from None
