"""Everything the Island's verbs need: the ports, what the owner decided, and what is going on now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

from archipelag_contracts.ids import CargoDigest, IslandId
from archipelag_contracts.manifest import Manifest

from archipelag_island.clock import Clock
from archipelag_island.domain.attempt import AttemptKey, Cause, Ending
from archipelag_island.domain.capability import Capabilities
from archipelag_island.domain.caps import Bucket, Caps, Taken, disk_refusal
from archipelag_island.domain.catalogue import Document
from archipelag_island.domain.choice import Choice, choose
from archipelag_island.domain.offer import Offer
from archipelag_island.domain.owner import Owner, Readings, Rules
from archipelag_island.domain.run import Run
from archipelag_island.domain.usage import Share
from archipelag_island.domain.wishes import NO_WISHES, Wishes
from archipelag_island.runtime import Runtime, RuntimeInfo
from archipelag_island.services.ports import (
    Files,
    Images,
    Journal,
    KeptWishes,
    Link,
    Models,
    NoTraces,
    Shelf,
    Traces,
)

AGAIN_S: Final = (0.5, 1.5, 3.5, 7.5)
"""After the line broke, what runs is said again at once and then so often: a broker that was restarted has forgotten
what it heard, and the Coordinator may have come back to it later than we."""


@dataclass(frozen=True)
class Host:
    """What does not change while the agent runs."""

    island_id: IslandId
    boot_id: str
    slots: int
    threads: int
    memory_bytes: int
    engines: Mapping[str, str]
    """Engine name → Python package."""
    cargos: frozenset[str] | None
    """Slugs that the owner allows; None: all."""
    drain_s: float = 60.0
    """How long a drain lets runs finish where nobody says."""
    rules: Rules = field(default_factory=Rules)
    caps: Caps = field(default_factory=Caps)
    cpus: tuple[int, ...] = ()
    """Processors that Cargos run on; empty: wherever this process may."""
    runtimes: tuple[RuntimeInfo, ...] = (RuntimeInfo("native", (), (), trust_min=0),)
    """What works here, strongest first."""
    publishers: frozenset[str] | None = None
    """Fingerprints of the publishers whose Cargos the owner allows; None: all that the catalogue lists."""
    trust_min: int = 0
    """The lowest trust level of a Cargo that the owner allows."""
    idle_s: float = 900.0
    """A Cargo that nobody used for so long is ended."""
    keep_warm: bool = False
    """Every Cargo is started before anybody asks, and stays."""
    keep_prompts: bool = True
    """Cargos may keep what they computed of a prompt, for the same customer's next."""
    remote_orders: bool = True
    """What the owner asks for on the network's pages counts as well."""


@dataclass
class Running:
    """A run and, once it has begun, the task that takes its Cargo's events."""

    run: Run
    offer: Offer
    """As it was when the run was accepted."""
    share: Share = field(default_factory=Share)
    memory_peak_bytes: int = 0
    drive: asyncio.Task[Any] | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: there may be something to send."""
    again_at: list[float] = field(default_factory=list)
    """When to say all again, on the monotonic clock."""

    @property
    def slug(self) -> str:
        return self.offer.slug

    def say_again(self) -> None:
        self.run.say_again()
        self.wake.set()


@dataclass
class Hold:
    """What the keeper of one Cargo and the runs that need it tell each other."""

    waiting: set[AttemptKey] = field(default_factory=set)
    """Runs that wait for its start."""
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while runs wait."""
    give_way: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: another one needs its memory."""
    stalled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: it made no progress in a run; whether it still answers at all has to be looked at."""
    used_at: float = 0.0
    """When the last run ended, in monotonic seconds."""
    failures: int = 0
    """Starts that failed while runs waited; whoever waits gives up when it rises."""

    def give_up(self) -> None:
        self.failures += 1

    def wait(self, key: AttemptKey) -> None:
        self.waiting.add(key)
        self.wanted.set()

    def leave(self, key: AttemptKey) -> None:
        self.waiting.discard(key)
        if not self.waiting:
            self.wanted.clear()


@dataclass
class Now:
    """What is going on; only the verbs change it."""

    runs: dict[AttemptKey, Running] = field(default_factory=dict)
    offers: dict[str, Offer] = field(default_factory=dict)
    """By slug."""
    holds: dict[CargoDigest, Hold] = field(default_factory=dict)
    recommended: frozenset[str] = frozenset()
    """Slugs that the Coordinator would like to have fetched ahead, by demand."""
    draining: bool = False
    """Ordered on this machine; an order from afar stands in `wishes`."""
    wishes: Wishes = NO_WISHES
    hand_over_at: float | None = None
    """When a drain hands over what still runs, in monotonic seconds; None: no drain, or done."""
    handed_over: int = 0
    """Runs that the newest drain handed over."""
    owner: Owner = field(default_factory=Owner)
    readings: Readings = field(default_factory=Readings)
    taken: Taken = field(default_factory=Taken)
    memory_claims: dict[CargoDigest, int] = field(default_factory=dict)
    """What Cargos that were started may take."""
    appetites: dict[CargoDigest, int] = field(default_factory=dict)
    """What Cargos took that were ended for taking too much; it counts instead of what they say."""
    connected: bool = False
    interval_s: float = 5.0
    """From one heartbeat to the next, as the Coordinator last said; until then, half the usual."""
    accepts_work: bool = False
    notice: str = "not yet heard from a Coordinator"
    catalogue_version: str = ""
    """Of the old kind of catalogue, from a Coordinator that signs none."""
    document: Document | None = None
    """The signed catalogue that offers come from."""
    catalogue_trouble: str = ""
    """Why the newest catalogue is not gone by, or that it has expired; empty when all is well."""
    registry: str = ""
    """Of images that are named without one, as the catalogue says."""
    refused: int = 0
    """Assignments that were refused since the start."""
    completed: int = 0


