"""Jobs: made, listed, read, followed from any place, and cancelled."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from archipelag_contracts.ids import JobId
from archipelag_coordinator.apps.loops import table
from archipelag_coordinator.domain.answer import Progress
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.services.track import track

from .conftest import Api, an_api, events, until


def job_body(**changes: Any) -> dict[str, Any]:
    chat = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
    return {"workload": "llm-chat", "input": chat} | changes


async def made(api: Api, **changes: Any) -> dict[str, Any]:
    async with api.client() as http:
        answer = await http.post("/jobs", json=job_body(**changes))
    assert answer.status_code == 201, answer.text
    job: dict[str, Any] = answer.json()["data"]
    return job


async def test_a_job_is_made_run_and_read(api: Api) -> None:
    job = await made(api, priority=3)
    async with api.client() as http:
        early = (await http.get(f"/jobs/{job['id']}/output")).json()["data"]
        await api.answer("Hel", "lo")
        read = (await http.get(f"/jobs/{job['id']}")).json()["data"]
        output = (await http.get(f"/jobs/{job['id']}/output")).json()["data"]

    assert job["status"] == "running" and job["output"] is None and job["priority"] == 3
    assert early == {
        "id": job["id"],
        "status": "running",
        "output": None,
        "error": None,
        "finish_reason": None,
        "usage": early["usage"],
    }
    assert read["status"] == "completed"
    assert read["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "total_tokens": 7,
        "credits_used": "0.0003",
    }
    (attempt,) = read["attempts"]
    assert (attempt["epoch"], attempt["island"], attempt["status"]) == (1, "reef", "succeeded")
    assert output["output"] == "Hello"


async def test_a_job_that_waits_says_why() -> None:
    api = await an_api()

    job = await made(api)

    assert (job["status"], job["waiting_for"]) == ("queued", ["no Island is connected"])


async def test_a_missed_deadline_is_called_timeout(api: Api) -> None:
    job = await made(api)
    await api.fail(Cause.DEADLINE)
    async with api.client() as http:
        read = (await http.get(f"/jobs/{job['id']}")).json()["data"]

    assert (read["status"], read["cause"]) == ("timeout", "deadline")
    async with api.client() as http:
        listed = [
            (await http.get("/jobs", params={"status": asked})).json()["meta"]["total"]
            for asked in ("timeout", "failed", ["timeout", "queued"], "queued")
        ]
    assert listed == [1, 1, 1, 0]


async def test_jobs_are_listed_newest_first_and_by_status(api: Api) -> None:
    jobs = [(await made(api))["id"] for _ in range(3)]
    await api.answer("x")
    async with api.client() as http:
        page = (await http.get("/jobs", params={"limit": 2, "offset": 1})).json()
        done = (await http.get("/jobs", params={"status": "completed"})).json()

    assert [job["id"] for job in page["data"]] == jobs[1::-1]
    assert page["meta"] == {"total": 3, "limit": 2, "offset": 1}
    assert [job["id"] for job in done["data"]] == [jobs[2]]


async def test_jobs_are_filtered_and_counted(api: Api) -> None:
    first = (await made(api))["id"]
    await api.answer("x")
    api.scene.clock.advance(60)
    second = (await made(api))["id"]
    minute = "2026-01-01T12:01:00Z"

    async def ids(**params: Any) -> list[str]:
        async with api.client() as http:
            page = (await http.get("/jobs", params=params | {"limit": 1})).json()
            whole = (await http.get("/jobs", params=params)).json()
        assert page["meta"]["total"] == whole["meta"]["total"] == len(whole["data"])
        return [job["id"] for job in whole["data"]]

    assert await ids(status=["completed", "running"]) == [second, first]
    assert await ids(status=["completed", "failed"]) == [first]
    assert await ids(workload="llm-chat") == [second, first]
    assert await ids(workload="llm-chat' OR '1'='1") == await ids(workload="\0x") == []
    assert await ids(created_after=minute) == [second]
    assert await ids(created_before=minute) == [first]
    assert await ids(created_after=minute, created_before=minute) == []
    assert await ids(created_after=minute, status="completed") == []


async def test_an_attempt_tells_when_it_began_and_ended(api: Api) -> None:
    job = await made(api)
    async with api.client() as http:
        early = (await http.get(f"/jobs/{job['id']}")).json()["data"]["attempts"][0]
        await api.answer("x")
        (late,) = (await http.get(f"/jobs/{job['id']}")).json()["data"]["attempts"]

    assert (early["island"], early["epoch"], early["ended_at"]) == ("reef", 1, None)
    assert late["assigned_at"] == "2026-01-01T12:00:00.000Z" and late["ended_at"]
    assert "started_at" in late and "reason" in late


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"offset": -1}, "offset"),
        ({"offset": 10**30}, "offset"),
        ({"status": "done"}, "status"),
        ({"status": ["queued", "done"]}, "status"),
        ({"status": ""}, "status"),
        ({"workload": "x" * 101}, "workload"),
        ({"created_after": "yesterday"}, "created_after"),
        ({"created_after": "2026-01-01T00:00:00"}, "created_after"),
        ({"created_before": "2026-13-01T00:00:00Z"}, "created_before"),
        ({"created_before": "9999-12-31T23:59:59Z"}, "created_before"),
    ],
)
async def test_a_list_out_of_bounds_is_422_and_names_the_field(
    api: Api, params: dict[str, Any], field: str
) -> None:
    async with api.client() as http:
        answer = await http.get("/jobs", params=params)

    assert answer.status_code == 422
    assert list(answer.json()["errors"]) == [field]
    assert answer.json()["error"]["param"] == field


async def test_a_stream_tells_status_tokens_and_done(api: Api) -> None:
    job = await made(api)
    async with api.client() as http:
        following = asyncio.create_task(http.get(f"/jobs/{job['id']}/stream"))
        await until(lambda: api.readers(JobId(job["id"])))
        await api.answer("Hel", "lo")
        told = events((await following).text)

    assert told[0] == {"type": "status", "content": "running"}
    tokens = [one["content"] for one in told if one["type"] == "token"]
    assert "".join(tokens) == "Hello"
    assert told[-1]["type"] == "done"
    assert told[-1]["usage"]["completion_tokens"] == 2


async def test_a_queued_job_streams_its_reasons_until_an_island_comes() -> None:
    api = await an_api()
    job = await made(api)
    async with api.client() as http:
        following = asyncio.create_task(http.get(f"/jobs/{job['id']}/stream"))
        await until(lambda: api.readers(JobId(job["id"])))
        await api.scene.island()
        await table.dispatch_waiting(api.scene.world)
        await api.answer("Hello")
        told = events((await following).text)

    reasons = ["no Island is connected"]
    wait = {"ahead": 0, "expected_wait_s": None}
    assert told[0] == {"type": "status", "content": "queued", "reasons": reasons} | wait
    assert {"type": "status", "content": "running"} in told
    assert told[-1]["type"] == "done"


@pytest.mark.parametrize(
    # Past the end means: it had everything.
    ("last", "rest"),
    [(None, "abc"), ("0", "abc"), ("1", "bc"), ("2", "c"), ("3", ""), ("99", "")],
)
async def test_last_event_id_gives_the_rest_and_nothing_twice(
    api: Api, last: str | None, rest: str
) -> None:
    job = await made(api)
    running = await api.assigned()
    api.scene.stream(running, "a", "b")
    headers = {"Last-Event-ID": last} if last is not None else {}
    async with api.client() as http:
        following = asyncio.create_task(http.get(f"/jobs/{job['id']}/stream", headers=headers))
        await until(lambda: api.readers(running.id))
        api.scene.stream(running, "c")
        await track(api.scene.world, api.scene.report(running, "a", "b", "c"))
        told = events((await following).text)

    assert "".join(one["content"] for one in told if one["type"] == "token") == rest


async def test_a_finished_job_streams_from_what_is_stored(api: Api) -> None:
    job = await made(api)
    await api.answer("Hel", "lo")
    api.scene.world.answers.drop(JobId(job["id"]))
    async with api.client() as http:
        told = events((await http.get(f"/jobs/{job['id']}/stream")).text)

    assert "".join(one["content"] for one in told if one["type"] == "token") == "Hello"
    assert told[-1]["type"] == "done"


async def test_a_failed_job_streams_its_error(api: Api) -> None:
    job = await made(api)
    await api.fail(Cause.CARGO_FAILED, "out of memory")
    async with api.client() as http:
        told = events((await http.get(f"/jobs/{job['id']}/stream")).text)

    assert told[-1]["type"] == "error"
    assert (told[-1]["error"], told[-1]["code"]) == ("out of memory", "cargo_failed")


async def test_progress_is_told(api: Api) -> None:
    job = await made(api)
    running = await api.assigned()
    async with api.client() as http:
        following = asyncio.create_task(http.get(f"/jobs/{job['id']}/stream"))
        await until(lambda: api.readers(running.id))
        answer = api.scene.world.answers.get(running.id)
        assert answer is not None
        answer.note = Progress(3, 20, "steps")
        answer.wake()
        await asyncio.sleep(0)
        await api.answer("done")
        told = events((await following).text)

    assert {"type": "progress", "step": 3, "total": 20, "content": "steps"} in told


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 40, "٣"])
async def test_a_last_event_id_that_is_none_is_422(api: Api, last: str) -> None:
    job = await made(api)
    async with api.client() as http:
        headers = {"Last-Event-ID": last.encode()}
        answer = await http.get(f"/jobs/{job['id']}/stream", headers=headers)

    assert answer.status_code == 422
    assert api.readers(JobId(job["id"])) == 0


async def test_cancel_ends_the_job_frees_the_credit_and_tells_the_island(api: Api) -> None:
    before = await api.scene.balance()
    job = await made(api)
    async with api.client() as http:
        first = await http.delete(f"/jobs/{job['id']}")
        second = await http.delete(f"/jobs/{job['id']}")

    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    assert first.json()["data"]["status"] == "cancelled"
    assert await api.scene.balance() == before
    assert [told[1] for told in api.scene.bus.cancelled] == [job["id"]]


async def test_the_same_idempotency_key_makes_one_job(api: Api) -> None:
    headers = {"Idempotency-Key": "once"}
    async with api.client() as http:
        answers = [
            await http.post("/jobs", json=job_body(), headers=headers),
            await http.post("/jobs", json=job_body(), headers=headers),
            await http.post("/jobs", json=job_body(priority=1), headers=headers),
        ]

    assert [a.status_code for a in answers] == [201, 201, 409]
    assert answers[0].json()["data"]["id"] == answers[1].json()["data"]["id"]
    assert await api.jobs() == 1


@pytest.mark.parametrize("job_id", ["job_x", "job_" + "0" * 26, "..%2f", "%00", "x" * 500])
@pytest.mark.parametrize("path", ["", "/output", "/stream"])
async def test_an_unknown_job_is_404(api: Api, job_id: str, path: str) -> None:
    async with api.client() as http:
        answer = await http.get(f"/jobs/{job_id}{path}")

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("given", ["", "0", "-1", "1e3", "inf", "nan", "604801", "٣", "5 s"])
async def test_a_time_that_is_none_is_refused(api: Api, given: str) -> None:
    async with api.client() as http:
        headers = {"X-Archipelag-Within": given.encode()}
        answer = await http.post("/jobs", json=job_body(), headers=headers)

    assert answer.status_code == 422
    assert list(answer.json()["errors"]) == ["X-Archipelag-Within"]
    assert api.scene.bus.assigned == []


async def test_by_when_a_customer_wants_a_job_is_its_deadline(api: Api) -> None:
    async with api.client() as http:
        answer = await http.post("/jobs", json=job_body(), headers={"X-Archipelag-Within": "7.5"})
    job = answer.json()["data"]

    made, ends = (datetime.fromisoformat(job[name]) for name in ("created_at", "deadline_at"))
    assert ends - made == timedelta(seconds=7.5)
    assert 0 < api.scene.bus.assigned[0].deadline_ms <= 7500
