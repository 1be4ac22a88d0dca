"""From what a user wrote to exactly one resource: by OCID, or by exact name over every compartment.

Rules of this file: a listing is `Complete` or `Partial` and says what it could not read (design rule 9), and only a
complete one can tell that something is unique or absent; dead resources are not candidates; of several with one name
none is chosen. From here on only the OCID is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from hypersdk import errors, events
from hypersdk.model import Image, Instance, Ocid
from hypersdk.providers.protocol import Compartment, Provider
from hypersdk.retry import Retrier

DEAD_INSTANCE_STATES = frozenset({"TERMINATING", "TERMINATED"})
DEAD_IMAGE_STATES = frozenset({"DELETED"})

_READING = {"instance": "use instances", "image": "manage instance-images"}
"""What reading them needs, in the words that an export needs anyway (reference: oci-api.md, section 7)."""

MOST_NAMED = 5
"""How many of the unread compartments, or of the candidates, an error names."""


class _Resource(Protocol):
    """What instances and images have in common."""

    @property
    def id(self) -> str:
        """OCID."""

    @property
    def name(self) -> str:
        """Display name."""

    @property
    def compartment_id(self) -> str | None:
        """Where it lives."""

    @property
    def lifecycle_state(self) -> str:
        """The provider's word."""


R = TypeVar("R", bound=_Resource)


@dataclass(frozen=True, slots=True)
class Found(Generic[R]):
    """A resource and the compartment that it was found in."""

    resource: R
    compartment: Compartment


@dataclass(frozen=True, slots=True)
class Unread:
    """A compartment that could not be read, and why."""

    compartment: Compartment
    why: errors.HypersdkError

    def __str__(self) -> str:
        return f"{self.compartment.path} ({self.compartment.id})"


@dataclass(frozen=True, slots=True)
class Complete(Generic[R]):
    """A listing that holds all there is."""

    items: tuple[Found[R], ...]

    @property
    def unread(self) -> tuple[Unread, ...]:
        """Nothing."""
        return ()


@dataclass(frozen=True, slots=True)
class Partial(Generic[R]):
    """A listing that lacks what is in the `unread` compartments."""

    items: tuple[Found[R], ...]
    unread: tuple[Unread, ...]


Listing = Complete[R] | Partial[R]


def compartments(provider: Provider, compartment_id: str | None) -> Iterator[Compartment]:
    """The compartment asked for, or all that the caller may see.

    Args:
        provider: the cloud; repeats its own page fetches.
        compartment_id: OCID of a compartment or of the tenancy; None = all.

    Raises:
        UsageError: not the OCID of a compartment.
    """
    if compartment_id is None:
        return _all_compartments(provider)
    Ocid.parse(compartment_id, "compartment", "tenancy")
    return iter((Compartment(compartment_id, compartment_id, compartment_id),))


def list_instances(
    provider: Provider, compartment_id: str | None = None, *, name: str | None = None
) -> Listing[Instance]:
    """Instances of one compartment or of all, dead ones included.

    Args:
        provider: the cloud; repeats its own page fetches.
        compartment_id: where; None = everywhere.
        name: only those of exactly this display name.
    """
    return _gather(compartments(provider, compartment_id), partial(provider.instances, name=name))


def list_images(provider: Provider, compartment_id: str | None = None, *, name: str | None = None) -> Listing[Image]:
    """Custom images of one compartment or of all.

    Args:
        provider: the cloud; repeats its own page fetches.
        compartment_id: where; None = everywhere.
        name: only those of exactly this display name.
    """
    return _gather(compartments(provider, compartment_id), partial(provider.images, name=name))


def find_instance(provider: Provider, retrier: Retrier, wanted: str, compartment_id: str | None = None) -> Instance:
    """The one instance that the user means.

    Args:
        provider: the cloud; repeats its own page fetches.
        retrier: repeats the single calls; its waiter's reporter hears of dead namesakes.
        wanted: OCID or exact name.
        compartment_id: where to look for a name; None = everywhere.

    Raises:
        UsageError: several have that name, or an OCID of something else.
        NotFoundError: there is none.
        PermissionDenied: a compartment could not be read, so it cannot be said.
    """
    if Ocid.looks_like(wanted):
        instance_id = Ocid.parse(wanted, "instance").text
        return retrier.call("get instance", lambda: provider.instance(instance_id))
    listing = list_instances(provider, compartment_id, name=wanted)
    return _only("instance", wanted, listing, DEAD_INSTANCE_STATES, retrier.waiter.report)


