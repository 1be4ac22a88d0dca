"""What must come of every cell of the fault matrix, and the page that says so.

A cell's first word is what comes of it if the fault hits once, the second if it lasts: `ok` (the right bytes),
`believed` (the service itself says something wrong, and nothing else says otherwise) or an error's class. One word: a
fault that lasts is not tried, because it changes nothing, cannot last, or would say again what another column says. No
word: nor is one that hits once, for the same reason.
"""

from __future__ import annotations

from collections.abc import Mapping

from fault_matrix import ROWS, VERBS

from hypersdk import errors

SHORT = {
    "list": "list",
    "head": "head",
    "get": "ranged get",
    "put": "put",
    "part": "part",
    "commit": "commit",
    "cp_list": "cp: list",
    "cp_get": "cp: get",
    "cp_put": "cp: put",
    "across_get": "cp across: get",
    "across_part": "cp across: part",
    "image": "create image",
    "export": "export",
    "work": "work request",
}
"""Columns by the names that rows use here."""

_EXPORTS = ("image", "export", "work")
_COPIES = ("cp_list", "cp_get", "cp_put", "across_get", "across_part")


def _row(default: str, **exceptions: str) -> dict[str, str]:
    """One row: what comes of it in most columns, and in the others; `exports` and `copies` stand for several."""
    once = default.split(maxsplit=1)[0]
    groups = dict.fromkeys(_EXPORTS, exceptions.pop("exports", once))
    groups |= dict.fromkeys(_COPIES, exceptions.pop("copies", once))
    return {name: exceptions.get(name, groups.get(name, default)) for name in SHORT}


OUTCOMES: Mapping[str, Mapping[str, str]] = {
    "error 400 InvalidParameter": _row("RequestRefused", export="ok RequestRefused"),
    "error 401 NotAuthenticated": _row(
        "NotAuthenticated",
        get="ok Interrupted",
        part="ok Interrupted",
        commit="ok Interrupted",
        exports="ok",
        copies="ok",
        cp_list="NotAuthenticated",
    ),
    "error 404 NotAuthorizedOrNotFound": _row("NotFoundError", head="ok PermissionDenied", work="ok ok"),
    "error 409 IncorrectState": _row(
        "StateConflict", head="RequestRefused", image="ok Interrupted", export="ok Interrupted"
    ),
    "error 409 ConcurrentObjectUpdate": _row("ok BusyError", head="RequestRefused"),
    "error 409 InvalidatedRetryToken": _row("RequestRefused", copies=""),
    "error 409 ResourceLocked": _row(
        "ok BusyError", head="RequestRefused", exports="ok BusyError", work="ok Interrupted"
    ),
    "error 412 NoEtagMatch": _row(
        "PreconditionFailed",
        get="ok ObjectChanged",
        cp_get="ok ObjectChanged",
        cp_put="ok PreconditionFailed",
        across_get="ok ObjectChanged",
        across_part="ok ObjectChanged",
    ),
    "error 429 TooManyRequests retry-after: 1": _row(
        "ok ThrottledError", exports="ok ThrottledError", work="ok Interrupted"
    ),
    "error 429 TooManyRequests connection: close": _row("ok ThrottledError"),
    "error 500 InternalServerError": _row("ok ServiceError"),
    "error 503 ServiceUnavailable": _row(
        "ok ServiceError", exports="ok ServiceError", work="ok Interrupted", copies="ok ServiceError"
    ),
    "html 200": _row("ok ReplyRefused", exports="ok ReplyRefused", work="ok Interrupted"),
    "html 407": _row("AuthError"),
    "html 503": _row("ok ServiceError", copies=""),
    "redirect http://127.0.0.1:9": _row("ok ReplyRefused"),
    "not-modified": _row("ok ReplyRefused"),
    "reset": _row("ok NetworkError", exports="ok NetworkError", work="ok Interrupted", copies="ok NetworkError"),
    "reset 10": _row("ok", list="ok NetworkError", get="ok NetworkError"),
    "lost-response": _row("ok NetworkError", exports="ok NetworkError", work="ok Interrupted"),
    "outage 0.3": _row("ok", copies=""),
    "delay 0.02": _row("ok", copies=""),
    "hold": _row("ok", copies=""),
    "hold-before": _row("ok", copies=""),
    "drip 500000": _row("ok", copies=""),
    "stall 10": _row("ok", copies=""),
    "cut-body 10": _row(
        "ok", list="ok NetworkError", get="ok NetworkError", exports="ok NetworkError", work="ok Interrupted"
    ),
    "truncated 10": _row("ok", list="ok NetworkError", get="ok NetworkError"),
    "short-body 10": _row("ok", list="ok ReplyRefused", get="ok ReplyRefused"),
    "flip-byte 10": _row(
        "ok",
        list="ok ReplyRefused",
        get="VerificationError",
        cp_get="ok VerificationError",
        across_get="VerificationError",
    ),
    "gzip": _row("ok", get="ok ReplyRefused", put="ok ReplyRefused", part="ok ReplyRefused"),
    "wrong-length 7": _row("ok NetworkError", head="believed", get="ok ReplyRefused", commit="ok ok"),
    "wrong-length -7": _row("ok", head="believed", get="ok ReplyRefused"),
    "no-length": _row("ok", head="ok ReplyRefused"),
    "whole-body": _row("ok ReplyRefused"),
    "shifted-range": _row("ok ReplyRefused"),
    "short-range": _row("ok ReplyRefused"),
    "other-total": _row("ok ReplyRefused"),
    "no-content-range": _row("ok ReplyRefused"),
    "stale-etag": _row("ok", head="believed", get="ok ReplyRefused"),
    "object-replaced": _row("ok ObjectChanged", cp_get="ok"),
    "early-refusal": _row("RequestRefused"),
    "cut-request 10": _row("ok NetworkError"),
    "stall-request 10": _row("ok", copies=""),
    "drip-request 5000000": _row("ok", copies=""),
    "flip-request 10": _row("ok NetworkError", part="ok ReplyRefused"),
    "store-flipped 10": _row("ok ReplyRefused"),
    "list-lags 60": _row("believed", cp_list="believed"),
    "list-drops 1": _row("believed"),
    "empty-page": _row("ok"),
    "small-pages 1": _row("ok ok"),
    "work-request-fails": _row("OperationFailed"),
    "work-request-stuck": _row("ok Interrupted", exports="ok Interrupted"),
    "work-request-gone": _row("ok"),
    "export-without-object": _row("OperationFailed"),
    "export-all-zero": _row("VerificationError"),
}
"""By the name of the row. Cells of calls that a row's fault is not for are of no account."""


