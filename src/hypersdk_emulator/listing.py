"""Lists of the core services: sorted, cut into pages by `opc-next-page`, then filtered.

A page token names the last resource looked at. It is looked up among all resources before the filters, so a resource
that changes its state between two pages neither ends the list nor repeats anything. So a page may hold fewer items
than `limit`, or none, and still not be the last.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from hypersdk_emulator.call import Call, decode_page, encode_page, one_of
from hypersdk_emulator.errors import ServiceError

SORTS = ("TIMECREATED", "DISPLAYNAME")
ORDERS = ("ASC", "DESC")


class Listed(Protocol):
    """What can be listed: anything with an id, a name and a time."""

    @property
    def id(self) -> str:
        """OCID."""

    @property
    def name(self) -> str:
        """Display name."""

    @property
    def created(self) -> float:
        """Virtual time of its making."""


T = TypeVar("T", bound=Listed)


def arranged(call: Call, items: Sequence[T]) -> list[T]:
    """Sorted by the query's `sortBy` and `sortOrder`; times fall and names rise unless said otherwise."""
    by = one_of("sortBy", call.query.get("sortBy"), SORTS, "TIMECREATED")
    order = one_of("sortOrder", call.query.get("sortOrder"), ORDERS, "DESC" if by == "TIMECREATED" else "ASC")

    def key(item: T) -> tuple[str | float, str]:
        return (item.created if by == "TIMECREATED" else item.name, item.id)

    return sorted(items, key=key, reverse=order == "DESC")


def page(call: Call, items: Sequence[T], keep: Callable[[T], bool]) -> tuple[list[T], dict[str, str]]:
    """The items of the page asked for that pass the filter, and the header that leads to the next page.

    Args:
        call: with the query parameters `limit` and `page`.
        items: all of them, in order.
        keep: the filters of the query.

    Raises:
        ServiceError: 400 for a page token that names nothing here.
    """
    limit = call.limit()
    begin = 0
    if (last := decode_page(call.query.get("page"))) is not None:
        places = [place for place, item in enumerate(items) if item.id == last]
        if not places:
            raise ServiceError(400, "InvalidPage", "The page token is not one of this list")
        begin = places[0] + 1
    found: list[T] = []
    for place in range(begin, len(items)):
        if keep(items[place]):
            found.append(items[place])
        if len(found) == limit and any(keep(item) for item in items[place + 1 :]):
            return found, {"opc-next-page": encode_page(items[place].id)}
        if len(found) == limit:
            break
    return found, {}
