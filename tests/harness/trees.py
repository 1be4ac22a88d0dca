"""Trees of small files and buckets of small objects, copied into each other."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from two_buckets import HERE, THERE, TwoBuckets

from hypersdk.model import ObjectRef
from hypersdk.storage.backends.file import FileStore
from hypersdk.storage.protocol import Store
from hypersdk.transfer.copies.copying import copy_items
from hypersdk.transfer.copies.items import Item, Outcome
from hypersdk.transfer.engine import unwatched


def bodies(count: int, size: int = 3000, seed: int = 5) -> dict[str, bytes]:
    """Names in a few directories, with different bytes of different sizes, an empty one among them."""
    chance = random.Random(seed)
    return {f"d{n % 3}/f{n:04}": chance.randbytes(chance.randrange(size) if n else 0) for n in range(count)}


def plant(root: Path, files: dict[str, bytes]) -> Path:
    """Write files below a directory."""
    for name, body in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return root


def planted(root: Path) -> dict[str, bytes]:
    """All files below a directory, hidden ones too."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def folder(root: Path) -> ObjectRef:
    """The address of everything below a directory."""
    return ObjectRef("file", "", str(root), "")


def items(store: Store, source: ObjectRef, target: ObjectRef, *, look: Store | None = None) -> Iterator[Item]:
    """Everything below one address, to the same names below another; `look` lists what stands there."""
    there = {info.ref: info for info in look.list(target)} if look else {}
    for info in store.list(source):
        ref = replace(target, name=target.name + info.ref.name.removeprefix(source.name))
        yield Item(info, ref, there.get(ref))


class Copies:
    """Copies between two buckets and two directories of one test."""

    def __init__(self, cloud: TwoBuckets, tmp_path: Path) -> None:
        self.cloud = cloud
        self.files = FileStore()
        self.source = tmp_path / "source"
        self.target = tmp_path / "target"
        for path in (self.source, self.target):
            path.mkdir()

    def up(self, **fields: Any) -> dict[str, Outcome]:
        """From the directory `source` to the bucket THERE."""
        return self._copy(self.files, folder(self.source), self.cloud.store, self.cloud.ref(""), **fields)

    def down(self, **fields: Any) -> dict[str, Outcome]:
        """From the bucket HERE to the directory `target`."""
        return self._copy(self.cloud.store, self.cloud.ref("", HERE), self.files, folder(self.target), **fields)

    def across(self, **fields: Any) -> dict[str, Outcome]:
        """From bucket to bucket."""
        return self._copy(self.cloud.store, self.cloud.ref("", HERE), self.cloud.store, self.cloud.ref(""), **fields)

    def aside(self, **fields: Any) -> dict[str, Outcome]:
        """From directory to directory."""
        return self._copy(self.files, folder(self.source), self.files, folder(self.target), **fields)

    def fill(self, files: dict[str, bytes], bucket: str = HERE, **fields: Any) -> None:
        """Put objects into a bucket."""
        for name, body in files.items():
            self.cloud.put(name, body, bucket, **fields)

    def filled(self, bucket: str = THERE) -> dict[str, bytes]:
        """All objects of a bucket."""
        return {name: self.cloud.body(name, bucket) for name in self.cloud.names(bucket)}

    def _copy(
        self, store: Store, source: ObjectRef, target: Store, ref: ObjectRef, *, listed: bool = False, **fields: Any
    ) -> dict[str, Outcome]:
        wanted = fields.pop("wanted", None) or items(store, source, ref, look=target if listed else None)
        advanced = fields.pop("advanced", unwatched)
        outcomes = list(copy_items(wanted, self.cloud.between(store, target, **fields), advanced))
        named = {outcome.item.source.ref.name: outcome for outcome in outcomes}
        assert len(named) == len(outcomes), "one outcome for each item"
        return named


def kinds(outcomes: dict[str, Outcome]) -> dict[str, set[str]]:
    """Names by how they ended."""
    found: dict[str, set[str]] = {}
    for name, outcome in outcomes.items():
        found.setdefault(outcome.kind, set()).add(name)
    return found
