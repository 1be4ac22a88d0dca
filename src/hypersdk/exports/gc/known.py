"""What our own run store knows of what may be left: every run, what it may call its own, and the ledger's open ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from hypersdk import errors
from hypersdk.exports.gc import rules
from hypersdk.exports.gc.rules import Owner, owned_by
from hypersdk.exports.plan import ExportPlan
from hypersdk.model import ObjectRef
from hypersdk.runs.records import DONE, FAILED, Intent, Run
from hypersdk.runs.store import RunStore

LEDGER = {"image": rules.IMAGE, "object": rules.OBJECT, "par": rules.LINK}
"""Kinds of the ledger in our words."""

EVER = datetime.fromtimestamp(0, UTC)


class Known:
    """What our own store knows: every run with what it may call its own, and the open ends of the ledger.

    Args:
        runs: the run store.
        tenancy_id: where we look; what is found there is no run's of another tenancy.

    Attributes:
        unreadable: runs of another version of this program, and why their plans cannot be read.
    """

    def __init__(self, runs: RunStore, tenancy_id: str) -> None:
        self.runs = runs
        self.records: dict[str, Run] = {run.run_id: run for run in runs.runs()}
        self.plans: dict[str, ExportPlan] = {}
        self.owners: dict[str, Owner] = {}
        self.open: dict[str, list[Intent]] = {}
        self.unreadable: dict[str, errors.HypersdkError] = {}
        for kind in LEDGER:
            for run_id, intent in runs.intents_of_kind(kind, since=EVER):
                if intent.removed is None:
                    self.open.setdefault(run_id, []).append(intent)
        for run in self.records.values():
            try:
                plan = ExportPlan.from_json(run.plan)
            except errors.HypersdkError as error:
                # Its marks are known, what it made cannot be told.
                self.unreadable[run.run_id] = error
                self.owners[run.run_id] = Owner(run.run_id, readable=False, host=run.host, subject=run.subject)
                continue
            self.plans[run.run_id] = plan
            owner = Owner(run.run_id, unfinished=run.unfinished, host=run.host, subject=run.subject)
            if plan.tenancy_id == tenancy_id:
                images = frozenset(one.resource_id for one in self._images(run.run_id) if one.resource_id)
                owner = replace(owner, image_ids=images, **owned_by(plan))
            self.owners[run.run_id] = owner

    def _images(self, run_id: str) -> Iterator[Intent]:
        return (one for one in self.open.get(run_id, ()) if one.kind == "image")

    def demanded(self, run_id: str) -> bool:
        """Whether a run may have left something: its places must be readable."""
        return self.records[run_id].unfinished or run_id in self.open

    def has_links(self, bucket: ObjectRef) -> bool:
        """Whether a run may have a link in this bucket."""
        intents = (one for open_ones in self.open.values() for one in open_ones if one.kind == "par")
        place = {"namespace": bucket.namespace, "bucket": bucket.bucket}
        return any(place.items() <= dict(one.place).items() for one in intents)

    def closer(self, run_id: str) -> Owner | None:
        """A run with what takes a closer look: whether it is driven, and what its user asked to keep."""
        run, owner = self.records.get(run_id), self.owners.get(run_id)
        if run is None or owner is None:
            return None
        return replace(owner, driven=self.runs.is_driven(run_id), kept=_keeps(self.runs, run))


def _keeps(runs: RunStore, run: Run) -> bool:
    if run.state == FAILED:
        return bool(run.options.get("keep_on_failure"))
    if run.state != DONE:
        return False
    ends = (step.result for step in runs.steps(run.run_id) if step.name == "clean-up" and step.result)
    return any(result.get("kept") for result in ends)
