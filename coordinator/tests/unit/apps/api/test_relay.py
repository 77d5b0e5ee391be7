"""The token path: as it comes, as much as there is, and closed when the client has gone."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from archipelag_coordinator.apps.api.relay_response import Departure, RelayResponse
from archipelag_coordinator.apps.api.sse import ChatFrames
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.services.track import track
from archipelag_coordinator.services.watch import watch

from .conftest import Api, chat, events, until


class Line:
    """An ASGI connection: what was sent, a client that may leave, and a send that may be held up."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.left = asyncio.Event()
        self.clear = asyncio.Event()
        self.clear.set()

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.clear.wait()
        self.sent.append(message)

    @property
    def bodies(self) -> list[bytes]:
        return [one["body"] for one in self.sent if one["type"] == "http.response.body"]

    @property
    def text(self) -> str:
        return b"".join(self.bodies).decode()


async def relaying(
    api: Api, line: Line, *first: str, keep_alive_s: float = 15
) -> tuple[Job, asyncio.Task[None]]:
    job = await api.scene.running()
    if first:
        api.scene.stream(job, *first)
    reader = await watch(api.scene.world, job.id)
    frames = ChatFrames({"id": "chatcmpl-1"}, include_usage=False)
    response = RelayResponse(
        reader, frames, first=reader.take(), headers={}, keep_alive_s=keep_alive_s
    )
    task = asyncio.create_task(response({"type": "http"}, line.receive, line.send))
    await until(lambda: line.sent or not line.clear.is_set())
    return job, task


def contents(line: Line) -> list[str]:
    return [
        one["choices"][0]["delta"]["content"]
        for one in events(line.text)
        if one != "[DONE]" and one["choices"][0]["delta"].get("content")
    ]


def delivered(api: Api, job: Job) -> int:
    answer = api.scene.world.answers.get(job.id)
    assert answer is not None
    return answer.delivered


async def test_each_item_is_written_as_it_comes(api: Api) -> None:
    line = Line()
    job, task = await relaying(api, line, "a")
    for count, text in enumerate(["b", "c"], start=2):
        api.scene.stream(job, text)
        await until(lambda: delivered(api, job) == count)  # noqa: B023 - awaited at once

    await track(api.scene.world, api.scene.report(job, "a", "b", "c"))
    await task

    assert contents(line) == ["a", "b", "c"]
    assert [one.get("more_body") for one in line.sent[1:]] == [True] * 3 + [False]


async def test_what_has_piled_up_goes_out_as_one_event(api: Api) -> None:
    line = Line()
    job, task = await relaying(api, line, "a")
    await until(lambda: delivered(api, job) == 1)
    line.clear.clear()
    api.scene.stream(job, "b")
    await until(lambda: _taken(api, job) == 2)
    api.scene.stream(job, "c")
    api.scene.stream(job, "d", "e")
    assert delivered(api, job) == 1, "nothing counts as delivered before its write returned"
    line.clear.set()
    await until(lambda: delivered(api, job) == 5)
    await track(api.scene.world, api.scene.report(job, "a", "b", "c", "d", "e"))
    await task

    assert contents(line) == ["a", "b", "cde"]


async def test_the_last_items_and_the_end_go_out_together(api: Api) -> None:
    line = Line()
    job, task = await relaying(api, line, "a")
    await track(api.scene.world, api.scene.report(job, "a", "b"))
    await task

    assert contents(line) == ["a", "b"]
    assert line.bodies[-1].count(b"data: ") == 3, "content, reason, [DONE] in one write"
    assert line.text.endswith("data: [DONE]\n\n")


async def test_items_that_come_before_the_response_starts_are_not_overtaken_by_the_end(
    api: Api,
) -> None:
    job = await api.scene.running()
    api.scene.stream(job, "a")
    reader = await watch(api.scene.world, job.id)
    frames = ChatFrames({"id": "chatcmpl-1"}, include_usage=False)
    response = RelayResponse(reader, frames, first=reader.take(), headers={})
    await track(api.scene.world, api.scene.report(job, "a", "b", "c"))
    line = Line()

    await response({"type": "http"}, line.receive, line.send)

    assert "".join(contents(line)) == "abc"


async def test_silence_is_filled_with_comments(api: Api) -> None:
    line = Line()
    job, task = await relaying(api, line, "a", keep_alive_s=0.001)
    await until(lambda: line.text.count(": keep-alive\n\n") >= 3)
    await track(api.scene.world, api.scene.report(job, "a"))
    await task

    assert contents(line) == ["a"]


async def test_a_write_that_the_client_holds_up_is_looked_at_once_in_each_interval(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, interval_s = Line(), 0.001
    loop = asyncio.get_running_loop()
    set_at, looks = loop.call_at, list[float]()

    def noted(when: float, call: Any, *more: Any, **how: Any) -> asyncio.TimerHandle:
        if getattr(call, "__name__", "") == "_time_up":
            looks.append(when)
        return set_at(when, call, *more, **how)

    job, task = await relaying(api, line, "a", keep_alive_s=interval_s)
    line.clear.clear()
    monkeypatch.setattr(loop, "call_at", noted)
    api.scene.stream(job, "b")
    await until(lambda: len(looks) >= 8)
    line.clear.set()
    await track(api.scene.world, api.scene.report(job, "a", "b"))
    await task

    # The first are still reckoned from what was written before.
    gaps = [after - before for before, after in pairwise(looks[3:])]
    assert min(gaps) > interval_s / 2, "until then this process has other things to do"


async def test_a_client_that_leaves_closes_the_reader(api: Api) -> None:
    line = Line()
    job, task = await relaying(api, line, "a")
    assert api.readers(job.id) == 1
    line.left.set()
    await task

    answer = api.scene.world.answers.get(job.id)
    assert answer is not None
    assert answer.readers == 0 and answer.left_at is not None
    assert "[DONE]" not in line.text


async def test_a_client_that_leaves_while_a_write_waits_closes_the_reader(api: Api) -> None:
    line = Line()
    job, task = await relaying(api, line, "a")
    await until(lambda: delivered(api, job) == 1)
    line.clear.clear()
    api.scene.stream(job, "b")
    await until(lambda: _taken(api, job) == 2)
    line.left.set()
    await task

    assert api.readers(job.id) == 0
    assert delivered(api, job) == 1, "what was never written is not delivered"


async def test_a_server_that_stops_closes_the_reader_and_is_not_swallowed(api: Api) -> None:
    line = Line()
    job, task = await relaying(api, line, "a")
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert api.readers(job.id) == 0


async def test_departure_leaves_no_task_behind(api: Api) -> None:
    before = asyncio.all_tasks()
    line = Line()
    async with Departure(line.receive) as departure:
        await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert not departure.gone
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("stream", [False, True])
async def test_no_status_is_sent_before_there_is_something_to_say(api: Api, stream: bool) -> None:
    async with api.client() as http:
        asking = asyncio.create_task(http.post("/chat/completions", json=chat(stream=stream)))
        job = await api.assigned()
        await until(lambda: api.readers(job.id))
        early = asking.done()
        await api.answer("Hello")
        answer = await asking

    assert not early
    assert answer.status_code == 200
    assert api.readers(job.id) == 0


def _taken(api: Api, job: Job) -> int:
    answer = api.scene.world.answers.get(job.id)
    assert answer is not None
    return answer.taken
