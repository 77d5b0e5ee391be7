"""The memory store keeps every promise of the real one."""

import pytest
from archipelag_coordinator.testing.check_store import CheckStore
from archipelag_coordinator.testing.memory_store import MemoryStore


class TestMemoryStore(CheckStore):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()
