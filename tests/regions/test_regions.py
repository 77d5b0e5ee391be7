"""Two regions on real servers: work stays where it is asked for, goes abroad where it must, and outlives a cut link."""

from __future__ import annotations

import contextlib
import re

import pytest
from archipelag_contracts import streams
from archipelag_coordinator.adapters.nats import credentials
from archipelag_coordinator.adapters.nats.connection import Connection, Identity
from archipelag_coordinator.clock import SystemClock
from archipelag_coordinator.ids import SystemIds

from tests.trouble.rig import Stream, said

from .conftest import Regions
from .rig import WAY_S, Region

pytestmark = pytest.mark.asyncio(loop_scope="session")
WORDS = 100
LONG = 600


def where(region: Region, job: str) -> list[str]:
    """The Islands of a job's attempts."""
    rows = region.rows(
        "SELECT i.name FROM attempts a JOIN islands i ON i.id = a.island_id"
        " WHERE a.job_id = %s ORDER BY a.epoch",
        job,
    )
    return [name for (name,) in rows]


def check(region: Region, stream: Stream, words: int = WORDS) -> None:
    """Its reader has the whole answer, and it was paid once."""
    assert (stream.status, stream.error) == (200, "")
    assert stream.text.split() == said(words).split()
    assert region.billed(stream.job) == ("succeeded", words, 1)


async def kept_of(region: Region, job: str) -> int:
    """Messages of this job that the region's broker keeps for replay."""
    keys = credentials.load_keys(region.keys)
    clock = SystemClock()
    me = SystemIds().relay(clock.now())
    who = Identity(
        keys.coordinator_user,
        lambda: credentials.coordinator_token(keys, me, issued_at=clock.now()),
        credentials.inbox_of(me),
        me,
    )
    connection = Connection([region.nats.url], who)
    await connection.open()
    try:
        found = await connection.client.jetstream().stream_info(
            streams.OUTPUT.name, subjects_filter=f"arc.v1.island.*.out.*.{job}.*"
        )
        return sum((found.state.subjects or {}).values())
    finally:
        await connection.close()


async def test_a_region_answers_from_its_own_islands_and_tells_the_others_nothing(
    regions: Regions,
) -> None:
    await regions.whole()

    for here, other in ((regions.east, regions.west), (regions.west, regions.east)):
        got = [await here.stream(WORDS, delay_ms=1) for _ in range(5)]

        for stream in got:
            check(here, stream)
            assert where(here, stream.job) == [f"{here.name}-0"], await here.why(stream.job)
            assert await kept_of(here, stream.job) > 0
            assert await kept_of(other, stream.job) == 0


async def test_how_far_the_other_region_is_is_measured(regions: Regions) -> None:
    await regions.whole()

    for one in (regions.east, regions.west):
        (away_ms,) = re.findall(r"is (\d+) ms away", await one.regions())
        assert int(away_ms) >= 2000 * WAY_S


async def test_what_no_island_here_can_take_runs_in_the_other_region(regions: Regions) -> None:
    await regions.whole()

    for here, other in ((regions.east, regions.west), (regions.west, regions.east)):
        async with here.without_island():
            stream = await here.stream(WORDS, delay_ms=1)

        check(here, stream)
        assert where(here, stream.job)[-1] == f"{other.name}-0"


async def test_a_region_that_is_cut_off_works_on_and_heals(regions: Regions) -> None:
    await regions.whole()
    east, west = regions.east, regions.west

    async with contextlib.AsyncExitStack() as stack:
        async with west.without_island():
            (abroad,) = await stack.enter_async_context(west.streaming(1, LONG, delay_ms=40))
            assert where(west, abroad.job)[-1] == "east-0"
        async with east.streaming(3, WORDS, 20) as at_east, west.streaming(3, WORDS, 20) as at_west:
            west.link.break_()
            assert len(abroad.at) < LONG / 2, "too slow a machine: it is nearly over"
            await east.until(east.reaches_nobody, "east knows that west is away")
            await west.until(west.reaches_nobody, "west knows that east is away")
            fresh = [await one.stream(WORDS, delay_ms=1) for one in (east, west)]

    for here, streams_here in ((east, [*at_east, fresh[0]]), (west, [*at_west, fresh[1]])):
        for stream in streams_here:
            check(here, stream)
            assert where(here, stream.job) == [f"{here.name}-0"], "nothing of it was lost"
    check(west, abroad, LONG)
    assert where(west, abroad.job)[-1] == "west-0", "it went on where its reader is"
    await regions.whole()
    async with west.without_island():
        again = await west.stream(WORDS, delay_ms=1)
    check(west, again)
    assert where(west, again.job)[-1] == "east-0"


async def test_a_link_that_falls_silent_is_found_out(regions: Regions) -> None:
    """Nobody closes its connection: only questions that are not answered tell."""
    await regions.whole()
    east, west = regions.east, regions.west

    west.link.silence()
    for one in (east, west):
        await one.until(one.reaches_nobody, f"{one.name} knows that the other is away")
    got = [await one.stream(WORDS, delay_ms=1) for one in (east, west)]
    await regions.whole()

    for here, stream in zip((east, west), got, strict=True):
        check(here, stream)
        assert where(here, stream.job) == [f"{here.name}-0"]
