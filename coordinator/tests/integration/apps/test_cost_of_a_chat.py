"""What one short chat asks of PostgreSQL: how many statements in how many transactions, held so that it only falls."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from archipelag_coordinator.adapters.postgres.store import PostgresStore, StoreConnection
from archipelag_coordinator.apps.api.app import create_app
from archipelag_coordinator.domain.catalogue import Catalogue
from archipelag_coordinator.ids import SystemIds
from archipelag_coordinator.services.known_callers import KnownCallers
from archipelag_coordinator.services.track import track
from archipelag_coordinator.services.world import World
from archipelag_coordinator.testing.builders import (
    a_customer,
    a_stored_cargo,
    a_stored_island,
    a_user,
)
from archipelag_coordinator.testing.worlds import Scene, a_scene
from archipelag_embedded.fixtures import PATIENCE_S

ASK = {"model": "small-model", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every statement that any connection of the store sends, by its first words; commits among them."""
    sent: list[str] = []
    execute = StoreConnection.execute

    async def noting(self: StoreConnection, query: Any, *args: Any, **options: Any) -> Any:
        text = query.decode() if isinstance(query, bytes) else str(query)
        sent.append("COMMIT" if "COMMIT" in text else " ".join(text.split()[:3]))
        return await execute(self, query, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(StoreConnection, "execute", noting)
        yield sent


async def a_network(store: PostgresStore) -> tuple[Scene, World, httpx.AsyncClient]:
    scene = await a_scene()
    _, _, secret = await a_customer(store)
    cargo = await a_stored_cargo(store)
    owner = a_user()
    async with store.begin() as tx:
        await tx.users.add(owner)
    island = await a_stored_island(store, owner, cargo=cargo)
    door = KnownCallers(store, scene.clock, kept_s=5.0, hears=lambda: True)
    world = replace(
        scene.world, store=store, door=door, ids=SystemIds(), catalogue=Catalogue([cargo])
    )
    world.fleet.load([island])
    app = create_app(world, broker_connected=lambda: True)
    http = httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://archipelag.test/api/v1",
        headers={"Authorization": f"Bearer {secret}"},
    )
    return scene, world, http


async def one_chat(scene: Scene, world: World, http: httpx.AsyncClient) -> None:
    before = len(scene.bus.assigned)
    asking = asyncio.create_task(http.post("/chat/completions", json=ASK))
    async with asyncio.timeout(PATIENCE_S):
        while len(scene.bus.assigned) == before:  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(0.002)
    given = scene.bus.assigned[-1]
    job: Any = SimpleNamespace(id=given.job_id, epoch=given.epoch, cargo_digest=given.cargo_digest)
    await track(world, scene.report(job, "Hel", "lo"))
    assert (await asking).status_code == 200


async def test_a_short_chat_costs_few_statements_and_commits(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, world, http = await a_network(store)
    async with http:
        await one_chat(scene, world, http)  # Opens accounts, and asks who it is.
        with counted(monkeypatch) as sent:
            await one_chat(scene, world, http)

    assert (sent.count("COMMIT"), len(sent)) == (2, 6), "\n".join(sent)
