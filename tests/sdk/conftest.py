"""A network of real processes for the session, and one event loop for all that use it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.trouble.rig import Rig


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def rig() -> AsyncIterator[Rig]:
    home = Path(tempfile.mkdtemp(prefix="archipelag-sdk-"))
    home.chmod(0o755)  # noqa: ASYNC240 - once. Cargos run without privileges and must reach their sockets.
    one = Rig(home)
    try:
        await one.open(islands=1)
        yield one
    finally:
        await one.close()
        shutil.rmtree(home, ignore_errors=True)
