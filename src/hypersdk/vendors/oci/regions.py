"""Region names: short codes, hosts, near misses. A region newer than the SDK's table is used all the same."""

from __future__ import annotations

import difflib

OBJECT_STORAGE_TEMPLATE = "https://objectstorage.{region}.{secondLevelDomain}"


def expand(region: str) -> str:
    """A region's full name: "IAD" -> "us-ashburn-1"; anything else in lower case without blanks."""
    from oci import regions

    return str(regions.get_region_from_short_name(region.strip().lower()))


def object_storage_url(region: str) -> str:
    """The base URL of Object Storage in a region (its realm decides the domain; unknown regions count as oc1)."""
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
    from oci import regions

    if regions.is_region(region):
        return None
    near = difflib.get_close_matches(region, regions.REGIONS, n=1, cutoff=0.8)
    return near[0] if near else None
