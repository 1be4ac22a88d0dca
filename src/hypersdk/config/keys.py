"""The table of all settings: every key, how its text is read, its default. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from urllib.parse import urlsplit

from hypersdk import errors
from hypersdk.bandwidth import Timetable
from hypersdk.exports.options import FORMATS
from hypersdk.model import Ocid, Secret
from hypersdk.readers.units import parse_duration, parse_size, parse_switch
from hypersdk.transfer.options import DIGESTS, READ_BACK, RECEIVED
from hypersdk.vendors.oci.credentials import AUTH_KINDS, SPELLINGS, Spelling

Text = str | Mapping[str, str]
Parse = Callable[[Text], object]

_FINGERPRINT = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){15}")
# A name such as eu-frankfurt-1 or us-gov-ashburn-1, a short code such as IAD, or a domain (a "region" with a dot is
# taken for one by the SDK, `oci.regions.endpoint_for`).
_REGION = re.compile(r"[a-z]{3}|[a-z]{2,}(-[a-z0-9]+)*-\d+|[a-z0-9-]+(\.[a-z0-9-]+)+")


def plain(text: Text) -> str:
    """One value without blanks around it."""
    if not isinstance(text, str):
        raise ValueError("expected one value, found a block of keys")  # noqa: TRY004 - a user's slip, not a type error
    return text.strip()


def secret(text: Text) -> Secret:
    """A value that is never shown; blanks belong to it."""
    if not isinstance(text, str):
        raise ValueError("expected one value, found a block of keys")  # noqa: TRY004 - a user's slip, not a type error
    return Secret(text)


def choice(*allowed: str) -> Parse:
    """One of a few words."""

    def parse(text: Text) -> str:
        word = plain(text).lower()
        if word not in allowed:
            raise ValueError(f"{plain(text)!r} is not one of {', '.join(allowed)}")
        return word

    return parse


def ocid(*kinds: str) -> Parse:
    """An OCID of these kinds."""

    def parse(text: Text) -> str:
        try:
            return Ocid.parse(plain(text), *kinds).text
        except errors.UsageError as error:
            raise ValueError(error.message) from error

    return parse


def fingerprint(text: Text) -> str:
    """16 pairs of hex digits, in lower case."""
    value = plain(text).lower()
    if not _FINGERPRINT.fullmatch(value):
        raise ValueError(f"{plain(text)!r} is not a fingerprint (expected 16 pairs of hex digits such as 20:3b:97:...)")
    return value


def region(text: Text) -> str:
    """A region's name, well-formed; whether the SDK's table has it does not matter."""
    value = plain(text).lower()
    if not _REGION.fullmatch(value):
        raise ValueError(
            f"{plain(text)!r} is not a region (expected a name such as eu-frankfurt-1 or a code such as FRA)"
        )
    return value


def endpoint(text: Text) -> str:
    """An origin, without a trailing slash."""
    value = plain(text).rstrip("/")
    try:
        parts = urlsplit(value)
        good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if good and ":" in (parts.hostname or ""):
        raise ValueError("the SDK takes no IPv6 address as an endpoint; give it a name, in /etc/hosts for example")
    if not good or parts.username is not None or parts.query or parts.fragment:
        # The text is not repeated: it may hold a password.
        raise ValueError("not an endpoint (expected http://HOST[:PORT] or https://HOST[:PORT], nothing else in it)")
    return value


def federation_endpoint(text: Text) -> str:
    """A URL whose path may be left out."""
    value = plain(text).rstrip("/")
    try:
        parts = urlsplit(value)
        good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.username is not None or parts.query or parts.fragment:
        # The text is not repeated: it may hold a password.
        raise ValueError("not a federation endpoint (expected https://HOST[:PORT][/v1/x509])")
    return value


def proxy(text: Text) -> Secret:
    """A proxy's URL; without a scheme it is http, as curl reads it."""
    value = plain(text)
    value = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(value)
        good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("not a proxy (expected http://[USER:PASSWORD@]HOST:PORT)")
    return Secret(value)


def tags(text: Text) -> Mapping[str, str]:
    """Free-form tags: a block, or `key=value,key=value`."""
    if not isinstance(text, str):
        return dict(text)
    pairs = [one.partition("=") for one in text.split(",") if one.strip()]
    if any(not middle or not key.strip() for key, middle, _ in pairs):
        raise ValueError("not tags (expected key=value,key=value)")
    return {key.strip(): value.strip() for key, _, value in pairs}


def number(least: float, kind: type[int | float]) -> Parse:
    """A number not below `least`."""

    def parse(text: Text) -> object:
        try:
            value = kind(plain(text))
        except ValueError:
            value = None
        if value is None or not least <= value < float("inf"):
            word = "a whole number" if kind is int else "a number"
            raise ValueError(f"{plain(text)!r} is not {word} of at least {least:g}")
        return value

    return parse


