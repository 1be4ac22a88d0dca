"""Which instances there are: over compartments and regions, with the sizes of their boot volumes, from bulk lists.

Rules of this file: a list per compartment (and availability domain, for volumes), never a call per instance, except for
an instance that only its OCID names and for one whose boot volume lies in another compartment; what could not be read
is kept and told (design rule 9): only a complete inventory can say that a name is unique, that it is absent, or which
instances a filter means. Terminated instances are kept apart: a name may belong to one, but nothing selects them.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from hypersdk import errors
from hypersdk.fleet.planning.files import Wanted, told_together
from hypersdk.fleet.planning.lists import Cloud, Connect, Denied, Job, read_all
from hypersdk.model import Instance, Ocid, Volume
from hypersdk.providers.lookup import DEAD_INSTANCE_STATES, Listing, Partial, Unread, refuse_partial
from hypersdk.providers.lookup import compartments as listed_compartments
from hypersdk.providers.protocol import Attached, Compartment
from hypersdk.waiting import StopFlag

T = TypeVar("T")

Progress = Callable[[str, int, int], None]
"""Told what is read, and how many lists of how many are."""


def unwatched(_what: str, _done: int, _all: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True)
class Found:
    """An instance, the path of its compartment, and the bytes of its boot volume; None = not known, `note` says why."""

    instance: Instance
    compartment: str
    size: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Places:
    """Where to look.

    Attributes:
        regions: full names, at least one.
        compartments: those to look in.
        paths: OCID -> path, of all that could be listed.
    """

    regions: tuple[str, ...]
    compartments: tuple[Compartment, ...]
    paths: Mapping[str, str] = field(default_factory=dict)

    def path(self, compartment_id: str) -> str:
        """The path of a compartment; its OCID where no list showed it."""
        return self.paths.get(compartment_id, compartment_id)


@dataclass(frozen=True)
class Inventory:
    """What was found: each instance once, and what could not be read."""

    found: tuple[Found, ...]
    unread: tuple[Unread, ...] = ()

    @property
    def alive(self) -> tuple[Found, ...]:
        """Those that still exist."""
        return tuple(one for one in self.found if one.instance.lifecycle_state not in DEAD_INSTANCE_STATES)

    def refuse_unread(self, what: str) -> None:
        """Raise unless everything could be read.

        Raises:
            PermissionDenied: names what could not, and what to do.
        """
        listing: Listing[Instance] = Partial((), self.unread)
        refuse_partial(
            listing,
            what,
            "choose compartments that you can read with -c; reading one needs: allow group G to use instances in "
            "compartment C; allow group G to inspect volume-attachments in compartment C; allow group G to read "
            "volume-family in compartment C",
        )


@dataclass(frozen=True)
class Reader:
    """Reads the cloud.

    Attributes:
        connect: opens a region for a thread.
        stop: ends everything.
        progress: told how far it is.
    """

    connect: Connect
    stop: StopFlag
    progress: Progress = unwatched

    def places(self, regions: Sequence[str], asked: Sequence[str], *, home: Cloud, searched: bool = True) -> Places:
        """Where to look.

        Args:
            regions: full names.
            asked: compartments by path or OCID; none = all that can be listed.
            home: our own region; compartments are the same in all of them.
            searched: whether the compartments will be searched; else they only give their names, if they may be listed.

        Raises:
            NotFoundError: no compartment has this path.
            PermissionDenied: the compartments cannot be listed, and are needed.
        """
        wanted = [one.strip() for one in asked]
        try:
            known = list(listed_compartments(home.provider, None))
        except errors.PermissionDenied:
            if searched and not (wanted and all(Ocid.looks_like(one) for one in wanted)):
                raise
            known = []
        paths = {one.id: one.path for one in known}
        chosen = [_compartment(one, known) for one in wanted] if wanted and searched else known
        return Places(tuple(dict.fromkeys(regions)), tuple(dict.fromkeys(chosen)), paths)

    def instances(self, places: Places) -> Inventory:
        """All instances of the places; sizes are not known yet."""
        spots = [(region, one) for region in places.regions for one in places.compartments]
        jobs = [Job(region, _instances_of(one)) for region, one in spots]
        answers = self._read("instances", jobs)
        found: dict[str, Found] = {}
        unread = []
        for (region, compartment), answer in zip(spots, answers, strict=True):
            if isinstance(answer, list):
                for instance in answer:
                    # One endpoint for several regions shows an instance in each of them.
                    found.setdefault(instance.id, Found(instance, places.path(instance.compartment_id)))
            else:
                unread.append(_unread(answer, region, compartment, "instances"))
        return Inventory(tuple(found.values()), tuple(unread))

    def by_id(self, ids: Sequence[tuple[str, str]], places: Places) -> list[Found | Denied]:
        """Instances by region and OCID, one call for each."""
        jobs = [Job(region, _instance_of(instance_id)) for region, instance_id in ids]
        answers = self._read("instances by OCID", jobs)
        return [Found(one, places.path(one.compartment_id)) if isinstance(one, Instance) else one for one in answers]

    def sized(self, found: Sequence[Found]) -> Inventory:
        """The same instances with the sizes of their boot volumes; `unread`: lists of volumes that must not be read."""
        alive = [one.instance for one in found if one.instance.lifecycle_state not in DEAD_INSTANCE_STATES]
        spots = sorted({(one.region, one.compartment_id, one.availability_domain) for one in alive})
        paths = {one.instance.compartment_id: one.compartment for one in found}
        answers = self._read("boot volumes", [Job(region, _volumes_of(*place)) for region, *place in spots])
        volume_of: dict[str, str] = {}
        size_of: dict[str, int] = {}
        unread = []
        for (region, compartment_id, domain), answer in zip(spots, answers, strict=True):
            if isinstance(answer, tuple):
                attached, volumes = answer
                volume_of |= {one.instance_id: one.volume_id for one in attached}
                size_of |= {one.id: one.size for one in volumes}
            else:
                path = paths[compartment_id]
                place = Compartment(compartment_id, path, path)
                unread.append(_unread(answer, region, place, f"boot volumes of {domain}"))
        sizes = {one: size_of[volume] for one, volume in volume_of.items() if volume in size_of}
        read = {spot for spot, answer in zip(spots, answers, strict=True) if isinstance(answer, tuple)}
        elsewhere = [
            one
            for one in alive
            if one.id not in sizes and (one.region, one.compartment_id, one.availability_domain) in read
        ]
        notes = self._elsewhere(elsewhere, sizes)
        sized = tuple(
            replace(one, size=sizes.get(one.instance.id), note=notes.get(one.instance.id, one.note)) for one in found
        )
        return Inventory(sized, tuple(unread))

    def _elsewhere(self, instances: Sequence[Instance], sizes: dict[str, int]) -> dict[str, str]:
        """Ask for boot volumes that lie in another compartment than their instance; why some are not known."""
        answers = self._read("boot volumes elsewhere", [Job(one.region, _boot_volume_of(one)) for one in instances])
        notes = {}
        for one, answer in zip(instances, answers, strict=True):
            if isinstance(answer, Volume):
                sizes[one.id] = answer.size
            else:
                why = "it has none" if answer is None else answer.message
                notes[one.id] = f"the size of its boot volume is not known: {why}"
        return notes

    def _read(self, what: str, jobs: Sequence[Job[T]]) -> list[T | Denied]:
        return read_all(jobs, self.connect, self.stop, progress=lambda done, of: self.progress(what, done, of))


def match(
    wanted: Sequence[Wanted], inventory: Inventory, by_id: Mapping[str, Found | Denied], source: str
) -> list[Found]:
    """The instance that each entry of a file means.

    Args:
        wanted: the entries.
        inventory: everything that was listed; complete, if any entry is a name.
        by_id: instances that were asked for by OCID.
        source: the file.

    Raises:
        UsageError: names that several live instances have, or entries that mean the same instance.
        NotFoundError: instances that are not there. All of them are told, each with its line.
    """
    if any(one.name for one in wanted):
        inventory.refuse_unread(f"cannot tell which instances the names in {source} mean")
    names: dict[str, list[Found]] = {}
    for each in inventory.found:
        names.setdefault(each.instance.name, []).append(each)
    ids = {each.instance.id: each for each in inventory.found}
    chosen: list[Found] = []
    missing, ambiguous = [], []
    owner: dict[str, Wanted] = {}
    for one in wanted:
        candidates = _candidates(one, names, ids, by_id)
        if not candidates:
            missing.append(f"{one.where}: {_absent(one, by_id, names)}")
        elif len(candidates) > 1:
            each_one = ", ".join(f"{found.instance.id} in {found.compartment}" for found in candidates)
            ambiguous.append(f"{one.where}: {len(candidates)} instances are named {one}: {each_one}")
        elif (earlier := owner.setdefault(candidates[0].instance.id, one)) is not one:
            ambiguous.append(f"{one.where}: {one} is the instance of {earlier.where}, {earlier}")
        else:
            chosen.append(candidates[0])
    if ambiguous:
        raise told_together(errors.UsageError, [*ambiguous, *missing], source, hint="give the OCID of the one you mean")
    if missing:
        raise told_together(errors.NotFoundError, missing, source, hint="`hyperexport instances list` shows the names")
    return chosen


def _candidates(
    one: Wanted, names: Mapping[str, list[Found]], ids: Mapping[str, Found], by_id: Mapping[str, Found | Denied]
) -> list[Found]:
    if one.id is not None:
        found = ids.get(one.id) or by_id.get(one.id)
        return [found] if isinstance(found, Found) else []
    named = [found for found in names.get(one.name or "", ()) if _lies(found, one)]
    alive = [found for found in named if found.instance.lifecycle_state not in DEAD_INSTANCE_STATES]
    # A name that only dead instances have: the plan refuses the newest of them and says why.
    return alive or sorted(named, key=lambda found: str(found.instance.time_created))[-1:]


def _lies(found: Found, one: Wanted) -> bool:
    in_compartment = one.compartment in {None, found.compartment, found.instance.compartment_id}
    return in_compartment and one.region in {None, found.instance.region}


def _absent(one: Wanted, by_id: Mapping[str, Found | Denied], names: Iterable[str]) -> str:
    if one.id is not None:
        why = by_id.get(one.id)
        return why.message if isinstance(why, errors.HypersdkError) else f"no instance {one}"
    near = difflib.get_close_matches(one.name or "", names, n=1)
    return f"no instance is named {one}" + (f"; did you mean {near[0]!r}?" if near and near[0] != one.name else "")


def _compartment(text: str, known: Sequence[Compartment]) -> Compartment:
    if Ocid.looks_like(text):
        wanted = Ocid.parse(text, "compartment", "tenancy").text
        return next((one for one in known if one.id == wanted), Compartment(wanted, wanted, wanted))
    found = next((one for one in known if one.path == text.strip("/")), None)
    if found is None:
        near = difflib.get_close_matches(text, [one.path for one in known], n=1)
        raise errors.NotFoundError(
            f"no compartment {text!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
            resource=text,
            hint="a path is written as in `hyperexport instances list`, such as prod/web; an OCID is taken, too",
        )
    return found


def _unread(why: Denied, region: str, compartment: Compartment, what: str) -> Unread:
    return Unread(replace(compartment, path=f"{what} in {compartment.path} of {region}"), why)


def _instances_of(compartment: Compartment) -> Callable[[Cloud], list[Instance]]:
    return lambda cloud: list(cloud.provider.instances(compartment.id))


def _instance_of(instance_id: str) -> Callable[[Cloud], Instance]:
    return lambda cloud: cloud.retrier.call("get instance", lambda: cloud.provider.instance(instance_id))


def _volumes_of(compartment_id: str, domain: str) -> Callable[[Cloud], tuple[list[Attached], list[Volume]]]:
    def read(cloud: Cloud) -> tuple[list[Attached], list[Volume]]:
        attached = list(cloud.provider.boot_attachments(compartment_id, domain))
        return attached, list(cloud.provider.boot_volumes(compartment_id, domain))

    return read


def _boot_volume_of(instance: Instance) -> Callable[[Cloud], Volume | None]:
    return lambda cloud: next((volume for volume in cloud.provider.volumes(instance) if volume.boot), None)
