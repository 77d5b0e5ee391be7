"""A region whose link is taken back, by its command on a network that serves."""

from __future__ import annotations

import asyncio
import sys

import pytest
from archipelag_coordinator.domain.link import Link

from .conftest import Regions
from .test_regions import WORDS, check, where

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def unlink(regions: Regions, name: str) -> str:
    """In the first region, where an operator would."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "archipelag_coordinator", "keys", "unlink", "--region", name),
        env=regions.east.environment(),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await program.communicate()
    assert program.returncode == 0
    return out.decode()


async def test_a_region_whose_link_is_taken_back_is_alone_until_it_gets_another(
    regions: Regions,
) -> None:
    await regions.whole()
    east, west = regions.east, regions.west

    async with west.streaming(3, WORDS, 20) as under_way:
        said = await unlink(regions, "west")
        await east.until(east.reaches_nobody, "east knows that west is away")
        await west.until(west.reaches_nobody, "west knows that east is away")
        fresh = [await one.stream(WORDS, delay_ms=1) for one in (east, west)]
        east.nats.stop()
        east.nats.start()
        west.nats.stop()
        west.nats.start()
    for one in (east, west):
        await one.whole()
    after = [await one.reaches_nobody() for one in (east, west)]
    await west.joins_again(Link("west", 2))
    await regions.whole()

    assert "--number 2" in said
    for here, streams_here in ((east, fresh[:1]), (west, [*under_way, fresh[1]])):
        for stream in streams_here:
            check(here, stream)
            assert where(here, stream.job)[0] == f"{here.name}-0"
    assert after == [True, True], "a restart brings nobody back"
