"""The chat over a network in memory, on a real server, looked at by a real browser. What Islands say is scripted."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from archipelag_contracts.ids import JobId
from archipelag_coordinator.apps.api.app import create_app
from archipelag_coordinator.apps.cookies import COOKIE
from archipelag_coordinator.apps.web.app import create_pages
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.services.track import track
from archipelag_coordinator.testing.builders import CREDIT, a_session
from archipelag_coordinator.testing.worlds import Scene, a_scene
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_embedded.serving import served
from playwright.async_api import Browser, BrowserContext, Page
from starlette.types import ASGIApp

SECRET = "as_" + "t" * 43
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}


@dataclass
class Talking:
    """A network with a customer who is signed in, and what its Islands are to say."""

    scene: Scene
    url: str

    async def assigned(self, count: int = 1) -> Job:
        """The newest job, once an Island was given so many."""
        await until(lambda: len(self.scene.bus.assigned) >= count)
        return await self.scene.job(self.scene.bus.assigned[-1].job_id)

    async def finish(self, job_id: JobId, *texts: str, **report: object) -> None:
        """The Island reports what it has said, all of it."""
        job = await self.scene.job(job_id)
        await track(self.scene.world, self.scene.report(job, *texts, **report))  # type: ignore[arg-type]

    async def answer(self, text: str, count: int = 1) -> Job:
        """An Island takes the job and answers it, a few letters at a time."""
        job = await self.assigned(count)
        pieces = [text[at : at + 24] for at in range(0, len(text), 24)]
        for piece in pieces:
            self.scene.stream(job, piece)
            self.scene.clock.advance(0.02)
            await asyncio.sleep(0)
        self.scene.clock.advance(0.4)
        await self.finish(job.id, *pieces)
        return job

    async def page(self, browser: Browser, *, phone: bool = False, dark: bool = False) -> Page:
        context = await self.context(browser, phone=phone, dark=dark)
        return await context.new_page()

    async def context(
        self, browser: Browser, *, phone: bool = False, dark: bool = False
    ) -> BrowserContext:
        context = await browser.new_context(
            viewport=PHONE if phone else DESKTOP,  # type: ignore[arg-type]
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            base_url=self.url,
        )
        await context.add_cookies([{"name": COOKIE, "value": SECRET, "url": self.url}])
        return context


@asynccontextmanager
async def talking(
    *, credit: int = 40 * CREDIT, island: bool = True, **cargo: object
) -> AsyncIterator[Talking]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        policy = Policy(requests_per_minute=100_000, session_requests_per_minute=100_000)
        scene = await a_scene(credit=credit, policy=policy, **cargo)
        scene.world = replace(scene.world, public_url=url, version="1.2.3")
        if island:
            await scene.island(name="reef")
        async with scene.store.begin() as tx:
            await tx.keys.add(a_session(scene.user, secret=SECRET))
        app = app_of(scene)
        async with served(app, listener, hangs_up=True):
            yield Talking(scene, url)


def app_of(scene: Scene) -> ASGIApp:
    return create_app(scene.world, pages=create_pages(scene.world))


async def until(holds: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Lets the loop run until it holds."""
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110 - the state under test has no event of its own
            await asyncio.sleep(0.005)
