"""Chat completions: OpenAI's shapes, whole and streamed, and errors with a status of their own."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from archipelag_coordinator.apps.loops import table
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.services.track import track
from archipelag_coordinator.services.world import SUBMITTING_MAX

from .conftest import Api, an_api, chat, events, until


async def test_whole_answer_has_openais_shape_and_is_paid_once(api: Api) -> None:
    before = await api.scene.balance()
    async with api.client() as http:
        asking = asyncio.create_task(http.post("/chat/completions", json=chat()))
        job = await api.answer("Hel", "lo")
        answer = await asking

    assert answer.status_code == 200
    told = answer.json()
    assert told["id"] == "chatcmpl-" + job.id.removeprefix("job_")
    assert told["object"] == "chat.completion"
    assert told["model"] == "small-model"
    (choice,) = told["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Hello", "refusal": None}
    assert choice["finish_reason"] == "stop"
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    details = {"prompt_tokens_details": {"cached_tokens": 0}}
    assert told["usage"] == usage | details | {"credits_used": "0.0003"}
    assert answer.headers["x-archipelag-job"] == job.id
    assert answer.headers["x-archipelag-island"] == "reef"
    assert answer.headers["x-request-id"].startswith("req_")
    assert before - await api.scene.balance() == 5 * 20 + 2 * 100


@pytest.mark.parametrize("base", ["/api/v1", "/v1"])
async def test_stream_is_role_then_content_then_reason_then_done(api: Api, base: str) -> None:
    async with api.client() as http:
        asking = asyncio.create_task(
            http.post(f"http://archipelag.test{base}/chat/completions", json=chat(stream=True))
        )
        await api.answer("Hel", "lo")
        answer = await asking

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-archipelag-island"] == "reef"
    *chunks, done = events(answer.text)
    assert done == "[DONE]"
    assert {c["object"] for c in chunks} == {"chat.completion.chunk"}
    assert len({c["id"] for c in chunks}) == 1
    deltas = [c["choices"][0]["delta"] for c in chunks]
    assert deltas[0] == {"role": "assistant", "content": "", "refusal": None}
    assert "".join(d.get("content", "") for d in deltas) == "Hello"
    assert [c["choices"][0]["finish_reason"] for c in chunks][-1] == "stop"
    assert all("usage" not in c for c in chunks)


async def test_usage_comes_last_where_it_was_asked_for(api: Api) -> None:
    body = chat(stream=True, stream_options={"include_usage": True})
    async with api.client() as http:
        asking = asyncio.create_task(http.post("/chat/completions", json=body))
        api.scene.stream(await api.assigned(), prompt_tokens=5, cached_tokens=4)
        await api.answer("a", "b", "c", finish_reason="length")
        answer = await asking

    *chunks, usage, done = events(answer.text)
    assert done == "[DONE]"
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 3
    assert usage["usage"]["prompt_tokens_details"] == {"cached_tokens": 4}
    assert all(c["usage"] is None for c in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


async def test_positions_stand_as_event_ids(api: Api) -> None:
    async with api.client() as http:
        asking = asyncio.create_task(http.post("/chat/completions", json=chat(stream=True)))
        await api.answer("a", "b", "c")
        answer = await asking

    ids = [line for line in answer.text.split("\n") if line.startswith("id: ")]
    assert ids[0] == "id: 0" and ids[-1] == "id: 3"


async def _ended_early(api: Api, cause: Cause, *, stream: bool) -> httpx.Response:
    async with api.client() as http:
        asking = asyncio.create_task(http.post("/chat/completions", json=chat(stream=stream)))
        await api.fail(cause, "the Cargo said why")
        return await asking


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("cause", "status"),
    [(Cause.BAD_INPUT, 422), (Cause.CARGO_FAILED, 502), (Cause.LIMIT_EXCEEDED, 422)],
)
async def test_an_error_before_content_has_its_status(
    api: Api, cause: Cause, status: int, stream: bool
) -> None:
    before = await api.scene.balance()

    answer = await _ended_early(api, cause, stream=stream)

    assert answer.status_code == status
    assert answer.json()["error"]["code"] == cause.value
    assert "the Cargo said why" in answer.json()["error"]["message"]
    assert await api.scene.balance() == before


@pytest.mark.parametrize("stream", [False, True])
async def test_nobody_there_is_503_with_the_reasons(stream: bool) -> None:
    api = await an_api()
    async with api.client() as http:
        asking = asyncio.create_task(http.post("/chat/completions", json=chat(stream=stream)))
        await until(api.scene.world.answers.all)
        await until(lambda: api.scene.world.answers.all()[0].waiting)
        api.scene.clock.advance(Policy().queue_wait_interactive_s + 1)
        await table.end_overdue(api.scene.world)
        answer = await asking

    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    error = answer.json()["error"]
    assert error["code"] == "no_capacity" and error["type"] == "server_error"
    assert error["reasons"] == ["no Island is connected"]


async def test_an_error_after_content_is_an_event_and_then_done(api: Api) -> None:
    before = await api.scene.balance()
    async with api.client() as http:
        asking = asyncio.create_task(http.post("/chat/completions", json=chat(stream=True)))
        job = await api.assigned()
        api.scene.stream(job, "Hel")
        await until(lambda: _delivered(api, job.id) == 1)
        report = api.scene.report(job, "Hel", cause=Cause.CARGO_FAILED)
        await track(api.scene.world, report)
        answer = await asking

    assert answer.status_code == 200
    *_, error, done = events(answer.text)
    assert done == "[DONE]"
    assert error["error"]["code"] == "cargo_failed"
    assert "the Cargo failed" in error["error"]["message"]
    assert await api.scene.balance() == before


async def test_too_long_a_line_is_429_with_the_time_to_come_back_and_nothing_is_held() -> None:
    api = await an_api()
    scene = api.scene
    await scene.island(slots=1)
    scene.world.forecast.slot_times.learn(scene.cargo.digest, 15.0)
    await scene.running()
    for n in range(2):
        await scene.submit(interactive=False, request_hash=b"waits %d" % n)
    before = await scene.balance(), await api.jobs(scene.user)
    async with api.client() as http:
        answer = await http.post("/chat/completions", json=chat(stream=True))
        scene.world.forecast.kept.sweep(
            1e9
        )  # As at another Coordinator, which keeps no place for it.
        shown = {"X-Archipelag-Place": answer.headers["X-Archipelag-Place"]}
        early = await http.post("/chat/completions", json=chat(stream=True), headers=shown)

    assert answer.status_code == early.status_code == 429
    assert early.headers["X-Archipelag-Place"] == shown["X-Archipelag-Place"]
    error = answer.json()["error"]
    assert (error["code"], error["type"]) == ("overloaded", "rate_limit_error")
    assert (error["ahead"], error["wait_s"], error["wait_target_s"]) == (2, 45.0, 20.0)
    assert 25 <= error["retry_after_s"] <= 30
    assert answer.headers["Retry-After"] == str(error["retry_after_s"])
    assert before == (await scene.balance(), await api.jobs(scene.user))


async def test_too_little_credit_is_402_and_nothing_ran(api: Api) -> None:
    user, _, secret = await api.another(credit=100)
    async with api.client(secret) as http:
        answer = await http.post("/chat/completions", json=chat(stream=True))

    assert answer.status_code == 402
    error = answer.json()["error"]
    assert (error["code"], error["available"]) == ("insufficient_credits", "0.0001")
    assert float(error["required"]) > 0.0001
    assert await api.jobs(user) == 0 and api.scene.bus.assigned == []


async def test_the_same_idempotency_key_gives_the_same_answer_and_one_charge(api: Api) -> None:
    headers = {"Idempotency-Key": "once"}
    async with api.client() as http:
        asking = asyncio.create_task(http.post("/chat/completions", json=chat(), headers=headers))
        await api.answer("Hello")
        first = await asking
        paid = await api.scene.balance()
        second = await http.post("/chat/completions", json=chat(), headers=headers)
        third = await http.post("/chat/completions", json=chat(stream=True), headers=headers)
        other = await http.post("/chat/completions", json=chat(seed=1), headers=headers)

    assert first.json() == second.json()
    assert events(third.text)[0]["id"] == first.json()["id"]
    assert await api.scene.balance() == paid and await api.jobs() == 1
    assert other.status_code == 409
    assert other.json()["error"]["code"] == "idempotency_mismatch"


async def test_whoever_comes_back_waits_for_nobodys_turn_and_needs_no_database(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {"Idempotency-Key": "back"}
    async with api.client() as http:
        asking = asyncio.create_task(http.post("/chat/completions", json=chat(), headers=headers))
        job = await api.assigned()
        await until(lambda: api.readers(job.id) == 1)
        api.scene.stream(job, "Hel")
        for _ in range(SUBMITTING_MAX):
            await api.scene.world.submitting.acquire()
        store = api.scene.world.store
        begin, refused = store.begin, []

        def away() -> Any:
            refused.append(1)
            raise ConnectionError("the database is away")

        monkeypatch.setattr(store, "begin", away)
        back = asyncio.create_task(
            http.post("/chat/completions", json=chat(stream=True), headers=headers)
        )
        await until(lambda: api.readers(job.id) == 2)
        monkeypatch.setattr(store, "begin", begin)
        await track(api.scene.world, api.scene.report(job, "Hel", "lo"))
        first, second = await asking, await back

    said = "".join(c["choices"][0]["delta"].get("content", "") for c in events(second.text)[:-1])
    assert (first.json()["choices"][0]["message"]["content"], said) == ("Hello", "Hello")
    assert refused == []


async def test_two_at_once_with_one_key_share_one_job(api: Api) -> None:
    headers = {"Idempotency-Key": "twins"}
    async with api.client() as http:
        asking = [
            asyncio.create_task(http.post("/chat/completions", json=chat(), headers=headers))
            for _ in range(2)
        ]
        job = await api.assigned()
        await until(lambda: api.readers(job.id) == 2)
        await api.answer("Hello")
        answers = await asyncio.gather(*asking)

    assert answers[0].json() == answers[1].json()
    assert await api.jobs() == 1


async def test_a_retry_of_the_official_client_joins_what_runs(api: Api) -> None:
    async with api.client() as http:
        asking = asyncio.create_task(http.post("/chat/completions", json=chat()))
        await api.answer("Hello")
        first = await asking
        again = {"x-stainless-retry-count": "1"}
        retried = await http.post("/chat/completions", json=chat(), headers=again)

    assert retried.json()["id"] == first.json()["id"]
    assert await api.jobs() == 1


@pytest.mark.parametrize("key", ["", "with space", "x" * 256, "tab\t"])
async def test_an_idempotency_key_that_is_none_is_422(api: Api, key: str) -> None:
    async with api.client() as http:
        headers = {"Idempotency-Key": key}
        answer = await http.post("/chat/completions", json=chat(), headers=headers)

    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["errors"]


async def test_whole_answer_survives_the_loss_of_an_island_unnoticed(api: Api) -> None:
    async with api.client() as http:
        asking = asyncio.create_task(http.post("/chat/completions", json=chat()))
        job = await api.assigned()
        api.scene.stream(job, "Hel")
        await track(api.scene.world, api.scene.report(job, "Hel", cause=Cause.CARGO_DIED))
        await api.scene.island(name="atoll")
        await table.dispatch_waiting(api.scene.world)
        job = await api.assigned(2)
        api.scene.stream(job, "lo")
        rest = api.scene.report(job, "lo", first_position=1, next_position=2)
        await track(api.scene.world, rest)
        answer = await asking

    assert answer.json()["choices"][0]["message"]["content"] == "Hello"


async def test_dispatch_that_breaks_leaves_a_job_that_nobody_reads(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise ConnectionError("the broker is away")

    monkeypatch.setattr(api.scene.bus, "assign", broken)
    async with api.client() as http:
        answer = await http.post("/chat/completions", json=chat())

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "unavailable"
    (left,) = api.scene.world.answers.all()
    api.scene.clock.advance(api.scene.world.policy.reader_grace_s + 1)
    await table.cancel_left(api.scene.world)
    assert (await api.scene.job(left.job_id)).status is JobStatus.CANCELLED


def _delivered(api: Api, job_id: Any) -> int:
    answer = api.scene.world.answers.get(job_id)
    assert answer is not None
    return answer.delivered