def size(text: Text) -> int:
    """Bytes, more than none."""
    value = parse_size(plain(text))
    if value <= 0:
        raise ValueError(f"{plain(text)!r}: a size of nothing")
    return value


def digests(text: Text) -> tuple[str, ...]:
    """Names of digests with commas between them, or "none"."""
    names = [name.strip().lower() for name in plain(text).split(",")]
    if names == ["none"]:
        return ()
    for name in names:
        if name not in DIGESTS:
            raise ValueError(f"{name!r} is not one of {', '.join(DIGESTS)}")
    return tuple(dict.fromkeys(names))


def bandwidth(text: Text) -> str:
    """A rate or a timetable of rates."""
    Timetable.parse(plain(text))
    return plain(text)


def duration(text: Text) -> float:
    """Seconds."""
    return parse_duration(plain(text))


def timeout(text: Text) -> float:
    """Seconds, more than none."""
    value = duration(text)
    if value <= 0:
        raise ValueError(f"{plain(text)!r}: no time at all")
    return value


def switch(text: Text) -> bool:
    """Yes or no."""
    return parse_switch(plain(text))


@dataclass(frozen=True, slots=True)
class Key:
    """One setting.

    Attributes:
        block: block of hypersdk.yaml.
        name: key in the block.
        parse: reads the text; raises ValueError with a sentence.
        default: text that counts when nobody gives one; None = none.
        path: the value is a path: made absolute from home (`~`) or from the directory of the file it stands in.
        from_file: False = never read from a file (design rule 12).
        spelling: what Oracle's tools call it.
    """

    block: str
    name: str
    parse: Parse
    default: str | None = None
    path: bool = False
    from_file: bool = True
    spelling: Spelling = Spelling()  # noqa: RUF009 - frozen, so one for all is fine

    @property
    def dotted(self) -> str:
        """The key's full name: "oci.region"."""
        return f"{self.block}.{self.name}"

    @property
    def variable(self) -> str:
        """Our own environment variable for it."""
        return f"HYPEREXPORT_{self.block}_{self.name}".upper()


def _oci(name: str, parse: Parse, *, default: str | None = None, path: bool = False, from_file: bool = True) -> Key:
    return Key("oci", name, parse, default, path, from_file, SPELLINGS[name])


_ALL = (
    _oci("enabled", switch, default="false"),
    _oci("profile", plain, default="DEFAULT"),
    _oci("config_file", plain, path=True),
    _oci("auth", choice(*AUTH_KINDS)),
    _oci("tenancy_ocid", ocid("tenancy")),
    _oci("user_ocid", ocid("user")),
    _oci("fingerprint", fingerprint),
    _oci("private_key_path", plain, path=True),
    _oci("key_content", secret, from_file=False),
    _oci("pass_phrase", secret),
    _oci("security_token_file", plain, path=True),
    _oci("region", region),
    _oci("compartment_ocid", ocid("compartment", "tenancy")),
    _oci("bucket", plain),
    _oci("namespace", plain),
    _oci("export_format", choice(*FORMATS), default="qcow2"),
    _oci("endpoint", endpoint),
    _oci("federation_endpoint", federation_endpoint),
    _oci("cert_bundle", plain, path=True),
    _oci("proxy", proxy),
    _oci("tags", tags),
    Key("transfer", "part_size", size, "16MiB"),
    Key("transfer", "parallel", number(1, int), "16"),
    Key("transfer", "bandwidth_limit", bandwidth, "off", spelling=Spelling(flag="bwlimit")),
    Key("transfer", "checksum", digests, "none"),
    Key("transfer", "verify", choice(RECEIVED, READ_BACK), RECEIVED),
    Key("transfer", "preallocate", switch, "false"),
    Key("retry", "max_attempts", number(1, int), "5"),
    Key("retry", "initial_delay", duration, "2s"),
    Key("retry", "max_delay", duration, "30s"),
    Key("retry", "multiplier", number(1, float), "2"),
    Key("retry", "jitter", switch, "true"),
    Key("retry", "max_time", duration, "5m"),
    Key("retry", "max_standstill", duration, "15m"),
    Key("network", "monitor", switch, "true"),
    Key("network", "connect_timeout", timeout, "10s"),
    Key("network", "read_timeout", timeout, "60s"),
    Key("fleet", "exports_per_region", number(0, int), "10"),
    Key("fleet", "exports_per_bucket", number(0, int), "0"),
)

KEYS: Mapping[str, Key] = {key.dotted: key for key in _ALL}
"""Every setting by its dotted name, in the order in which they are shown."""

BLOCKS: Mapping[str, Mapping[str, Key]] = {
    block: {key.name: key for key in _ALL if key.block == block} for block in dict.fromkeys(key.block for key in _ALL)
}
"""Block -> its keys."""


def suggest(word: str, known: Iterable[str]) -> str:
    """A half-sentence that names the nearest known word, or all of them."""
    names = list(known)
    near = get_close_matches(word, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
