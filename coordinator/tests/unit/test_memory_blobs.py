"""The memory store of bytes keeps every promise of the real ones."""

import pytest
from archipelag_coordinator.testing.check_files import CheckBlobs
from archipelag_coordinator.testing.memory_files import MemoryBlobs


class TestMemoryBlobs(CheckBlobs):
    @pytest.fixture
    def blobs(self) -> MemoryBlobs:
        return MemoryBlobs()