def find_image(provider: Provider, retrier: Retrier, wanted: str, compartment_id: str | None = None) -> Image:
    """The one custom image that the user means.

    Args:
        provider: the cloud; repeats its own page fetches.
        retrier: repeats the single calls; its waiter's reporter hears of dead namesakes.
        wanted: OCID or exact name.
        compartment_id: where to look for a name; None = everywhere.

    Raises:
        UsageError: several have that name, or an OCID of something else.
        NotFoundError: there is none.
        PermissionDenied: a compartment could not be read, so it cannot be said.
    """
    if Ocid.looks_like(wanted):
        image_id = Ocid.parse(wanted, "image").text
        return retrier.call("get image", lambda: provider.image(image_id))
    listing = list_images(provider, compartment_id, name=wanted)
    return _only("image", wanted, listing, DEAD_IMAGE_STATES, retrier.waiter.report)


def refuse_partial(listing: Listing[R], what: str, hint: str) -> None:
    """Raise unless the listing is complete.

    Raises:
        PermissionDenied: names the compartments that could not be read, and why the first could not.
    """
    if not listing.unread:
        return
    first = listing.unread[0].why
    raise errors.PermissionDenied(
        f"{what}: {_few([str(each) for each in listing.unread])} could not be read: {first.message}",
        resource=listing.unread[0].compartment.id,
        hint=hint,
        request_id=first.request_id,
        service_code=first.service_code,
        status=first.status,
    )


def _all_compartments(provider: Provider) -> Iterator[Compartment]:
    try:
        yield from provider.compartments()
    except (errors.NotFoundError, errors.PermissionDenied) as error:
        raise errors.PermissionDenied(
            f"the compartments cannot be listed: {error.message}",
            resource=error.resource,
            hint="name the compartment with -c, or ask for: allow group G to inspect compartments in tenancy",
            request_id=error.request_id,
            service_code=error.service_code,
            status=error.status,
        ) from error


def _gather(places: Iterable[Compartment], read: Callable[[str], Iterable[R]]) -> Listing[R]:
    items: list[Found[R]] = []
    unread: list[Unread] = []
    for place in places:
        try:
            # Only what was read to its end counts as read: a page that is refused makes the compartment unread.
            items += [Found(each, place) for each in read(place.id)]
        except (errors.NotFoundError, errors.PermissionDenied) as error:
            unread.append(Unread(place, error))
    return Partial(tuple(items), tuple(unread)) if unread else Complete(tuple(items))


def _only(kind: str, name: str, listing: Listing[R], dead: frozenset[str], report: events.Reporter) -> R:
    named = [found for found in listing.items if found.resource.name == name]
    alive = [found for found in named if found.resource.lifecycle_state not in dead]
    if len(alive) > 1:
        raise _ambiguous(kind, name, alive)
    refuse_partial(
        listing,
        f"cannot tell which {kind} is {name!r}",
        f"give the {kind}'s OCID, or a compartment that you can read with -c; reading one needs: "
        f"allow group G to {_READING[kind]} in compartment C",
    )
    ends = ", ".join(sorted({found.resource.lifecycle_state for found in named if found not in alive}))
    if not alive:
        gone = f"; {len(named)} of that name: {ends}" if named else ""
        raise errors.NotFoundError(
            f"no {kind} is named {name!r} in the compartments looked at{gone}",
            resource=name,
            hint=f"names are case sensitive; `hyperexport {kind}s list` shows them, --region chooses the region",
        )
    if len(named) > len(alive):
        report(events.Note(f"not taken: {len(named) - len(alive)} {kind}(s) of the name {name!r}: {ends}"))
    return alive[0].resource


def _ambiguous(kind: str, name: str, alive: Sequence[Found[R]]) -> errors.UsageError:
    each = [f"{found.resource.id} in {found.compartment.path}" for found in alive]
    return errors.UsageError(
        f"{len(alive)} {kind}s are named {name!r}: {_few(each)}",
        resource=name,
        hint="give the OCID of the one you mean",
    )


def _few(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
