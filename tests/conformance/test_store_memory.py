"""The memory store keeps the promises of every store."""

from collections.abc import Iterator

import pytest
from store_suite import Bound, StoreSuite

from hypersdk.model import ObjectRef
from hypersdk.storage.backends.memory import MemoryStore


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def bound(self) -> Iterator[Bound]:
        store = MemoryStore()
        yield Bound(store, ObjectRef("memory", "", "bucket", ""))
        store.close()
