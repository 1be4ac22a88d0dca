"""Which numbers of a range are taken, such as the addresses of a subnet; in the database, for subnets of any size."""

from hypersdk_emulator.cloud import Cloud

_FREE = """
SELECT n FROM (SELECT ? AS n UNION ALL SELECT number + 1 FROM leases WHERE scope = ? AND number >= ?)
WHERE NOT EXISTS (SELECT 1 FROM leases WHERE scope = ? AND number = n) ORDER BY n LIMIT 1
"""


def take(cloud: Cloud, scope: str, first: int, last: int) -> int | None:
    """Take the lowest free number of a range; None if there is none. In the caller's transaction.

    Args:
        cloud: the cloud.
        scope: what the numbers belong to, such as a subnet's OCID.
        first: the lowest number.
        last: the highest.
    """
    _expire(cloud, scope)
    row = cloud.db.one(_FREE, first, scope, first, scope)
    assert row is not None
    return int(row["n"]) if row["n"] <= last and take_one(cloud, scope, row["n"]) else None


def take_one(cloud: Cloud, scope: str, number: int) -> bool:
    """Take this very number; False if somebody has it."""
    _expire(cloud, scope)
    taken = cloud.db.execute("INSERT OR IGNORE INTO leases VALUES (?, ?, NULL)", scope, number)
    return taken.rowcount == 1


def release(cloud: Cloud, scope: str, number: int, when: float) -> None:
    """The number is free from a moment on."""
    cloud.db.execute("UPDATE leases SET until = ? WHERE scope = ? AND number = ?", when, scope, number)


def _expire(cloud: Cloud, scope: str) -> None:
    cloud.db.execute("DELETE FROM leases WHERE scope = ? AND until <= ?", scope, cloud.clock.timestamp())
