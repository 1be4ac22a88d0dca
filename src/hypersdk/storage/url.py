"""URLs of objects, read once at the edge into `ObjectRef`s; an object name is not a path and not a URL. Pure.

Forms (design section 5; the hosts are those of OCI's "Object Storage Dedicated Endpoints" page):

    oci://namespace/bucket/name                     ours, printed; the name is literal, never percent-decoded
    oci://bucket@namespace/name                     the form of ocifs, read only
    https://objectstorage.<region>.<realm>/n/..     OCI's own address; `/p/<token>/n/..` is a pre-authenticated request
    https://<ns>.objectstorage.<region>.oci.customer-oci.com/n/..
    https://host/path?query                         any other server; the query may be a signature, so it is a secret
    file:///path  or anything without "scheme://"   a local file
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote, unquote_to_bytes, urlsplit

from hypersdk import errors
from hypersdk.model import ObjectRef, Secret

OCI_FORMS = "write oci://namespace/bucket/name or oci://bucket@namespace/name"

MAX_OBJECT_NAME = 1024
"""Bytes of UTF-8 (docs.oracle.com, "Object Naming": 1 to 1024)."""

MAX_FILE_NAME = 255
"""Bytes of one component of a path on Linux's common file systems (NAME_MAX)."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# docs.oracle.com, "Managing Buckets": letters, digits, hyphens, underscores, periods; at most 256.
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,256}\Z")
_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,256}\Z")
_OCI_HOST = re.compile(r"(?:([A-Za-z0-9_-]+)\.)?objectstorage\.([a-z0-9-]+)\.[a-z0-9.-]+\Z", re.IGNORECASE)
_OCI_PATH = re.compile(r"(?:/p/([^/]+))?/n/([^/]+)/b/([^/]+)/o(?:/(.*))?\Z", re.DOTALL)
_CONTROL_OR_SPACE = re.compile(r"[\x00-\x20\x7f]")
_FORBIDDEN_IN_NAMES = {"\0": "NUL", "\r": "CR", "\n": "LF"}


@dataclass(frozen=True, slots=True)
class Address:
    """What a URL means.

    Attributes:
        ref: the object, prefix or bucket.
        origin: "https://host[:port]" when the URL names the server itself; empty = the configured endpoint.
        token: the token of a pre-authenticated request.
        query: the query of a foreign URL, which is often its signature.
    """

    ref: ObjectRef
    origin: str = ""
    token: Secret | None = None
    query: Secret | None = None

    def __str__(self) -> str:
        return self._text("***", "***")

    @property
    def region(self) -> str | None:
        """The region that a host of OCI names; None = the host is none of them."""
        host = _OCI_HOST.match(urlsplit(self.origin).hostname or "")
        return host[2].lower() if host else None

    def url(self) -> Secret:
        """The URL that `parse` reads back to this value; a secret, because it may authorize itself."""
        return Secret(self._text(self.token.reveal() if self.token else "", self.query.reveal() if self.query else ""))

    def _text(self, token: str, query: str) -> str:
        if self.ref.scheme != "oci" or not self.origin:
            return f"{self.ref}?{query}" if self.query else str(self.ref)
        return f"{self.origin}{f'/p/{token}' if self.token else ''}{object_path(self.ref)}"


def parse(text: str) -> Address:
    """Read what a user wrote where an object, a prefix, a bucket or a file is meant.

    Raises:
        UsageError: not an address that we understand; secrets in it are not repeated.
    """
    match = _SCHEME.match(text)
    if not match:
        return Address(local_ref(text))
    scheme, rest = match[1].lower(), text[match.end() :]
    if scheme == "oci":
        return Address(_oci_ref(text, rest))
    if scheme == "file":
        return Address(_file_ref(text, rest))
    if scheme in {"https", "http"}:
        return _web_address(text)
    raise errors.UsageError(
        f"unknown kind of address: {scheme}://",
        resource=scheme,
        hint=f"a path, file://, https://, or oci:// ({OCI_FORMS})",
    )


def local_ref(path: str) -> ObjectRef:
    """A path as a ref: `bucket` is the directory as the user wrote it, `name` the entry in it ("" = all of it)."""
    if not path or "\0" in path:
        raise errors.UsageError(f"not a path: {path!r}", resource=path)
    directory, _, name = path.rpartition("/")
    if name in {".", ".."}:
        return ObjectRef("file", "", path, "")
    return ObjectRef("file", "", (directory.rstrip("/") or "/") if "/" in path else "", name)


def object_path(ref: ObjectRef, kind: str = "o") -> str:
    """The path of an object (`kind` "o") or of its uploads ("u") in OCI's API.

    Encoded as the Python SDK does it (`enable_strict_url_encoding`): "/" -> "%2F", the names "." and ".." -> "%2E".
    """
    name = {".": "%2E", "..": "%2E%2E"}.get(ref.name, quote(ref.name, safe=""))
    return f"/n/{quote(ref.namespace, safe='')}/b/{quote(ref.bucket, safe='')}/{kind}/{name}"


def relative_path(name: str) -> str:
    """The local path, relative to a root, of an object of this name; `object_name` is its reverse.

    Raises:
        UsageError: no file can have that name: NUL, CR, LF, an empty, "." or ".." component, or one over 255 bytes.
    """
    return _same_both_ways(name, "an object's name cannot be a local path")


