"""The name of this machine's time zone, so that a window means the same on every worker."""

from __future__ import annotations

import os
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

LOCALTIME = Path("/etc/localtime")

_ZONEINFO = "/zoneinfo/"


def zone_of_machine(environ_tz: str | None = None, localtime: Path = LOCALTIME) -> str | None:
    """Its name, such as "Europe/Berlin"; None = it cannot be told.

    Args:
        environ_tz: value of TZ; None = that of the environment.
        localtime: link to the file of the zone.
    """
    told = os.environ.get("TZ") if environ_tz is None else environ_tz
    name = told.removeprefix(":") if told else os.path.realpath(localtime)
    name = name.rpartition(_ZONEINFO)[2] if _ZONEINFO in name else name
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
    return name
