"""The broker restarted, emptied, and out of reach: no job lost, none run twice to its end, none billed twice."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

import pytest

from .rig import Rig, Stream, said

pytestmark = pytest.mark.asyncio(loop_scope="session")

WORDS = 150


def check(rig: Rig, streams: list[Stream], *, attempts_max: int = 1) -> None:
    """Each reader has the whole answer, it was run to its end once, and paid once."""
    for stream in streams:
        assert (stream.status, stream.error) == (200, "")
        assert stream.text.split() == said(WORDS).split()
        attempts = rig.attempts(stream.job)
        assert attempts.count(("succeeded", "completed")) == 1, rig.reasons(stream.job)
        assert len(attempts) <= attempts_max, rig.reasons(stream.job)
        assert rig.billed(stream.job) == ("succeeded", WORDS, 1)


async def start_jobs(rig: Rig, count: int, items: int = 100, delay_ms: int = 20) -> list[str]:
    """Without readers."""
    return [await start_job(rig, items, delay_ms) for _ in range(count)]


async def start_job(rig: Rig, items: int, delay_ms: int) -> str:
    system = f'{{"delay_ms":{delay_ms}}}'
    body = {
        "workload": "slow-chat",
        "input": {
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": said(items)},
            ],
            "max_tokens": items,
        },
    }
    made = await rig.http.post("/jobs", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["data"]["id"])


async def all_done(rig: Rig, jobs: list[str]) -> None:
    async def ended() -> bool:
        rows = await asyncio.to_thread(rig.rows, "SELECT status FROM jobs WHERE id = ANY(%s)", jobs)
        return all(status not in ("queued", "running") for (status,) in rows)

    await rig.until(ended, "every job has ended")
    for job in jobs:
        assert [status for status, _ in rig.attempts(job)].count("succeeded") == 1
        assert rig.billed(job) == ("succeeded", 100, 1)


async def test_a_restarted_broker_costs_no_stream_and_no_job(rig: Rig) -> None:
    await rig.whole()
    jobs = await start_jobs(rig, 3)

    async with rig.streaming(4, WORDS, delay_ms=20) as streams:
        rig.nats.kill()
        rig.nats.spawn()
        await asyncio.to_thread(rig.nats.wait_ready)

    check(rig, streams)
    await all_done(rig, jobs)


async def test_a_broker_that_forgot_everything_costs_no_stream_and_no_job(rig: Rig) -> None:
    await rig.whole()
    jobs = await start_jobs(rig, 3)

    async with rig.streaming(4, WORDS, delay_ms=20) as streams:
        rig.nats.kill()
        shutil.rmtree(rig.nats.store)
        rig.nats.spawn()
        await asyncio.to_thread(rig.nats.wait_ready)

    check(rig, streams)
    await all_done(rig, jobs)


async def ask(rig: Rig) -> Any:
    return await rig.http.post(
        "/chat/completions",
        json={"model": "slow-chat", "messages": [{"role": "user", "content": "hi"}]},
    )


async def test_while_the_broker_is_out_of_reach_nothing_is_lost_and_it_is_said(rig: Rig) -> None:
    await rig.whole()
    jobs = await start_jobs(rig, 3)

    async with rig.streaming(4, WORDS, delay_ms=60) as streams:
        rig.broker.break_()
        rig.islands_broker.break_()
        await asyncio.sleep(3)
        waiting = asyncio.create_task(ask(rig))
        listed = await rig.http.get("/jobs")
        ready = await rig.http.get("/ready")
        await asyncio.sleep(4)  # longer than a lease, in all
        rig.broker.mend()
        rig.islands_broker.mend()
    answered = await waiting

    assert listed.status_code == 200, "what needs no Island goes on"
    assert ready.status_code == 503 and ready.json()["checks"]["broker"] == "out of reach"
    assert answered.status_code == 200, "a request waits for the broker as for an Island"
    check(rig, streams)
    await all_done(rig, jobs)


async def test_a_broker_that_stays_away_is_a_503_that_says_so(rig: Rig) -> None:
    await rig.whole()
    rig.broker.break_()

    refused = await ask(rig)
    rig.broker.mend()

    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["code"] == "no_capacity"
    assert "message fabric" in refused.json()["error"]["message"]


async def test_a_silent_broker_is_found_out_and_nothing_is_lost(rig: Rig) -> None:
    await rig.whole()

    async with rig.streaming(4, WORDS, delay_ms=20) as streams:
        rig.broker.silence()
        await asyncio.sleep(4)
        rig.broker.mend()

    check(rig, streams)
