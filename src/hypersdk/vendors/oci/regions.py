"""Region names: short codes, hosts, near misses. A region newer than the SDK's table is used all the same."""

from __future__ import annotations

import difflib
import os
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

OBJECT_STORAGE_TEMPLATE = "https://objectstorage.{region}.{secondLevelDomain}"

_REPLACING_VARIABLE = "OCI_DEVELOPER_TOOL_CONFIGURATION_FILE_PATH"
_REPLACING_FILE = "~/.oci/developer-tool-configuration.json"


@cache
def _table() -> ModuleType | None:
    """The SDK's table of regions, without the SDK, which takes a third of a second to load.

    None = the table may not be all, so that the SDK has to be asked: a developer tool configuration
    (`oci.developer_tool_configuration`) may replace it.
    """
    if os.environ.get(_REPLACING_VARIABLE) or Path(_REPLACING_FILE).expanduser().exists():
        return None
    package = find_spec("oci")
    places = package.submodule_search_locations if package is not None else None
    if not places:
        return None
    spec = spec_from_file_location("hypersdk_oci_regions", Path(places[0]) / "regions_definitions.py")
    if spec is None or spec.loader is None:
        return None
    table = module_from_spec(spec)
    spec.loader.exec_module(table)
    return table


def _is_known(region: str) -> bool:
    table = _table()
    return table is not None and region in table.REGIONS


def expand(region: str) -> str:
    """A region's full name: "IAD" -> "us-ashburn-1"; anything else in lower case without blanks."""
    name = region.strip().lower()
    if _is_known(name):
        return name
    from oci import regions

    return str(regions.get_region_from_short_name(name))


def object_storage_url(region: str) -> str:
    """The base URL of Object Storage in a region (its realm decides the domain; unknown regions count as oc1)."""
    if (table := _table()) is not None and region in table.REGIONS:
        domain = table.REALMS[table.REGION_REALMS[region]]
        return OBJECT_STORAGE_TEMPLATE.replace("{region}", region).replace("{secondLevelDomain}", domain)
    from oci import regions

    return str(
        regions.endpoint_for(
            "object_storage",
            region=region,
            service_endpoint_template=OBJECT_STORAGE_TEMPLATE,
            endpoint_service_name="objectstorage",
        )
    )


def auth_url(region: str) -> str:
    """The base URL of the federation service in a region."""
    from oci import regions

    return str(regions.endpoint_for("auth", region=region))


def nearest(region: str) -> str | None:
    """A known region that `region` may be a slip of; None if it is known itself, or resembles none."""
    if _is_known(region):
        return None
    from oci import regions

    if regions.is_region(region):
        return None
    near = difflib.get_close_matches(region, regions.REGIONS, n=1, cutoff=0.8)
    return near[0] if near else None
