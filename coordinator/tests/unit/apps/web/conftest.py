"""Fixtures of the pages' tests."""

from __future__ import annotations

import pytest

from .house import House, a_full_house, a_house


@pytest.fixture
async def house() -> House:
    """Something of everything."""
    return await a_full_house()


@pytest.fixture
async def empty_house() -> House:
    return await a_house()
