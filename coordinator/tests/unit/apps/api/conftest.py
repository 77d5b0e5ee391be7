"""The API over a small network in memory: through ASGI in this process, and through a real server on loopback."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from archipelag_contracts import cosign
from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.ids import JobId
from archipelag_coordinator.apps.api.app import create_app
from archipelag_coordinator.apps.api.direct import DirectProtocol
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.domain.user import ApiKey, Role, Scope, User
from archipelag_coordinator.services.track import track
from archipelag_coordinator.testing.builders import (
    CREDIT,
    a_grant,
    a_key,
    a_manifest,
    a_secret,
    a_session,
    a_submission,
    a_user,
)
from archipelag_coordinator.testing.fakes import SequenceIds
from archipelag_coordinator.testing.worlds import Scene, a_scene
from archipelag_embedded import serving
from archipelag_embedded.fixtures import PATIENCE_S
from starlette.types import ASGIApp


@dataclass
class Api:
    """The application over a scene, and its customer's key."""

    scene: Scene
    app: ASGIApp
    secret: str

    def client(self, secret: str | None = None) -> httpx.AsyncClient:
        key = self.secret if secret is None else secret
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app),
            base_url="http://archipelag.test/api/v1",
            headers={"Authorization": f"Bearer {key}"} if key else {},
        )

    async def another(
        self, *, role: Role = Role.USER, credit: int = CREDIT, **key: Any
    ) -> tuple[User, ApiKey, str]:
        """Another person with a key."""
        user, secret = a_user(role=role), a_secret()
        made = a_key(user, secret=secret, **key)
        async with self.scene.store.begin() as tx:
            await tx.users.add(user)
            await tx.keys.add(made)
            if credit:
                await tx.ledger.transfer(a_grant(user, credit))
        return user, made, secret

    async def another_key(self, **changes: Any) -> str:
        """Another key of the same customer."""
        secret = a_secret()
        async with self.scene.store.begin() as tx:
            await tx.keys.add(a_key(self.scene.user, secret=secret, **changes))
        return secret

    async def assigned(self, count: int = 1) -> Job:
        """Waits until an Island was given so many jobs; returns the newest."""
        await until(lambda: len(self.scene.bus.assigned) >= count)
        await asyncio.sleep(0)
        return await self.scene.job(self.scene.bus.assigned[-1].job_id)

    async def answer(self, *texts: str, streamed: bool = True, **report: Any) -> Job:
        """An Island takes the newest job and answers it."""
        job = await self.assigned()
        if streamed:
            self.scene.stream(job, *texts)
        await track(self.scene.world, self.scene.report(job, *texts, **report))
        return await self.scene.job(job.id)

    async def fail(self, cause: Cause, error: str = "") -> None:
        job = await self.assigned()
        await track(self.scene.world, self.scene.report(job, cause=cause, error=error))

    async def jobs(self, user: User | None = None) -> int:
        async with self.scene.store.begin() as tx:
            return (await tx.jobs.of_user((user or self.scene.user).id, limit=1, offset=0))[1]

    def readers(self, job_id: JobId) -> int:
        answer = self.scene.world.answers.get(job_id)
        return answer.readers if answer else 0


async def until(holds: Callable[[], Any], timeout_s: float = PATIENCE_S) -> None:
    """Lets the loop run until it holds."""
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110 - the state under test has no event of its own
            await asyncio.sleep(0.002)


def chat(**changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": "small-model",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 8,
    }
    return body | changes


def events(text: str) -> list[Any]:
    """What a plain reader of server-sent events gets: the data of each, parsed."""
    found = []
    for block in text.split("\n\n"):
        data = [line[6:] for line in block.split("\n") if line.startswith("data: ")]
        if data:
            found.append(data[0] if data == ["[DONE]"] else json.loads("\n".join(data)))
    return found


class Ids(SequenceIds):
    """Secrets that no builder makes: both count up."""

    def secret(self) -> str:
        return "ak_api" + super().secret()[6:]


@pytest.fixture
async def api() -> Api:
    """With one Island that says yes to everything."""
    made = await an_api()
    await made.scene.island(name="reef")
    return made


async def an_api(policy: Policy | None = None, **cargo: Any) -> Api:
    scene = await a_scene(policy=policy or Policy(requests_per_minute=10_000), **cargo)
    secret = a_secret()
    async with scene.store.begin() as tx:
        await tx.keys.add(a_key(scene.user, secret=secret))
    scene.world = replace(scene.world, publisher_keys=(bytes(32),), version="1.2.3", ids=Ids())
    return Api(scene, create_app(scene.world, broker_connected=lambda: True), secret)


def served(app: ASGIApp) -> AbstractAsyncContextManager[str]:
    """A real server on a free port of loopback, that writes streams as the Coordinator's own does."""
    return serving.served(app, http=DirectProtocol)


READ = frozenset({Scope.READ})


PUBLISHER = CosignKey.generate()


def a_signed_body(**changes: Any) -> dict[str, Any]:
    """A Cargo as its publisher submits it; the words are the manifest's."""
    canonical = a_manifest(**{"slug": "theirs", "model": None} | changes).canonical()
    digest = cosign.artifact_digest(canonical)
    payload = cosign.payload("registry.example/theirs", digest)
    return {
        "reference": f"registry.example/theirs@{digest}",
        "manifest": base64.b64encode(canonical).decode(),
        "payload": base64.b64encode(payload).decode(),
        "signature": base64.b64encode(PUBLISHER.sign(payload)).decode(),
        "public_key": PUBLISHER.public_pem.decode(),
    }


async def a_submitted_cargo(api: Api) -> int:
    """The customer's own, waiting for its checks; its number."""
    async with api.scene.store.begin() as tx:
        return (await tx.cargos.add(a_submission(api.scene.user, slug="mine"))).id


async def a_browsers_session(api: Api) -> str:
    """The customer's; its id."""
    session = a_session(api.scene.user)
    async with api.scene.store.begin() as tx:
        await tx.keys.add(session)
    return session.id