def object_name(path: str) -> str:
    """The object name of a local path relative to a root ("a/b.qcow2"); `relative_path` is its reverse.

    Raises:
        UsageError: no object can have that name.
    """
    return _same_both_ways(path, "a local path cannot be an object's name")


def check_object_name(name: str) -> None:
    """Refuse what OCI refuses in object names; an empty name (a prefix for everything) passes.

    Raises:
        UsageError: NUL, CR or LF, not UTF-8, or longer than 1024 bytes.
    """
    found = [word for character, word in _FORBIDDEN_IN_NAMES.items() if character in name]
    if found:
        raise errors.UsageError(f"object names cannot contain {' or '.join(found)}: {name!r}", resource=name)
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise errors.UsageError(f"object names are UTF-8, this is not: {name!r}", resource=name) from None
    if length > MAX_OBJECT_NAME:
        raise errors.UsageError(f"object name of {length} bytes, at most {MAX_OBJECT_NAME}: {name!r}", resource=name)


def _same_both_ways(text: str, what: str) -> str:
    check_object_name(text)
    for component in text.split("/"):
        if component in {"", ".", ".."}:
            raise errors.UsageError(f"{what} (component {component!r}): {text!r}", resource=text)
        if len(component.encode()) > MAX_FILE_NAME:
            raise errors.UsageError(f"{what} (a component is over {MAX_FILE_NAME} bytes): {text!r}", resource=text)
    return text


def _oci_ref(text: str, rest: str) -> ObjectRef:
    first, slash, tail = rest.partition("/")
    if "@" in first:
        bucket, _, namespace = first.partition("@")
        return _checked_oci_ref(text, namespace, bucket, tail)
    if not first or not slash or not tail:
        # oci://x could name a namespace or a bucket: guessing would act on the wrong one.
        raise errors.UsageError(f"a namespace and a bucket are needed: {text!r}", resource=text, hint=OCI_FORMS)
    bucket, _, name = tail.partition("/")
    return _checked_oci_ref(text, first, bucket, name)


def _checked_oci_ref(text: str, namespace: str, bucket: str, name: str) -> ObjectRef:
    for what, value, pattern in (("namespace", namespace, _NAMESPACE), ("bucket", bucket, _BUCKET)):
        if not pattern.match(value) or value in {".", ".."}:
            raise errors.UsageError(f"not a {what}: {value!r} in {text!r}", resource=text, hint=OCI_FORMS)
    check_object_name(name)
    return ObjectRef("oci", namespace, bucket, name)


def _file_ref(text: str, rest: str) -> ObjectRef:
    host, slash, path = rest.partition("/")
    if host.lower() not in {"", "localhost"} or not slash:
        raise errors.UsageError(f"only local files are read: {text!r}", resource=text, hint="write file:///path")
    if "?" in path or "#" in path:
        raise errors.UsageError(f"? and # must be %3F and %23 in a file URL: {text!r}", resource=text)
    return local_ref("/" + unquote(path, errors="surrogateescape"))


def _web_address(text: str) -> Address:
    # urlsplit drops control characters in silence; another URL than the written one must not be asked.
    if _CONTROL_OR_SPACE.search(text):
        raise errors.UsageError("a URL contains spaces or control characters", hint="percent-encode them")
    try:
        split = urlsplit(text)
        host, port = split.hostname, split.port
    except ValueError as error:
        raise errors.UsageError(f"not a URL: {error}") from None
    if not host:
        raise errors.UsageError("a URL without a host")
    shown = f"{split.scheme}://{host}"
    if split.username is not None or split.password is not None:
        raise errors.UsageError(f"credentials in a URL are not accepted: {shown}", resource=shown)
    if "#" in text:
        raise errors.UsageError(f"a URL with a fragment (#...) names no object: {shown}", resource=shown)
    place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port is not None else "")
    path = _OCI_PATH.match(split.path)
    own_host = _OCI_HOST.match(host)
    if path and (own_host or path[1]):
        return _oci_web_address(split, place, path, own_host[1] if own_host else None)
    if own_host:
        raise errors.UsageError(
            f"not the address of an object in OCI: {shown}",
            resource=shown,
            hint="its path is /n/<namespace>/b/<bucket>/o/<object>, with /p/<token> before it if pre-authenticated",
        )
    ref = ObjectRef(split.scheme, place, "", split.path.removeprefix("/"))
    return Address(ref, f"{split.scheme}://{place}", query=Secret(split.query) if split.query else None)


def _oci_web_address(split: SplitResult, place: str, path: re.Match[str], dedicated_to: str | None) -> Address:
    shown = f"{split.scheme}://{place}"
    if split.query:
        raise errors.UsageError(f"a query after the address of an object is not accepted: {shown}", resource=shown)
    namespace, bucket, name = (_decoded(part or "", shown) for part in path.group(2, 3, 4))
    if dedicated_to is not None and dedicated_to.lower() != namespace.lower():
        raise errors.UsageError(
            f"the host belongs to namespace {dedicated_to!r}, the path to {namespace!r}: {shown}", resource=shown
        )
    ref = _checked_oci_ref(f"{shown}/...", namespace, bucket, name)
    return Address(ref, shown, Secret(path[1]) if path[1] else None)


def _decoded(text: str, shown: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise errors.UsageError(f"object names are UTF-8, this URL's is not: {shown}", resource=shown) from None
