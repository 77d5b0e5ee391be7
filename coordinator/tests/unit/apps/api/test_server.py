"""Through a real server on loopback: the official OpenAI client, clients that leave, readers that are slow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from archipelag_coordinator.apps.loops import table
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.services.track import track

from .conftest import READ, Api, an_api, chat, served, until

ASK: Any = {
    "model": "small-model",
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 8,
}


@pytest.fixture
async def base(api: Api) -> AsyncIterator[str]:
    async with served(api.app) as url:
        yield url


def official(base: str, secret: str, retries: int = 0) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=f"{base}/v1", api_key=secret, max_retries=retries, timeout=20
    )


async def test_the_official_client_gets_a_whole_answer(api: Api, base: str) -> None:
    async with official(base, api.secret) as client:
        asking = asyncio.create_task(client.chat.completions.create(**ASK))
        await api.answer("Hel", "lo")
        answer = await asking

    assert answer.choices[0].message.content == "Hello"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None and answer.usage.total_tokens == 7


async def test_the_official_client_sees_each_token_as_it_is_made(api: Api, base: str) -> None:
    async with official(base, api.secret) as client:
        asking = asyncio.create_task(
            client.chat.completions.create(
                **ASK, stream=True, stream_options={"include_usage": True}
            )
        )
        job = await api.assigned()
        api.scene.stream(job, "one")
        stream = await asking
        seen = []
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                seen.append(chunk.choices[0].delta.content)
                if len(seen) == 1:
                    api.scene.stream(job, " two")
                if len(seen) == 2:
                    await track(api.scene.world, api.scene.report(job, "one", " two", " three"))
            last = chunk

    assert seen == ["one", " two", " three"]
    assert last.usage is not None and last.usage.completion_tokens == 3


async def test_the_official_client_lists_models(api: Api, base: str) -> None:
    async with official(base, api.secret) as client:
        models = [model.id async for model in client.models.list()]
        one = await client.models.retrieve("small-model")

    assert models == ["small-model"] and one.id == "small-model"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"model": "none"}, openai.NotFoundError),
        ({"n": 2}, openai.BadRequestError),
        ({"max_tokens": -1}, openai.UnprocessableEntityError),
        ({"messages": []}, openai.UnprocessableEntityError),
    ],
)
async def test_errors_are_the_official_clients_own(
    api: Api, base: str, changes: dict[str, Any], error: type[openai.APIStatusError]
) -> None:
    async with official(base, api.secret) as client:
        with pytest.raises(error) as raised:
            await client.chat.completions.create(**ASK | changes)

    assert raised.value.code and raised.value.param is not None
    assert raised.value.request_id


async def test_refusals_are_the_official_clients_own(api: Api, base: str) -> None:
    reader = await api.another_key(scopes=READ)
    busy = await api.another_key(rate_per_minute=1)
    _, _, poor = await api.another(credit=0)
    async with official(base, "ak_" + "z" * 43) as client:
        with pytest.raises(openai.AuthenticationError):
            await client.chat.completions.create(**ASK)
    async with official(base, reader) as client:
        with pytest.raises(openai.PermissionDeniedError):
            await client.chat.completions.create(**ASK)
    async with official(base, poor) as client:
        with pytest.raises(openai.APIStatusError) as raised:
            await client.chat.completions.create(**ASK)
        assert raised.value.status_code == 402
    async with official(base, busy) as client:
        await client.models.list()
        with pytest.raises(openai.RateLimitError):
            await client.models.list()


async def test_an_error_amid_the_stream_is_raised_by_the_official_client(
    api: Api, base: str
) -> None:
    async with official(base, api.secret) as client:
        asking = asyncio.create_task(client.chat.completions.create(**ASK, stream=True))
        job = await api.assigned()
        api.scene.stream(job, "one")
        stream = await asking
        await until(lambda: api.scene.world.answers.all()[0].delivered)
        await track(api.scene.world, api.scene.report(job, "one", cause=Cause.CARGO_FAILED))
        with pytest.raises(openai.APIError) as raised:
            [chunk async for chunk in stream]

    assert raised.value.code == "cargo_failed"


async def test_the_official_client_does_not_come_again_where_the_same_would_happen(
    api: Api, base: str
) -> None:
    before = await api.scene.balance()
    async with official(base, api.secret, retries=2) as client:
        asking = asyncio.create_task(client.chat.completions.create(**ASK))
        await api.fail(Cause.CARGO_FAILED, "no luck")
        with pytest.raises(openai.InternalServerError) as raised:
            await asking

    assert raised.value.status_code == 502
    assert await api.jobs() == 1 and await api.scene.balance() == before


async def test_the_official_client_comes_again_where_another_try_may_help() -> None:
    api = await an_api()
    async with served(api.app) as url, official(url, api.secret, retries=1) as client:
        asking = asyncio.create_task(client.chat.completions.create(**ASK))
        await until(lambda: any(a.waiting for a in api.scene.world.answers.all()))
        api.scene.clock.advance(api.scene.world.policy.queue_wait_interactive_s + 1)
        await api.scene.island(seen_at=api.scene.clock.now())
        await table.end_overdue(api.scene.world)
        await api.answer("Hello")
        answer = await asking

    assert answer.choices[0].message.content == "Hello"
    assert await api.jobs() == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_before_the_first_word_stops_the_work(
    api: Api, base: str, stream: bool
) -> None:
    before = await api.scene.balance()
    async with httpx.AsyncClient() as http:
        headers = {"Authorization": f"Bearer {api.secret}"}
        url = f"{base}/v1/chat/completions"
        asking = asyncio.create_task(http.post(url, json=chat(stream=stream), headers=headers))
        job = await api.assigned()
        await until(lambda: api.readers(job.id) == 1)
        asking.cancel()
        await until(lambda: api.readers(job.id) == 0)

    api.scene.clock.advance(api.scene.world.policy.reader_grace_s + 1)
    await table.cancel_left(api.scene.world)
    assert (await api.scene.job(job.id)).status is JobStatus.CANCELLED
    assert await api.scene.balance() == before


async def test_a_client_that_leaves_amid_the_stream_pays_what_was_delivered(
    api: Api, base: str
) -> None:
    before = await api.scene.balance()
    headers = {"Authorization": f"Bearer {api.secret}"}
    async with httpx.AsyncClient(headers=headers) as http:
        url = f"{base}/v1/chat/completions"
        request = http.build_request("POST", url, json=chat(stream=True))
        asking = asyncio.create_task(http.send(request, stream=True))
        job = await api.assigned()
        api.scene.stream(job, "one", "two")
        answer = await asking
        async for line in answer.aiter_lines():
            if '"onetwo"' in line:
                break
        await answer.aclose()
        await until(lambda: api.readers(job.id) == 0)

    api.scene.clock.advance(api.scene.world.policy.reader_grace_s + 1)
    await table.cancel_left(api.scene.world)
    ended = await api.scene.job(job.id)
    assert (ended.status, ended.output) == (JobStatus.CANCELLED, "onetwo")
    assert before - await api.scene.balance() == 5 * 20 + 2 * 100


async def test_a_slow_reader_slows_only_itself_and_misses_nothing() -> None:
    api = await an_api()
    await api.scene.island(slots=8)
    texts = [f"{number} " + "x" * 500 for number in range(100)]
    async with served(api.app) as base:
        reader, writer = await _raw(base, api.secret, chat(stream=True, max_tokens=2048))
        job = await api.assigned()
        for text in texts:
            api.scene.stream(job, text)
            await asyncio.sleep(0)

        async with official(base, api.secret) as client:
            asking = asyncio.create_task(client.chat.completions.create(**ASK))
            await api.assigned(2)
            other = await api.answer("Hello")
            assert (await asking).choices[0].message.content == "Hello"

        assert other.id != job.id
        api.scene.bus.assigned.reverse()
        await track(api.scene.world, api.scene.report(job, *texts))
        whole = b""
        while b"[DONE]" not in whole:
            whole += await reader.read(1024)
        writer.close()
        await writer.wait_closed()

    found = whole.decode()
    assert all(f"{number} x" in found for number in range(100))


async def _raw(
    base: str, secret: str, body: dict[str, Any]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request by hand, whose answer is not read yet."""
    host, port = base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    content = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    writer.write(head.encode() + content)
    await writer.drain()
    return reader, writer


async def test_the_server_names_itself_nowhere(api: Api, base: str) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"{base}/api/v1/health")

    assert "server" not in answer.headers


async def test_a_large_body_is_refused_before_it_is_sent(api: Api, base: str) -> None:
    reader, writer = await asyncio.open_connection(*base.removeprefix("http://").split(":"))
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.secret}\r\n"
        "Content-Length: 10485760\r\n\r\n"
    )
    writer.write(head.encode())
    status = await reader.readline()
    writer.close()
    await writer.wait_closed()

    assert b" 413 " in status
