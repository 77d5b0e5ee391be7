"""An Island's process that is killed, one that stands still, and one whose line breaks: its streams go on."""

from __future__ import annotations

import signal

import pytest

from .rig import Rig, island_of, said

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (signal.SIGKILL, "the Island's connection to the broker ended"),
        # Its connection stands, so that only its silence tells.
        (signal.SIGSTOP, "the Island was not heard from for 2."),
    ],
)
async def test_a_stream_goes_on_elsewhere_and_says_why(
    rig: Rig, how: signal.Signals, told: str
) -> None:
    await rig.whole()

    async with rig.streaming(1, words=100, delay_ms=20) as (stream,):
        island = island_of(rig, stream.job)
        island.signal(how)
    island.signal(signal.SIGCONT)

    assert (stream.status, stream.error) == (200, "")
    assert stream.text.split() == said(100).split()
    assert rig.attempts(stream.job) == [("lost", "lease_lost"), ("succeeded", "completed")]
    ((why,),) = rig.rows("SELECT reason FROM attempts WHERE job_id = %s AND epoch = 1", stream.job)
    assert why.startswith(told)
    assert rig.billed(stream.job) == ("succeeded", 100, 1)


async def test_an_island_that_comes_back_at_once_goes_on_itself(rig: Rig) -> None:
    await rig.whole()

    async with rig.streaming(4, words=100, delay_ms=20) as streams:
        rig.islands_broker.break_()
        rig.islands_broker.mend()

    for stream in streams:
        assert (stream.error, stream.text.split()) == ("", said(100).split())
        assert rig.attempts(stream.job) == [("succeeded", "completed")]
        assert rig.billed(stream.job) == ("succeeded", 100, 1)