@dataclass
class World:
    host: Host
    clock: Clock
    chance: Random
    link: Link
    journal: Journal
    shelf: Shelf
    models: Models
    images: Images
    files: Files
    runtime: Runtime
    publisher_keys: Callable[[], tuple[bytes, ...]]
    capabilities: Callable[[], Capabilities]
    load: Callable[[], float]
    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
    """Starts a task that the agent owns and ends."""
    catalogue_keys: Callable[[], tuple[bytes, ...]] = tuple
    """Whose catalogues are believed; none where the Coordinator that enrolled us has no such key."""
    read_document: Callable[[bytes, Container[bytes]], Document] | None = None
    """A catalogue that one of these keys signed; raises a ContractError."""
    read_wishes: Callable[[bytes], Wishes] | None = None
    """An owner's wishes that a trusted Coordinator signed; raises a ContractError. None: none are taken."""
    kept_wishes: KeptWishes | None = None
    now: Now = field(default_factory=Now)
    beat_soon: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: something changed that placement should know at once."""
    reports_waiting: asyncio.Event = field(default_factory=asyncio.Event)
    offers_changed: asyncio.Event = field(default_factory=asyncio.Event)
    drain_changed: asyncio.Event = field(default_factory=asyncio.Event)
    bucket: Bucket = field(default_factory=Bucket)
    """What the owner lets us send."""
    traces: Traces = field(default_factory=NoTraces)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def reads_documents(self) -> bool:
        """Once a catalogue key is known here, nothing but a signed catalogue is believed."""
        return self.read_document is not None and bool(self.catalogue_keys())

    @property
    def drained(self) -> bool:
        """By an order given here, or by one from afar: neither takes the other back."""
        return self.now.draining or self.now.wishes.draining

    @property
    def rules(self) -> Rules:
        """The owner's, those from afar beside those set here."""
        return replace(self.host.rules, wished=self.now.wishes.schedule)

    @property
    def takes_work(self) -> bool:
        return not self.drained and not self.now.owner.paused

    @property
    def slots_free(self) -> int:
        return max(0, self.host.slots - len(self.now.runs)) if self.takes_work else 0

    @property
    def trouble(self) -> str:
        """Why no further attempt can be taken safely: the journal, the disk; empty when all is well."""
        taken = self.now.taken.disk_bytes
        over = disk_refusal(self.host.caps, taken, 0) if taken is not None else None
        return self.journal.trouble() or over or ""

    async def wait_room(self) -> None:
        """Until the owner's cap lets us send again."""
        while True:
            wait_s = self.bucket.wait_s(self.clock.monotonic())
            if wait_s <= 0:
                return
            await asyncio.sleep(wait_s)

    def hand_over(self, why: str) -> int:
        """Every run ends as stopped by the Island, so that another goes on with it; how many."""
        keys = tuple(self.now.runs)
        for key in keys:
            self.stop_run(key, Ending(Cause.ISLAND_STOPPED, error=why))
        return len(keys)

    def change_offer(self, offer: Offer, change: Callable[[Offer], Offer]) -> None:
        """Changes what is known of a Cargo that is still offered in this version, and lets the Coordinator know."""
        now = self.now.offers.get(offer.slug)
        if now is None or now.digest != offer.digest or (changed := change(now)) == now:
            return
        self.now.offers[offer.slug] = changed
        self.beat_soon.set()
        self.moved()

    def moved(self) -> None:
        """Something changed that a run or a keeper may wait for."""
        self._moved.set()
        self._moved = asyncio.Event()

    async def offer_moves(self) -> None:
        """Until any offer changes."""
        await self._moved.wait()

    def hold(self, digest: CargoDigest) -> Hold:
        return self.now.holds.setdefault(digest, Hold())

    def uses(self, offer: Offer) -> bool:
        """Whether a run goes on in this Cargo, or is about to."""
        return any(r.run.assignment.cargo_digest == offer.digest for r in self.now.runs.values())

    def stop_run(self, key: AttemptKey, ending: Ending, *, silent: bool = False) -> bool:
        """Asks a run to end like this; `silent`: without a report. False: there is no such run."""
        running = self.now.runs.get(key)
        if running is None:
            return False
        if running.run.ask_to_stop(ending, silent=silent) and running.drive is not None:
            running.drive.cancel()
        return True

    def came_up(self) -> None:
        """The line stands (again): say so, and send what waited or may have been lost with the old one."""
        if self.now.connected and not self.now.runs:
            # A broker that restarts brings the whole fleet back at once.
            self.spawn(self.beat_within(self.now.interval_s / 2))
        else:
            self.beat_soon.set()
        self.reports_waiting.set()
        now = self.clock.monotonic()
        for running in self.now.runs.values():
            running.again_at = [now + wait_s for wait_s in AGAIN_S]
            running.say_again()

    async def beat_within(self, seconds: float) -> None:
        """Somewhere in that time, so that a fleet does not speak in the same instant."""
        await asyncio.sleep(self.chance.uniform(0.0, seconds))
        self.beat_soon.set()

    def memory_of(self, offer: Offer) -> int:
        """What a started Cargo takes now."""
        return self.runtime.usage(offer.warm.handle).memory_bytes if offer.warm else 0

    def choose(self, manifest: Manifest, trust: int) -> Choice | str:
        """How this Cargo runs here, or why it may not."""
        if self.host.cargos is not None and manifest.slug not in self.host.cargos:
            return "not among the Cargos that the owner allows"
        if trust < self.host.trust_min:
            return f"trust level {trust} is below the {self.host.trust_min} that the owner asks for"
        return choose(manifest, trust, self.host.runtimes, self.host.engines)
