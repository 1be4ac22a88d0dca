"""Write docs/errors.md and docs/troubleshooting.md: what every error of every vendor becomes, and what to do about it.

Nothing of the pages stands here: each row is what the product's own translation says of that error, each entry is the
text of its class in `hypersdk.errors`.
Usage: errorpages.py [--check]; with --check nothing is written and the exit status is 1 if a page is out of date.
"""

from __future__ import annotations

import errno
import os
import pathlib
import ssl
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hypersdk import errors
from hypersdk.model import Secret
from hypersdk.storage.local import file_errors
from hypersdk.vendors.oci.calls import connection_error
from hypersdk.vendors.oci.errors import BY_CODE, BY_STATUS, translate
from hypersdk.wire import failures
from hypersdk.wire.request import Request

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
MADE = "Made by `make docs` from the product's source; do not edit."

CURL_NAMES = {
    1: "UNSUPPORTED_PROTOCOL",
    3: "URL_MALFORMAT",
    4: "NOT_BUILT_IN",
    5: "COULDNT_RESOLVE_PROXY",
    6: "COULDNT_RESOLVE_HOST",
    7: "COULDNT_CONNECT",
    16: "HTTP2",
    18: "PARTIAL_FILE",
    28: "OPERATION_TIMEDOUT",
    35: "SSL_CONNECT_ERROR",
    51: "PEER_FAILED_VERIFICATION (before curl 7.62)",
    52: "GOT_NOTHING",
    55: "SEND_ERROR",
    56: "RECV_ERROR",
    58: "SSL_CERTPROBLEM",
    59: "SSL_CIPHER",
    60: "PEER_FAILED_VERIFICATION",
    61: "BAD_CONTENT_ENCODING",
    66: "SSL_ENGINE_INITFAILED",
    77: "SSL_CACERT_BADFILE",
    83: "SSL_ISSUER_ERROR",
    91: "SSL_INVALIDCERTSTATUS",
    92: "HTTP2_STREAM",
    97: "PROXY",
}
"""Errors that HTTP transfers of libcurl can end with (curl.se/libcurl/c/libcurl-errors.html)."""

TIMED_OUT = 28

OTHERS = ((302, "any other 3xx"), (418, "any other 4xx"), (599, "any other 5xx"))
ERRNOS = (
    *("EACCES", "EDQUOT", "EEXIST", "EFBIG", "EIO", "EISDIR", "ELOOP", "EMFILE", "ENAMETOOLONG", "ENOENT", "ENOSPC"),
    *("ENOTDIR", "EPERM", "EROFS", "ESTALE"),
)

WAITS: tuple[tuple[type[errors.HypersdkError], str], ...] = (
    (errors.NetworkError, "while the network is down"),
    (errors.ThrottledError, "as long as the service asks"),
    (errors.StateConflict, "for the resource's state"),
    (errors.NotAuthenticated, "in mid-run, for a login"),
    (errors.CredentialsEnded, "in mid-run, for a login"),
)


@dataclass(frozen=True)
class Row:
    """One error of a vendor and what it is for us."""

    name: str
    error: errors.HypersdkError

    @property
    def cells(self) -> tuple[str, ...]:
        """The columns."""
        kind = type(self.error)
        waits = next((says for each, says in WAITS if issubclass(kind, each)), "")
        todo = (self.error.hint or kind.remedy).replace("|", "\\|").replace("<", "\\<")
        error = f"[{kind.code}](troubleshooting.md#{kind.code})"
        return (self.name, error, again(kind), waits, str(kind.exit_code), todo)


def again(kind: type[errors.HypersdkError]) -> str:
    """Whether the Retrier tries again."""
    if issubclass(kind, errors.ClockSkewed):
        return "in mid-run only"
    if issubclass(kind, errors.NotAuthenticated):
        return "once, signed anew"
    if issubclass(kind, errors.CredentialsEnded):
        return "after a login"
    if issubclass(kind, errors.ThrottledError):
        return "yes, spending time only"
    return "yes" if kind.retryable else "no"


def services() -> Iterator[Row]:
    """Replies of OCI's services."""
    asked: list[tuple[int, str | None, str]] = [(status, code, f"{status} `{code}`") for status, code in BY_CODE]
    asked += [(status, None, f"{status}, any other code") for status in BY_STATUS]
    asked += [(status, None, name) for status, name in OTHERS]
    for status, code, name in sorted(asked, key=lambda each: (each[2].startswith("any"), each[0], each[1] is None)):
        error = translate(status, code, "", resource="it", request_id=None, retry_after=None, what="call")
        yield Row(name, error)


def lines() -> Iterator[Row]:
    """Failures below HTTP, of the wire."""
    request = Request("GET", Secret("https://host/"), "it")
    for number, name in CURL_NAMES.items():
        for connected in (True, False) if number == TIMED_OUT else (True,):
            failure = failures.Failure(number, "", connected, 0, read_timeout=60.0, ca_bundle="the CA bundle")
            state = {True: ", once connected", False: ", while connecting"}[connected] if number == TIMED_OUT else ""
            yield Row(f"{number} `{name}`{state}", failures.translate(request, failure))
    failure = failures.Failure(56, "", connected=False, proxy_status=407, read_timeout=60.0, ca_bundle="the CA bundle")
    yield Row("the proxy answers CONNECT with 407", failures.translate(request, failure))


