"""What an address means as a place: the object of that name and everything under it. Works over any store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hypersdk import errors
from hypersdk.model import ObjectInfo, ObjectRef
from hypersdk.retry import Call
from hypersdk.storage.protocol import Store


def under(store: Store, ref: ObjectRef, *, recursive: bool, call: Call) -> Iterator[ObjectInfo]:
    """The object of exactly this name and the objects under `name/`, in byte order.

    `web` never means `web-02/disk`: a name is a name and not the start of others. An empty name, or one that ends
    with "/", means all that is under it.

    Args:
        store: where.
        ref: the address.
        recursive: every object; else one level, each "directory" as one entry.
        call: runs the look at the object; the store's own `call` runs its pages.
    """
    if ref.name and not ref.name.endswith("/"):
        if call("look at object", lambda: store.exists(ref)):
            yield call("look at object", lambda: store.head(ref))
        ref = replace(ref, name=f"{ref.name}/")
    yield from store.list(ref, recursive=recursive)


def require_object(store: Store, ref: ObjectRef, call: Call) -> ObjectInfo:
    """The one object that an address names.

    Raises:
        UsageError: the address names a bucket or a directory.
        NotFoundError: absent.
    """
    if not ref.name:
        raise errors.UsageError(f"this names no object: {str(ref)!r}", resource=str(ref))
    return call("look at object", lambda: store.head(ref))
