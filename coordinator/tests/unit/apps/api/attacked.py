"""The application on a real port, in a thread of its own, with Islands that answer by themselves; to be attacked."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from archipelag_contracts.manifest import Model
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.domain.user import Role
from archipelag_coordinator.errors import CoordinatorError
from archipelag_coordinator.services.track import track
from archipelag_coordinator.testing.builders import CREDIT, a_grant, a_stored_cargo, an_offer
from archipelag_embedded.fixtures import PATIENCE_S

from .conftest import Api, a_submitted_cargo, an_api, served

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
LOOK_S = 0.001
JOB = {"workload": "llm-chat", "input": {"prompt": "hello", "max_tokens": 4}}
KEY = {"name": "new", "scopes": ["read"]}
ANSWERS: dict[str, Any] = {
    "llm-chat": "hello",
    "embeddings": {"tokens": 1},
    "image": {"image_data": base64.b64encode(PNG).decode(), "width": 8, "height": 8, "seed": 1},
    "transcription": {"text": "hello", "language": "en", "duration_s": 1.0, "segments": []},
}
"""Slug → what its Cargo answers; vectors are added for as many texts as it was given."""


@dataclass
class Attacked:
    """`ids` names what stands there, by the parameter that takes it; what is destroyed is replaced by nobody."""

    url: str
    secrets: dict[str, str]
    ids: dict[str, list[str]] = field(default_factory=dict)


@contextmanager
def attacked(*causes: Cause) -> Iterator[Attacked]:
    """`causes`: how jobs end, in turn."""
    ready, over = threading.Event(), threading.Event()
    made: list[Attacked | BaseException] = []

    async def run() -> None:
        api = await _an_api()
        answering = asyncio.create_task(_answer_for_ever(api, cycle(causes)))
        async with served(api.app) as url:
            made.append(await _furnished(api, url))
            ready.set()
            # Set by another thread, so it cannot be waited for here.
            while not over.is_set() and not answering.done():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        if answering.done():
            answering.result()
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)

    def thread() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            made.append(error)
        finally:
            ready.set()

    runs = threading.Thread(target=thread, name="attacked")
    runs.start()
    assert ready.wait(PATIENCE_S)
    try:
        there = made[0]
        if isinstance(there, BaseException):
            raise there
        yield there
    finally:
        over.set()
        runs.join(PATIENCE_S)
    assert len(made) == 1, made[1:]


async def _an_api() -> Api:
    """One Cargo for each kind of answer, warm on an Island that stays."""
    # One attempt: nothing waits for another Island, since no time passes here.
    api = await an_api(Policy(requests_per_minute=1_000_000, attempts_max=1))
    scene = api.scene
    cargos = [scene.cargo]
    for kind in sorted(ANSWERS.keys() - {scene.cargo.slug}):
        model = Model(f"{kind}-model", "model.bin", "0" * 64)
        cargo = await a_stored_cargo(
            scene.store, kind=kind, slug=kind, model=model, resumable=False
        )
        cargos.append(cargo)
    scene.world.catalogue.load(cargos)
    await scene.island(name="reef", offers=tuple(an_offer(one) for one in cargos), slots=64)
    async with scene.store.begin() as tx:
        await tx.ledger.transfer(a_grant(scene.user, 1000 * CREDIT, cause="attack"))
    return api


async def _furnished(api: Api, url: str) -> Attacked:
    """With a thing of each kind that a path can name."""
    reef = next(iter(api.scene.world.fleet.islands())).id
    victim = (await api.scene.island(name="victim", offers=())).id
    async with api.client() as http:
        jobs = [(await http.post("/jobs", json=JOB)).json()["data"]["id"] for _ in range(3)]
        keys = [(await http.post("/api-keys", json=KEY)).json()["data"]["id"] for _ in range(3)]
        sent = {"files": {"file": ("a.txt", b"hello")}, "data": {"purpose": "user_data"}}
        files = [(await http.post("/files", **sent)).json()["id"] for _ in range(3)]
    cargo = str(await a_submitted_cargo(api))
    return Attacked(
        url,
        {"user": api.secret, "admin": (await api.another(role=Role.ADMIN))[2], "nobody": ""},
        {
            "job_id": jobs,
            "key_id": keys,
            "file_id": files,
            "host_id": [reef, victim],
            "island_id": [victim],
            "cargo_id": [cargo],
            "slug": list(ANSWERS),
            "model": [f"{slug}-model" for slug in ANSWERS if slug != "llm-chat"] + ["small-model"],
            "user_id": [api.scene.user.id],
        },
    )


async def _answer_for_ever(api: Api, causes: Iterator[Cause]) -> None:
    seen, scene = 0, api.scene
    while True:
        while len(scene.bus.assigned) > seen:
            seen += 1
            job = await scene.job(scene.bus.assigned[seen - 1].job_id)
            cargo = scene.world.catalogue.by_digest(job.cargo_digest)
            if job.finished or cargo is None:
                continue
            text = _answer_to(cargo.slug, json.loads(scene.bus.assigned[seen - 1].input))
            cause = next(causes)
            said = (text,) if cause is Cause.COMPLETED else ()
            if cargo.slug == "llm-chat" and said:
                scene.stream(job, *said)
            with suppress(CoordinatorError):
                await track(scene.world, scene.report(job, *said, cause=cause))
        await asyncio.sleep(LOOK_S)


def _answer_to(slug: str, given: dict[str, Any]) -> str:
    value = ANSWERS[slug]
    if "texts" in given:
        value = value | {"embeddings": [[0.5, 1.0] for _ in given["texts"]]}
    return value if isinstance(value, str) else json.dumps(value)
