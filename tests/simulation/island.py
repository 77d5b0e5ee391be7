"""An Island as its agent puts it together: the real verbs, link and journal over a simulated runtime and network."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

from archipelag_contracts.ids import IslandId
from archipelag_contracts.signing import SigningKey
from archipelag_island.adapters.journal import FileJournal
from archipelag_island.adapters.link import Credentials, NatsLink
from archipelag_island.domain.attempt import Assignment, AttemptKey, Refusal
from archipelag_island.domain.capability import Capabilities
from archipelag_island.domain.offer import Entry
from archipelag_island.errors import BrokerUnreachable, NoAnswer
from archipelag_island.services import announce, deliver, drain, execute, offer, reconcile
from archipelag_island.services.world import Host, World
from archipelag_island.testing.fake_stores import FakeFiles, FakeImages

from simulation.cargo import Knobs, SimRuntime
from simulation.coordinator import URL, NetworkKeys
from simulation.party import Party, PartyClock

SLOTS: Final = 3
DRAIN_S: Final = 5.0


class SimJournal(FileJournal):
    """The real one, on a real file; its disk may be said to be full."""

    full: Callable[[], bool] = staticmethod(lambda: False)
    forgotten: Callable[[AttemptKey], None] = staticmethod(lambda key: None)
    """Told of each attempt that is forgotten while it is still held."""

    def trouble(self) -> str:
        if self.full():
            return "this Island's disk is full"
        return super().trouble()

    def forget(self, key: AttemptKey) -> None:
        if self.get(key) is not None:
            self.forgotten(key)
        super().forget(key)

    def _append(self, key: Any, line: Any) -> None:
        if self.full():
            raise OSError(28, "no space left on device")
        super()._append(key, line)


class MemoryShelf:
    """The catalogue on this host's disk."""

    def __init__(self) -> None:
        self._kept: tuple[str, tuple[Entry, ...]] = ("", ())

    def load(self) -> tuple[str, tuple[Entry, ...]]:
        return self._kept

    def save(self, version: str, entries: Any) -> None:
        self._kept = (version, tuple(entries))

    def document(self) -> bytes:
        return b""

    def keep(self, document: bytes, version: int) -> None:
        raise AssertionError("the simulation's Coordinators sign no catalogue")

    def highest(self) -> int:
        return 0


class NoModels:
    async def fetch(self, module: str, manifest: Any) -> Path:
        raise AssertionError("the simulation's Cargos have no weights")


@dataclass(eq=False)
class IslandHost:
    """What outlives an Island's process: its key, its disk, its owner's wishes."""

    id: IslandId
    key: SigningKey
    name: str
    folder: Path
    slots: int = SLOTS
    knobs: Knobs = field(default_factory=Knobs)
    shelf: MemoryShelf = field(default_factory=MemoryShelf)
    lie: Callable[[NatsLink], Any] | None = None
    """Wraps the link of a host that does not say the truth."""
    lies: str = ""
    """What it lies about, or lied about until the faults stopped."""
    skew_s: float = 0.0
    drift: float = 0.0
    disk_full: bool = False
    boots: int = 0


class SimIsland:
    """One process from its start to its death."""

    def __init__(
        self,
        party: Party,
        host: IslandHost,
        keys: NetworkKeys,
        rng: Random,
        *,
        forgotten: Callable[[AttemptKey], None],
        assigned: Callable[[AttemptKey], None],
    ) -> None:
        self._assigned = assigned
        self.party = party
        self._forgotten = forgotten
        self.host = host
        host.boots += 1
        self._rng = rng
        self._keys = keys
        self._runs: set[asyncio.Task[None]] = set()
        self.clock = PartyClock(asyncio.get_running_loop(), party)
        self.runtime = SimRuntime(rng, host.knobs, host.name)
        self.world: World | None = None
        self.link: NatsLink | None = None
        self.stopping = False
        party.on_death.append(self._died)

    def start(self) -> None:
        self.party.spawn(self._serve(), f"island {self.party}")

    async def _serve(self) -> None:
        """The same steps as `agent.Agent._serve`."""
        host = self.host
        self.journal = SimJournal(host.folder / f"{host.name}.journal", self.clock)
        self.journal.full = lambda: host.disk_full
        self.journal.forgotten = self._forgotten

        def accept(assignment: Assignment) -> Refusal | None:
            self._assigned(assignment.key)
            return execute.accept(world, assignment)

        link = self.link = NatsLink(
            island=host.id,
            key=host.key,
            credentials=lambda: Credentials((URL,), "", (self._keys.assignment.public,)),
            accept=accept,
            room=lambda assignment: execute.room(world, assignment),
            cancel=lambda wish: execute.cancel(world, wish),
            up=lambda: world.came_up(),  # noqa: PLW0108 - the world is made after the link
            refused=lambda: None,
            chance=self._rng,
        )
        spoken: Any = host.lie(link) if host.lie is not None else link
        world = self.world = self._world(spoken)
        reconcile.load_catalogue(world)
        self._tasks = [
            asyncio.create_task(work)
            for work in (
                offer.offer_for_ever(world),
                link.run(),
                announce.announce_for_ever(world, partial(reconcile.reconcile, world)),
                deliver.deliver_for_ever(world),
            )
        ]
        await asyncio.gather(*self._tasks)

    async def drain(self) -> None:
        """As SIGTERM does: end well, then be gone."""
        world = self.world
        if world is not None:
            await drain.drain(world, DRAIN_S)
            with contextlib.suppress(TimeoutError, BrokerUnreachable, NoAnswer):
                async with asyncio.timeout(2.0):
                    await deliver.deliver(world)
        self.party.kill()

    def _world(self, link: Any) -> World:
        host = self.host
        return World(
            host=Host(
                island_id=host.id,
                boot_id=f"{host.name}-{host.boots}",
                slots=host.slots,
                threads=1,
                memory_bytes=8 << 30,
                engines={"sim": "simulated"},
                cargos=None,
            ),
            clock=self.clock,
            chance=self._rng,
            link=link,
            journal=self.journal,
            shelf=host.shelf,
            models=NoModels(),
            images=FakeImages(),
            files=FakeFiles(),
            runtime=self.runtime,
            publisher_keys=lambda: (self._keys.publisher.public,),
            capabilities=lambda: CAPABILITIES,
            load=lambda: 0.1,
            spawn=self._spawn,
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.party.spawn(work)
        self._runs.add(task)
        task.add_done_callback(self._runs.discard)
        return task

    def _died(self) -> None:
        if hasattr(self, "journal"):
            with contextlib.suppress(OSError):
                os.close(self.journal._file)


CAPABILITIES: Final = Capabilities(
    agent_version="sim",
    os="linux",
    arch="x86_64",
    cores=4,
    cpu_features=(),
    memory_bytes=8 << 30,
    disk_free_bytes=1 << 40,
    gpus=(),
    runtimes=(),
    engines=("sim",),
    region="eu",
)
