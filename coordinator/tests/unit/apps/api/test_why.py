"""Reasons over HTTP."""

from __future__ import annotations

from archipelag_contracts.ids import JobId
from archipelag_coordinator.domain.user import Role

from .conftest import Api, an_api
from .test_description import description, problems
from .test_jobs import made


async def test_a_running_job_tells_why_its_island_was_chosen(api: Api) -> None:
    await api.scene.island(name="atoll", slots=0)
    job = await made(api)
    async with api.client() as http:
        answer = await http.get(f"/jobs/{job['id']}/why")
    schema = (await description(api))["components"]["schemas"]["JobWhyAnswer"]

    assert problems(await description(api), schema, answer.json(), "answer") == []
    why = answer.json()["data"]
    (attempt,) = why["attempts"]
    assert (attempt["island"], attempt["asked"], attempt["fit"]) == ("reef", 2, 1)
    assert attempt["kept_out"] == [
        {"rule": "has_free_slot", "meaning": "is busy: all slots are taken", "count": 1}
    ]
    gave = sum(one["gave"] for one in attempt["preferences"])
    assert abs(gave - attempt["score"]) < 0.001
    assert why["waiting"] is None


async def test_a_job_tells_how_far_its_reader_is_where_that_is_known(api: Api) -> None:
    job = await made(api)
    path = f"/jobs/{job['id']}/why"
    answer = api.scene.world.answers.get(JobId(job["id"]))
    assert answer is not None
    async with api.client() as http:
        unread = (await http.get(path)).json()["data"]
        answer.reader_round_trip_s = 0.08325
        read = await http.get(path)
        api.scene.world.answers.drop(answer.job_id)
        elsewhere = (await http.get(path)).json()["data"]
    schema = (await description(api))["components"]["schemas"]["JobWhyAnswer"]

    assert problems(await description(api), schema, read.json(), "answer") == []
    assert read.json()["data"]["reader_round_trip_ms"] == 83.25
    assert unread["reader_round_trip_ms"] is None
    assert elsewhere["reader_round_trip_ms"] is None


async def test_a_waiting_job_tells_how_far_its_reader_is_too() -> None:
    api = await an_api()
    job = await made(api)
    answer = api.scene.world.answers.get(JobId(job["id"]))
    assert answer is not None
    answer.reader_round_trip_s = 0.002
    async with api.client() as http:
        why = (await http.get(f"/jobs/{job['id']}/why")).json()["data"]

    assert (why["status"], why["reader_round_trip_ms"]) == ("queued", 2.0)


async def test_a_waiting_job_tells_what_would_help() -> None:
    api = await an_api()
    job = await made(api)
    async with api.client() as http:
        nobody = (await http.get(f"/jobs/{job['id']}/why")).json()["data"]["waiting"]
        await api.scene.island(approved=False)
        answer = await http.get(f"/jobs/{job['id']}/why")
    schema = (await description(api))["components"]["schemas"]["JobWhyAnswer"]

    assert problems(await description(api), schema, answer.json(), "answer") == []
    waiting = answer.json()["data"]["waiting"]
    assert (nobody["asked"], nobody["reasons"]) == (0, [])
    assert "no Island is connected" in nobody["hint"]
    assert [one["rule"] for one in waiting["reasons"]] == ["is_approved"]
    assert waiting["hint"].startswith("ask the operator")
    assert waiting["since"] == job["created_at"] and waiting["until"] > waiting["since"]


async def test_a_waiting_job_tells_its_place_and_how_long_that_takes() -> None:
    api = await an_api()
    scene = api.scene
    await scene.island(slots=1)
    scene.world.forecast.slot_times.learn(scene.cargo.digest, 8.0)
    jobs = [await made(api) for _ in range(4)]
    async with api.client() as http:
        why = (await http.get(f"/jobs/{jobs[-1]['id']}/why")).json()["data"]["waiting"]
        read = await http.get(f"/jobs/{jobs[-1]['id']}")
        running = (await http.get(f"/jobs/{jobs[0]['id']}")).json()["data"]
    schema = (await description(api))["components"]["schemas"]["JobAnswer"]

    assert problems(await description(api), schema, read.json(), "answer") == []
    assert read.json()["data"]["wait"] == {"ahead": 2, "expected_wait_s": 24.0}
    assert (why["ahead"], why["expected_wait_s"]) == (2, 24.0)
    assert running["status"] == "running" and "wait" not in running


async def test_reasons_name_nobody_elses_island() -> None:
    api = await an_api()
    await api.scene.island(name="secret-lagoon", slots=0)
    job = await made(api)
    async with api.client() as http:
        told = (await http.get(f"/jobs/{job['id']}/why")).text

    assert "secret-lagoon" not in told


async def test_an_owner_is_told_what_hinders_an_island(api: Api) -> None:
    island = await api.scene.island(name="atoll", approved=False)
    _, _, admin = await api.another(role=Role.ADMIN)
    async with api.client(admin) as http:
        answer = await http.get(f"/hosts/{island.id}/why")
        none = await http.get("/hosts/isl_" + "0" * 26 + "/why")
        shapeless = await http.get("/hosts/x/why")

    why = answer.json()["data"]
    assert why["gets_work"] is False
    assert [one["code"] for one in why["reasons"]] == ["not_approved"]
    assert why["cargos"][0]["slug"] == "llm-chat" and not why["cargos"][0]["fits"]
    assert (none.status_code, shapeless.status_code) == (404, 404)
