"""Batches over HTTP: what is asked, what is shown, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from archipelag_contracts.ids import JobId
from archipelag_coordinator.apps.loops.batches import work_on_batches
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.services.dispatch import dispatch
from archipelag_coordinator.services.failover import failover
from archipelag_coordinator.services.track import track

from .conftest import Api
from .test_description import description, problems


def batch_body(count: int = 2, **changes: Any) -> dict[str, Any]:
    inputs = [{"prompt": f"number {n}", "max_tokens": 8} for n in range(count)]
    return {"workload": "llm-chat", "inputs": inputs} | changes


async def made(api: Api, count: int = 2, **changes: Any) -> dict[str, Any]:
    async with api.client() as http:
        answer = await http.post("/jobs/batch", json=batch_body(count, **changes))
    assert answer.status_code == 201, answer.text
    batch: dict[str, Any] = answer.json()["data"]
    return batch


async def status(api: Api, batch: dict[str, Any]) -> dict[str, Any]:
    async with api.client() as http:
        answer = await http.get(f"/jobs/{batch['id']}/batch-status")
    assert answer.status_code == 200, answer.text
    document = await description(api)
    shape = document["components"]["schemas"]["BatchStatusAnswer"]
    assert problems(document, shape, answer.json(), "answer") == []
    shown: dict[str, Any] = answer.json()["data"]
    return shown


async def complete(api: Api, job_id: str, text: str) -> None:
    job = await dispatch(api.scene.world, JobId(job_id))
    await track(api.scene.world, api.scene.report(job, text))


async def break_off(api: Api, job_id: str) -> None:
    job = await dispatch(api.scene.world, JobId(job_id))
    await failover(api.scene.world, job.id, job.epoch, Cause.CARGO_FAILED, "it broke")


async def test_a_batch_is_made_worked_on_and_merged(api: Api) -> None:
    batch = await made(api, 3)
    before = await status(api, batch)
    await work_on_batches(api.scene.world)
    begun = await status(api, batch)
    for number, job_id in enumerate(batch["jobs"]):
        await complete(api, job_id, f"text {number}")
    await work_on_batches(api.scene.world)
    ended = await status(api, batch)

    assert batch["id"].startswith("bat_") and batch["status"] == "running"
    assert (batch["total"], len(set(batch["jobs"]))) == (3, 3)
    assert (batch["merge_strategy"], batch["fail_mode"]) == ("concat", "best_effort")
    assert (batch["max_parallelism"], batch["priority"]) == (10, 0)
    assert [one["status"] for one in before["items"]] == ["pending"] * 3
    assert before["counts"]["queued"] == begun["counts"]["queued"] == 3
    assert [one["status"] for one in begun["items"]] == ["queued"] * 3
    assert begun["output"] is None
    assert ended["status"] == "completed" and ended["completed_at"]
    assert ended["counts"] == {
        "queued": 0,
        "running": 0,
        "completed": 3,
        "failed": 0,
        "cancelled": 0,
    }
    assert ended["output"] == "text 0\ntext 1\ntext 2"
    assert ended["usage"]["prompt_tokens"] == 15 and ended["usage"]["completion_tokens"] == 3
    assert float(ended["usage"]["credits_used"]) > 0


async def test_lists_are_flattened_into_one(api: Api) -> None:
    batch = await made(api, 2, merge_strategy="flatten")
    await work_on_batches(api.scene.world)
    for job_id, text in zip(batch["jobs"], ("[1,2]", '[{"a":3}]'), strict=True):
        await complete(api, job_id, text)
    await work_on_batches(api.scene.world)

    assert (await status(api, batch))["output"] == [1, 2, {"a": 3}]


async def test_a_half_broken_batch_says_which_half(api: Api) -> None:
    batch = await made(api, 2)
    await work_on_batches(api.scene.world)
    await break_off(api, batch["jobs"][0])
    await complete(api, batch["jobs"][1], "fine")
    await work_on_batches(api.scene.world)
    ended = await status(api, batch)

    assert ended["status"] == "completed" and ended["output"] == "fine"
    assert [one["status"] for one in ended["items"]] == ["failed", "completed"]
    assert [one["error"] for one in ended["items"]] == ["it broke", None]
    assert (ended["counts"]["completed"], ended["counts"]["failed"]) == (1, 1)


async def test_what_waits_for_its_turn_can_be_read_under_its_id(api: Api) -> None:
    batch = await made(api, 2, max_parallelism=1)
    await work_on_batches(api.scene.world)
    async with api.client() as http:
        waits = await http.get(f"/jobs/{batch['jobs'][1]}")
        dropped = await http.delete(f"/jobs/{batch['jobs'][1]}")
        runs = await http.delete(f"/jobs/{batch['jobs'][0]}")
    _, _, secret = await api.another()
    async with api.client(secret) as stranger:
        refused = await stranger.get(f"/jobs/{batch['jobs'][1]}")
        kept = await stranger.delete(f"/jobs/{batch['jobs'][1]}")
    document = await description(api)

    assert waits.json()["data"]["status"] == "pending"
    assert waits.json()["data"]["input"] == {"prompt": "number 1", "max_tokens": 8}
    assert dropped.json()["data"]["status"] == "cancelled"
    assert runs.json()["data"]["status"] == "cancelled"
    assert (refused.status_code, kept.status_code) == (404, 404)
    shape = document["components"]["schemas"]["JobAnswer"]
    for answer in (waits, dropped, runs):
        assert problems(document, shape, answer.json(), "answer") == []


async def test_ones_batches_are_listed_newest_first_and_by_status(api: Api) -> None:
    old = await made(api, 2)
    api.scene.clock.advance(1)
    new = await made(api, 1)
    _, _, secret = await api.another()
    async with api.client(secret) as stranger:
        theirs = (await stranger.get("/jobs/batches")).json()
    async with api.client() as http:
        stopping = (await http.delete(f"/jobs/{old['id']}")).json()["data"]
        every = (await http.get("/jobs/batches")).json()
        page = (await http.get("/jobs/batches", params={"limit": 1, "offset": 1})).json()
        running = (await http.get("/jobs/batches", params={"status": "running"})).json()
        both = (await http.get("/jobs/batches", params={"status": ["running", "stopping"]})).json()
        odd = await http.get("/jobs/batches", params={"status": ["running", "failing"]})
    document = await description(api)

    assert theirs == {"data": [], "meta": {"total": 0, "limit": 20, "offset": 0}}
    assert every["data"] == [new, stopping]
    assert page["data"] == [stopping] and page["meta"] == {"total": 2, "limit": 1, "offset": 1}
    assert running["data"] == [new]
    assert (both["meta"]["total"], odd.status_code) == (1 + (stopping["status"] == "stopping"), 422)
    assert problems(document, document["components"]["schemas"]["BatchList"], every, "list") == []


async def test_a_batch_is_cancelled_under_the_jobs_route(api: Api) -> None:
    batch = await made(api, 3, max_parallelism=1)
    await work_on_batches(api.scene.world)
    async with api.client() as http:
        stopping = await http.delete(f"/jobs/{batch['id']}")
        await work_on_batches(api.scene.world)
        await work_on_batches(api.scene.world)
        again = await http.delete(f"/jobs/{batch['id']}")

    assert stopping.json()["data"]["status"] == "stopping"
    ended = again.json()["data"]
    assert ended["status"] == "cancelled" and ended["counts"]["cancelled"] == 3
    assert ended["error"] == "the batch was cancelled by the customer"


async def test_the_same_idempotency_key_is_the_same_batch(api: Api) -> None:
    headers = {"Idempotency-Key": "once"}
    async with api.client() as http:
        first = await http.post("/jobs/batch", json=batch_body(), headers=headers)
        again = await http.post("/jobs/batch", json=batch_body(), headers=headers)
        other = await http.post("/jobs/batch", json=batch_body(3), headers=headers)
    await work_on_batches(api.scene.world)

    assert first.json() == again.json() and again.status_code == 201
    assert other.json()["error"]["code"] == "idempotency_mismatch"
    assert await api.jobs() == 2


BAD: list[tuple[Any, str]] = [
    ({"inputs": []}, "inputs"),
    ({"inputs": [{"prompt": "x"}] * 101}, "inputs"),
    ({"inputs": {"0": {"prompt": "x"}}}, "inputs"),
    ({"inputs": None}, "inputs"),
    ({"inputs": [{"prompt": "x"}, "y", 3]}, "inputs.2"),
    ({"inputs": [{"prompt": "x"}, {"prompt": "x", "max_tokens": -1}]}, "inputs.1.max_tokens"),
    ({"inputs": [{"prompt": 3}]}, "inputs.0.prompt"),
    ({"merge_strategy": "zip"}, "merge_strategy"),
    ({"merge_strategy": ["concat"]}, "merge_strategy"),
    ({"fail_mode": None}, "fail_mode"),
    ({"max_parallelism": 0}, "max_parallelism"),
    ({"max_parallelism": True}, "max_parallelism"),
    ({"max_parallelism": "2"}, "max_parallelism"),
    ({"priority": 11}, "priority"),
    ({"priority": 1.5}, "priority"),
    ({"workload": ""}, "workload"),
    ({"odd": 1}, "odd"),
]


@pytest.mark.parametrize(("changes", "field"), BAD, ids=str)
async def test_what_is_wrong_is_named_and_nothing_is_made(
    api: Api, changes: dict[str, Any], field: str
) -> None:
    async with api.client() as http:
        answer = await http.post("/jobs/batch", json=batch_body(**changes))
    await work_on_batches(api.scene.world)

    assert answer.status_code == 422, answer.text
    assert field in answer.json()["errors"]
    assert await api.jobs() == 0


async def test_an_input_that_the_model_cannot_do_is_named(api: Api) -> None:
    inputs = [{"prompt": "x"}, {"messages": [{"role": "user", "content": "x"}], "tools": [{}]}]
    async with api.client() as http:
        answer = await http.post("/jobs/batch", json=batch_body(inputs=inputs))

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == "inputs.1.tools"


async def test_a_huge_batch_is_413(api: Api) -> None:
    async with api.client() as http:
        whole = await http.post(
            "/jobs/batch", json=batch_body(inputs=[{"prompt": "x" * 12_000}] * 100)
        )

    assert whole.status_code == 413


async def test_an_unknown_workload_and_unknown_ids_are_404(api: Api) -> None:
    async with api.client() as http:
        answers = [
            await http.post("/jobs/batch", json=batch_body(workload="none")),
            await http.get("/jobs/bat_0/batch-status"),
            await http.get("/jobs/bat_" + "0" * 26 + "/batch-status"),
            await http.get("/jobs/job_" + "0" * 26 + "/batch-status"),
            await http.delete("/jobs/bat_" + "0" * 26),
            await http.delete("/jobs/bat_"),
            await http.get("/jobs/batch"),
        ]

    assert [answer.status_code for answer in answers] == [404] * 7


async def test_without_credit_it_is_402_with_figures(api: Api) -> None:
    _, _, secret = await api.another(credit=3)
    async with api.client(secret) as http:
        answer = await http.post("/jobs/batch", json=batch_body())

    error = answer.json()["error"]
    assert answer.status_code == 402
    assert (error["code"], error["available"]) == ("insufficient_credits", "0.000003")
