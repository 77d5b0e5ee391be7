"""A client, and both kinds of registry to try it on."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from archipelag_oci.registry import Registry
from archipelag_oci.settings import Settings

sys.path.insert(0, str(Path(__file__).parent))
from registry_process import Server, server


@pytest.fixture(scope="module", params=["ours", "debian"])
def registry_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with server(request.param, tmp_path_factory.mktemp(request.param)) as started:
        yield started


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    async with Registry(Settings(backoff_s=0.01, chunk_bytes=1 << 20)) as client:
        yield client
