"""The fake keeps the promises that the real ones keep."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from archipelag_island.runtime import Runtime
from archipelag_island.testing.check_runtime import CHECKS
from archipelag_island.testing.fake_runtime import FakeRuntime


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_keeps_promise(check: Callable[[Runtime], Awaitable[None]]) -> None:
    await check(FakeRuntime())
