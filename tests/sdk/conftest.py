"""A network of real processes for the session, and one event loop for all that use it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.trouble.rig import Rig, opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def rig() -> AsyncIterator[Rig]:
    async with opened("sdk", Rig, islands=1) as one:
        yield one
