"""The database restarted and out of reach: streams go on, requests hear of it soon, and nobody is blamed for it."""

from __future__ import annotations

import asyncio
import time

import pytest

from .rig import Rig, Stream, said

pytestmark = pytest.mark.asyncio(loop_scope="session")

WORDS = 150


def check(rig: Rig, streams: list[Stream]) -> None:
    """Each reader has the whole answer, of a single attempt, and it was paid once."""
    for stream in streams:
        assert (stream.status, stream.error) == (200, "")
        assert stream.text.split() == said(WORDS).split()
        assert rig.attempts(stream.job) == [("succeeded", "completed")], rig.reasons(stream.job)
        assert rig.billed(stream.job) == ("succeeded", WORDS, 1)


async def test_a_restarted_database_costs_no_stream(rig: Rig) -> None:
    await rig.whole()

    async with rig.streaming(4, WORDS, delay_ms=20) as streams:
        rig.postgres.kill()
        rig.postgres.spawn()
        await asyncio.to_thread(rig.postgres.wait_ready)

    check(rig, streams)


ASKED = {"messages": [{"role": "user", "content": "word"}]}


# The silence is longer than a lease, and than Islands may be silent before they count as lost.
@pytest.mark.parametrize(("how", "away_s", "delay_ms"), [("break_", 3, 30), ("silence", 7, 60)])
async def test_while_it_is_out_of_reach_streams_flow_and_requests_are_told_soon(
    rig: Rig, how: str, away_s: float, delay_ms: int
) -> None:
    await rig.whole()

    async with rig.streaming(4, WORDS, delay_ms=delay_ms) as streams:
        getattr(rig.database, how)()
        cut_at = time.monotonic()
        await asyncio.sleep(1)
        told = []
        for _ in range(3):
            began = time.monotonic()
            answer = await rig.http.post("/jobs", json={"workload": "slow-chat", "input": ASKED})
            told.append((answer.status_code, time.monotonic() - began, answer))
        await asyncio.sleep(max(0, cut_at + away_s - time.monotonic()))
        mended_at = time.monotonic()
        rig.database.mend()

    for status, took, answer in told:
        assert status == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["code"] == "unavailable"
        assert took < 8, "bounded, also before we know that it is away"
    for stream in streams:
        meanwhile = [at for at in stream.at if cut_at < at < mended_at]
        assert len(meanwhile) > 25, "tokens pass by the database"
    check(rig, streams)
    assert rig.rows("SELECT count(*) FROM jobs WHERE status IN ('queued', 'running')") == [(0,)]

    lost = rig.rows("SELECT name FROM islands WHERE status <> 'ready'")
    assert lost == [], "nobody is blamed for what could not be written"


async def test_an_answer_that_ends_meanwhile_is_settled_afterwards_and_not_made_again(
    rig: Rig,
) -> None:
    await rig.whole()

    async with rig.streaming(4, WORDS, delay_ms=20) as streams:
        rig.database.silence()
        # The last words are said, and the report waits for longer than an answer may look unfinished.
        await asyncio.sleep(12)
        rig.database.mend()

    check(rig, streams)