def calls() -> Iterator[Row]:
    """Failures below HTTP, of the SDK's clients."""
    from urllib3 import exceptions as http

    raised: tuple[tuple[str, BaseException], ...] = (
        ("no connection (`NewConnectionError`)", http.NewConnectionError(None, "refused")),  # type: ignore[arg-type]  # unused
        ("no connection in time (`ConnectTimeoutError`)", http.ConnectTimeoutError("timed out")),
        ("the proxy does not answer (`ProxyError`)", http.ProxyError("no", OSError("no"))),
        ("no answer in time (`ReadTimeoutError`)", http.ReadTimeoutError(None, "", "timed out")),  # type: ignore[arg-type]  # unused
        ("the connection was cut (`ProtocolError`)", http.ProtocolError("cut")),
        ("a certificate that is not trusted", ssl.SSLCertVerificationError("not trusted")),
        ("the proxy answers CONNECT with 407", http.ProxyError("", OSError("Tunnel connection failed: 407 Auth"))),
        ("an impossible URL or proxy", ValueError("no host")),
    )
    for name, error in raised:
        yield Row(name, connection_error("call", "it", error))


def files() -> Iterator[Row]:
    """Errors of the operating system."""
    for name in ERRNOS:
        number = getattr(errno, name)
        try:
            with file_errors("it"):
                raise OSError(number, os.strerror(number), "it")
        except errors.HypersdkError as error:
            yield Row(f"`{name}`", error)
    yield Row("any other", errors.FileError("it"))


def table(title: str, says: str, head: str, rows: Iterable[Row]) -> str:
    """A section with a table."""
    names = (head, "Our error", "Tried again", "Waits", "Exit", "What to do")
    lines = [names, ("---",) * len(names), *(row.cells for row in rows)]
    return f"## {title}\n\n{says}\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def errors_page() -> str:
    """docs/errors.md."""
    parts = [
        f"""# Errors of the cloud, the line and the disk

{MADE}

What becomes of every error that a vendor can give us. A service's code decides first, then the status; its sentences
never do. How long something is tried again: [How long it tries](configuration.md#how-long-it-tries). What an error of
ours means, and what to do about it: [Troubleshooting](troubleshooting.md).""",
        table(
            "OCI's services",
            "Status and code of an error reply, of Compute, Object Storage, Identity and all others.",
            "Reply",
            services(),
        ),
        table("Bodies on the line", "Error numbers of libcurl, which moves the bodies.", "libcurl", lines()),
        table("Calls", "What the SDK's HTTP library raises when no answer comes.", "What happened", calls()),
        table("Files", "Errors of the operating system, by their names in `errno`.", "errno", files()),
    ]
    return "\n\n".join(parts) + "\n"


def kinds() -> list[type[errors.HypersdkError]]:
    """Every kind of error, in the order of the source."""
    found = [each for each in vars(errors).values() if isinstance(each, type)]
    return [each for each in found if issubclass(each, errors.HypersdkError)]


def entry(kind: type[errors.HypersdkError]) -> str:
    """One entry of docs/troubleshooting.md."""
    parent = kind.__mro__[1]
    facts = [f"`hypersdk.errors.{kind.__name__}`", f"exit code {kind.exit_code}", f"tried again: {again(kind)}"]
    if issubclass(parent, errors.HypersdkError) and parent is not errors.HypersdkError:
        facts.append(f"a kind of [{parent.code}](#{parent.code})")
    causes = "\n".join(f"- {cause}" for cause in kind.causes)
    return f"""## {kind.code}

{(kind.__doc__ or "").strip().splitlines()[0]}

{" · ".join(facts)}

Usual causes:

{causes}

What to do: {kind.remedy}.

```
hyperexport: {kind.example}
```"""


def troubleshooting_page() -> str:
    """docs/troubleshooting.md."""
    rows = "\n".join(f"| [{kind.code}](#{kind.code}) | {kind.exit_code} | {again(kind)} |" for kind in kinds())
    introduction = f"""# Troubleshooting

{MADE}

Every error has a stable code. JSON has it as `code`, `-v` names it below the message, `hypersdk.errors` has a class for
it. The message itself says what failed, where and why; what stands behind ` - ` is what to do. An `opc-request-id` is
what Oracle's support asks for first. [Errors of the cloud, the line and the disk](errors.md) tells which of OCI's and
other errors become which of ours.

| Code | Exit code | Tried again |
|---|---|---|
{rows}"""
    return "\n\n".join([introduction, *map(entry, kinds())]) + "\n"


PAGES = {DOCS / "errors.md": errors_page, DOCS / "troubleshooting.md": troubleshooting_page}


def main() -> int:
    """Write or check."""
    status = 0
    for path, page in PAGES.items():
        if sys.argv[1:] != ["--check"]:
            path.write_text(page())
        elif not path.exists() or path.read_text() != page():
            print(f"{path.relative_to(ROOT)} is out of date: run `make docs`")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
