"""A network of real processes that is watched: by Prometheus, by a receiver of traces, and in its logs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio
from archipelag_embedded.nats import Nats
from archipelag_embedded.process import free_port

from tests.observability.receiver import Receiver
from tests.trouble.rig import Rig, opened

TOKEN = "a-token-of-this-test-alone"
CANARY = "canary-4f1d9c"
"""In prompts, answers, keys' names and cookies; never in a log, a figure or a span."""


class WatchedRig(Rig):
    """As the rig of the trouble tests, with everything on that watches."""

    def __init__(self, home: Path, receiver: Receiver) -> None:
        super().__init__(home)
        self.nats = Nats(home / "nats", monitor=True)
        self.nats.monitor_port = free_port()
        self.receiver = receiver
        self.island_metrics = free_port()

    def environment(self) -> dict[str, str]:
        return super().environment() | {
            "ARCHIPELAG_LOG_FORMAT": "json",
            "ARCHIPELAG_LOG_LEVEL": "DEBUG",
            "ARCHIPELAG_TRACES_URL": self.receiver.url,
            "ARCHIPELAG_TRACES_SAMPLED": "0",
            "ARCHIPELAG_METRICS_TOKEN": TOKEN,
            "ARCHIPELAG_NATS_MONITOR_URLS": self.nats.monitor_url,
        }

    def _island_environment(self, number: int) -> dict[str, str]:
        own = {
            "ARCHIPELAG_LOG_FORMAT": "json",
            "ARCHIPELAG_TRACES_URL": self.receiver.url,
        }
        return own | (
            {"ARCHIPELAG_ISLAND_METRICS_PORT": str(self.island_metrics)} if not number else {}
        )

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.http.base_url.port}"

    async def post(self, path: str, **asked: Any) -> httpx.Response:
        """Asks again where it is told to: on a busy machine the database may not be heard of for seconds."""
        told: list[httpx.Response] = []

        async def taken() -> bool:
            told.append(await self.http.post(path, **asked))
            return told[-1].status_code != 503

        await self.until(taken, f"{path} is taken")
        assert told[-1].is_success, told[-1].text
        return told[-1]

    async def page(self, accept: str = "") -> str:
        headers = {"Authorization": f"Bearer {TOKEN}", "Accept": accept}
        answer = await self.http.get(f"{self.base}/metrics", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.text


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def rig() -> AsyncIterator[WatchedRig]:
    with Receiver() as receiver:
        async with opened("watched", lambda home: WatchedRig(home, receiver)) as one:
            yield one
