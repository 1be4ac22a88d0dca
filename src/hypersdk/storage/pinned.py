"""A store in which one object must be the one that the user named by its etag (`--if-match`)."""

from __future__ import annotations

from typing import Any, cast

from hypersdk import errors
from hypersdk.model import ObjectInfo, ObjectRef
from hypersdk.storage.protocol import Store


class _Pinned:
    def __init__(self, store: Store, ref: ObjectRef, etag: str) -> None:
        self._store = store
        self._ref = ref
        self._etag = etag

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def head(self, ref: ObjectRef) -> ObjectInfo:
        """Facts about an object, if it is still the one that was named."""
        if ref != self._ref:
            return self._store.head(ref)
        try:
            info = self._store.head(ref)
        except errors.NotFoundError as error:
            raise self._another("there is none", error.request_id) from error
        if info.etag != self._etag:
            raise self._another(f"it is {info.etag}", None)
        return info

    def _another(self, what: str, request_id: str | None) -> errors.PreconditionFailed:
        return errors.PreconditionFailed(
            f"{self._ref}: not the object of etag {self._etag}: {what}",
            resource=str(self._ref),
            request_id=request_id,
        )


def pinned(store: Store, ref: ObjectRef, etag: str) -> Store:
    """The store, in which `ref` is this object or none: every look at another raises PreconditionFailed.

    All bytes are pinned by the etag that a look found, so that none of another object can be copied or overwritten.
    """
    return cast("Store", _Pinned(store, ref, etag))
