"""A World of fakes: the services as they ship, without processes and without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from archipelag_contracts.signing import MANIFEST_PREFIX, SigningKey
from archipelag_contracts.tiers import TRUST_MAX
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_island.adapters.journal import FileJournal
from archipelag_island.domain.capability import Capabilities
from archipelag_island.domain.choice import Choice
from archipelag_island.domain.offer import Entry, Offer
from archipelag_island.domain.tier import tier_of
from archipelag_island.services import deliver, offer
from archipelag_island.services.world import Host, World
from archipelag_island.testing.builders import ECHO_MODULE, ISLAND, the_echo_manifest
from archipelag_island.testing.fake_link import FakeLink
from archipelag_island.testing.fake_runtime import FakeRuntime
from archipelag_island.testing.fake_stores import FakeFiles, FakeImages

ISSUED_MS = 1_700_000_000_000


@dataclass
class ManualClock:
    """Stands still until it is moved."""

    seconds: float = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(ISSUED_MS / 1000 + self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class MemoryShelf:
    version: str = ""
    entries: tuple[Entry, ...] = ()
    kept: bytes = b""
    seen: int = 0

    def load(self) -> tuple[str, tuple[Entry, ...]]:
        return self.version, self.entries

    def save(self, version: str, entries: Sequence[Entry]) -> None:
        self.version, self.entries = version, tuple(entries)

    def document(self) -> bytes:
        return self.kept

    def keep(self, document: bytes, version: int) -> None:
        self.kept, self.seen = document, max(self.seen, version)

    def highest(self) -> int:
        return self.seen


class NoModels:
    async def fetch(self, module: str, manifest: Any) -> Path:
        raise AssertionError("echo needs no model")


def an_offer(manifest: Any) -> Offer:
    tier = tier_of(manifest, TRUST_MAX)
    assert tier is not None
    return Offer(manifest, manifest.digest, choice=Choice("native", tier, ECHO_MODULE))


@dataclass
class Stage:
    """The world and its fakes, and how to wait for what they do."""

    world: World
    clock: ManualClock
    link: FakeLink
    runtime: FakeRuntime
    journal: FileJournal
    publisher: SigningKey
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def offer_echo(self, **limits: Any) -> Offer:
        manifest = the_echo_manifest(limits=limits)
        made = an_offer(manifest)
        self.world.now.offers = {manifest.slug: made}
        self.world.offers_changed.set()
        return made

    async def warm(self, **limits: Any) -> Offer:
        self.offer_echo(**limits)
        self.start(offer.offer_for_ever(self.world))
        self.start(deliver.deliver_for_ever(self.world))
        await self.until(lambda: self.world.now.offers["echo"].warm is not None)
        return self.world.now.offers["echo"]

    def start(self, work: Any) -> None:
        self.tasks.append(asyncio.create_task(work))

    async def until(self, holds: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if holds():
                    return
                await asyncio.sleep(0.001)

    def entry(self, manifest: Any, signer: SigningKey | None = None) -> Entry:
        key = signer or self.publisher
        data = manifest.canonical()
        return Entry(data, key.sign(MANIFEST_PREFIX, data), key.public)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    clock, link, runtime = ManualClock(), FakeLink(), FakeRuntime()
    journal = FileJournal(tmp_path / "journal", clock)
    publisher = SigningKey.from_seed(bytes(32))
    tasks: list[asyncio.Task[Any]] = []

    def spawn(work: Any) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(work))
        return tasks[-1]

    world = World(
        host=Host(ISLAND, "boot", 2, 1, 8 << 30, {"echo": ECHO_MODULE}, None),
        clock=clock,
        chance=Random(1),
        link=link,
        journal=journal,
        shelf=MemoryShelf(),
        models=NoModels(),
        images=FakeImages(),
        files=FakeFiles(),
        runtime=runtime,
        publisher_keys=lambda: (publisher.public,),
        capabilities=lambda: Capabilities("1", "linux", "x86_64", 1, (), 1, 1, (), (), ("echo",)),
        load=lambda: 0.0,
        spawn=spawn,
    )
    yield Stage(world, clock, link, runtime, journal, publisher, tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    journal.close()
