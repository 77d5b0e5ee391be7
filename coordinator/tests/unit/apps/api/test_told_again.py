"""A reader of a job that waits is told where it stands, and told again when that has changed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from archipelag_contracts.ids import JobId
from archipelag_coordinator.domain.waits import NEWS_S, Wait
from archipelag_coordinator.services.cancel import cancel_here
from archipelag_coordinator.services.tell_waits import tell_waits
from archipelag_coordinator.testing import builders

from .conftest import Api, an_api, events, until


async def made(api: Api) -> JobId:
    chat = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
    async with api.client() as http:
        answer = await http.post("/jobs", json={"workload": "llm-chat", "input": chat})
    assert answer.status_code == 201, answer.text
    return JobId(answer.json()["data"]["id"])


async def test_a_reader_is_told_again_where_a_job_stands_and_only_when_that_is_news() -> None:
    api = await an_api()
    scene = api.scene
    await scene.island(slots=1, offers=(builders.an_offer(scene.cargo, slots=1),))
    scene.world.forecast.slot_times.learn(scene.cargo.digest, 6.0)
    jobs = [await made(api) for _ in range(4)]
    last = jobs[-1]
    async with api.client() as http:
        following = asyncio.create_task(http.get(f"/jobs/{last}/stream"))
        await until(lambda: api.readers(last))
        for _ in range(3):
            await tell_waits(scene.world)
            await asyncio.sleep(0)
        await cancel_here(scene.world, jobs[1], "gone")
        await tell_waits(scene.world)
        await asyncio.sleep(0.05)  # What was said is written by another task.
        await cancel_here(scene.world, last, "enough")
        told = events((await following).text)

    queued = [one for one in told if one.get("content") == "queued"]
    assert [(one["ahead"], one["expected_wait_s"]) for one in queued] == [(2, 18.0), (1, 12.0)]


async def test_nobody_asks_the_database_where_jobs_stand_that_nobody_reads() -> None:
    api = await an_api()
    await made(api)
    away = replace(api.scene.world, store=None)  # type: ignore[arg-type]

    await tell_waits(away)

    assert api.scene.world.answers.all()[0].stands is None


@pytest.mark.parametrize(
    ("told", "now", "news"),
    [
        (None, Wait(0, None), True),
        (Wait(3, 10.0), Wait(3, 10.0), False),
        (Wait(3, 10.0), Wait(3, 10.0 - NEWS_S / 2), False),
        (Wait(3, 10.0), Wait(3, 10.0 + NEWS_S), True),
        (Wait(3, 10.0), Wait(2, 10.0), True),
        (Wait(3, 10.0), Wait(3, None), True),
        (Wait(3, None), Wait(3, None), False),
        (Wait(3, None), Wait(3, 1.0), True),
    ],
)
def test_what_is_news(told: Wait | None, now: Wait, news: bool) -> None:
    assert now.is_news_after(told) is news
