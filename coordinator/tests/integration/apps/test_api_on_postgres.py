"""The API over a real PostgreSQL: doors, jobs, keys and money as they are stored."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.apps.api.app import create_app
from archipelag_coordinator.domain.catalogue import Catalogue
from archipelag_coordinator.ids import SystemIds
from archipelag_coordinator.services.track import track
from archipelag_coordinator.testing.builders import (
    CREDIT,
    a_customer,
    a_stored_cargo,
    a_stored_island,
    a_user,
)
from archipelag_coordinator.testing.worlds import a_scene
from archipelag_embedded.fixtures import PATIENCE_S

ASK = {"model": "small-model", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}


async def test_a_chat_is_answered_once_and_paid_once_and_a_key_is_revoked_at_once(
    store: PostgresStore,
) -> None:
    scene = await a_scene()
    user, _, secret = await a_customer(store)
    cargo = await a_stored_cargo(store)
    owner = a_user()
    async with store.begin() as tx:
        await tx.users.add(owner)
    island = await a_stored_island(store, owner, cargo=cargo)
    world = replace(
        scene.world, store=store, door=store, ids=SystemIds(), catalogue=Catalogue([cargo])
    )
    world.fleet.load([island])
    app = create_app(world, broker_connected=lambda: True)

    async def answer() -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not scene.bus.assigned:  # noqa: ASYNC110 - a list has no event
                await asyncio.sleep(0.002)
        async with store.begin() as tx:
            job = await tx.jobs.get(scene.bus.assigned[0].job_id)
        assert job is not None
        await track(world, scene.report(job, "Hel", "lo"))

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://archipelag.test/api/v1",
        headers={"Authorization": f"Bearer {secret}", "Idempotency-Key": "once"},
    ) as http:
        asking = asyncio.create_task(http.post("/chat/completions", json=ASK))
        await answer()
        first = await asking
        again = await http.post("/chat/completions", json=ASK)
        listed = (await http.get("/jobs")).json()
        read = (await http.get(f"/jobs/{first.headers['x-archipelag-job']}")).json()["data"]
        account = (await http.get("/account")).json()["data"]
        ready = await http.get("/ready")
        made = (await http.post("/api-keys", json={"name": "k", "scopes": ["read"]})).json()
        other = {"Authorization": f"Bearer {made['key']}"}
        before = await http.get("/account", headers=other)
        await http.delete(f"/api-keys/{made['data']['id']}")
        after = await http.get("/account", headers=other)

    assert first.status_code == 200, first.text
    assert first.json()["choices"][0]["message"]["content"] == "Hello"
    assert first.json() == again.json()
    assert listed["meta"]["total"] == 1
    assert read["attempts"][0]["island"] == island.name
    charged = 5 * 20 + 2 * 100
    assert account["credits"] == f"{(CREDIT - charged) / 1_000_000:.6f}".rstrip("0")
    assert account["held"] == "0" and account["id"] == user.id
    assert ready.status_code == 200
    assert (before.status_code, after.status_code) == (200, 401)


async def test_a_question_clicked_many_times_at_once_is_asked_once(store: PostgresStore) -> None:
    scene = await a_scene()
    _, _, secret = await a_customer(store)
    cargo = await a_stored_cargo(store)
    world = replace(
        scene.world, store=store, door=store, ids=SystemIds(), catalogue=Catalogue([cargo])
    )
    app = create_app(world, broker_connected=lambda: True)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://archipelag.test/api/v1",
        headers={"Authorization": f"Bearer {secret}"},
    ) as http:
        begin = {"Idempotency-Key": "begin"}
        began = await asyncio.gather(
            *(
                http.post("/conversations", json={"model": "small-model"}, headers=begin)
                for _ in range(5)
            )
        )
        talks = {one.json()["data"]["id"] for one in began}
        url = f"/conversations/{next(iter(talks))}/messages"
        same = await asyncio.gather(
            *(
                http.post(url, json={"content": "hello"}, headers={"Idempotency-Key": "click"})
                for _ in range(10)
            )
        )
        others = await asyncio.gather(
            *(http.post(url, json={"content": f"hello {n}"}) for n in range(5))
        )
        jobs = (await http.get("/jobs")).json()["meta"]["total"]
        kept = (await http.get(f"/conversations/{next(iter(talks))}")).json()["data"]["messages"]

    assert len(talks) == 1
    assert {one.status_code for one in same} == {201}, [one.text for one in same]
    assert len({one.json()["data"]["answer"]["job_id"] for one in same}) == 1
    assert {one.status_code for one in others} == {409}
    assert jobs == 1 and [one["number"] for one in kept] == [1, 2]