def expected() -> dict[tuple[str, str], list[str]]:
    """What must come of each cell, by names of row and column."""
    return {
        (row.name, SHORT[short]): words.split()
        for row in ROWS
        for short, words in OUTCOMES[row.name].items()
        if words and row.hits(VERBS[SHORT[short]])
    }


def _shown(word: str) -> str:
    if word in ("ok", "believed"):
        return {"ok": "right", "believed": "believed"}[word]
    return f"{getattr(errors, word).exit_code} `{word}`"


def page() -> str:
    """`docs/fault-outcomes.md`."""
    cells = expected()
    lines = [_ABOVE, "| Fault | " + " | ".join(VERBS) + " |", "|---" * (len(VERBS) + 1) + "|"]
    for row in ROWS:
        found = [cells.get((row.name, column)) for column in VERBS]
        shown = ["-" if words is None else " / ".join(map(_shown, words)) for words in found]
        lines.append(f"| `{row.name}` | " + " | ".join(shown) + " |")
    return "\n".join([*lines, ""])


_ABOVE = """# What comes of faults

Made by `python tools/fault_outcomes.py`; each cell is proven by `tests/faults/test_matrix.py`.

A row is a [fault of the emulator](emulator-testing.md#faults), a column what hyperexport does and which of its calls
meets the fault: a list (ListObjects), a look at an object (HeadObject), a download in ranges (GetObject), a small
object (PutObject), a file (UploadPart, CommitMultipartUpload), `cp -r` of three objects down (ListObjects, GetObject)
and of three files up (PutObject), `cp` of an object from one bucket to another (GetObject, UploadPart), and an export
(CreateImage, ExportImage, GetWorkRequest). One object's failure ends no other.

- `right`: it succeeds, with the right bytes. After the slash stands what comes if the fault does not go away.
- A number is the exit status of the command, behind it stands the error of the library.
- `Interrupted`: it waits for the cloud or for a login, without an end of its own; somebody stopped it, and the same
  command resumes.
- `believed`: the service itself says something wrong, and nothing else says otherwise; a read that follows a wrong
  look at an object is refused.
- `-`: there is no such fault for this call, or it would say again what another column says.

Whatever comes, no wrong file stands under a final name, no wrong object stays in the bucket, each object of a tree has
exactly one outcome, and what is left in the tenancy, so that the same command goes on with it (an unfinished upload,
what an export made), is named by the last lines.
"""
