"""More requests than a network can answer, in virtual time and through the shipping verbs: what was foretold, and what
came true."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Final

from archipelag_contracts.ids import JobId
from archipelag_coordinator.apps.api.asking import make_job
from archipelag_coordinator.apps.loops.table import dispatch_waiting, end_overdue
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.domain.user import ApiKey, User
from archipelag_coordinator.errors import Overloaded
from archipelag_coordinator.services.asked import Submission
from archipelag_coordinator.services.cancel import cancel_here
from archipelag_coordinator.services.expect import read_lines, wait_of
from archipelag_coordinator.testing import builders
from archipelag_coordinator.testing.worlds import Scene, a_scene

WARM_S: Final = 30.0
"""Before the crowd comes, jobs of the backlog end, from which it is learnt how long they take."""


@dataclass(frozen=True)
class Crowd:
    """`load`: of what the slots can do, so much is asked for by requests with a reader; `backlog` jobs of another
    account stand there from the beginning. Durations in seconds, of jobs log-normally distributed."""

    seed: int = 1
    slots: int = 8
    accounts: int = 12
    load: float = 2.0
    backlog: int = 300
    lasts_s: float = 120.0
    held_s: float = 6.0
    spread: float = 0.8


@dataclass
class Rush:
    """What came of it."""

    waits: list[tuple[float, float]] = field(default_factory=list)
    """Of each request with a reader that stood in line and got a slot: what was foretold, and how long it took."""
    begun: int = 0
    refused: int = 0
    """Requests that were sent away when they came first."""
    came_back: int = 0
    served: int = 0
    """Of those that came back at the time that they were told, those that were not sent away again."""
    timed_out: int = 0
    """Requests that were taken, and for which no slot became free in time after all."""

    def quantiles(self, *shares: float) -> list[float]:
        """Of how much longer it took than was foretold, in seconds; negative: it took less."""
        errors = sorted(took - foretold for foretold, took in self.waits)
        return [errors[min(len(errors) - 1, int(share * len(errors)))] for share in shares]


class _Run:
    def __init__(self, crowd: Crowd, scene: Scene) -> None:
        self.crowd, self.scene = crowd, scene
        self.rng = Random(crowd.seed)
        self.found = Rush()
        self.foretold: dict[JobId, tuple[float, float]] = {}
        """When a job was put in line, and what was foretold."""
        self._events: list[tuple[float, int, str, object]] = []
        self._numbers = count()
        self._begun = 0

    def at(self, time: float, kind: str, about: object = None) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), kind, about))

    async def run(self) -> Rush:
        clock = self.scene.clock
        while self._events:
            time, _, kind, about = heapq.heappop(self._events)
            clock.advance(max(0.0, time - clock.monotonic()))
            if kind == "tick":
                await self._tick(time)
            elif kind == "ends":
                assert isinstance(about, str)
                await cancel_here(self.scene.world, JobId(about), "it has ended")
                await dispatch_waiting(self.scene.world)
            else:
                assert isinstance(about, Submission)
                await self._ask(about, back=kind == "back")
            self._begin()
        return self.found

    async def _tick(self, time: float) -> None:
        world = self.scene.world
        await read_lines(world)
        await end_overdue(world)
        await dispatch_waiting(world)
        if any(kind != "tick" for _, _, kind, _ in self._events):
            self.at(time + 1.0, "tick")

    async def _ask(self, submission: Submission, *, back: bool) -> None:
        world, found = self.scene.world, self.found
        found.came_back += back
        try:
            made = await make_job(world, submission)
        except Overloaded as refused:
            found.refused += not back
            if submission.interactive:
                self.at(
                    world.clock.monotonic() + math.ceil(refused.retry_after_s), "back", submission
                )
            return
        found.served += back
        if made.job.status is JobStatus.QUEUED and submission.interactive:
            async with world.store.begin() as tx:
                wait = await wait_of(world, tx, made.job)
            if wait.seconds is not None:
                self.foretold[made.job.id] = (world.clock.monotonic(), wait.seconds)

    def _begin(self) -> None:
        """Of what was given to Islands since the last time."""
        now, crowd = self.scene.clock.monotonic(), self.crowd
        given, self._begun = self.scene.bus.assigned[self._begun :], len(self.scene.bus.assigned)
        for one in given:
            held = self.rng.lognormvariate(
                math.log(crowd.held_s) - crowd.spread**2 / 2, crowd.spread
            )
            self.at(now + held, "ends", one.job_id)
            self.found.begun += 1
            if one.job_id in self.foretold:
                since, foretold = self.foretold.pop(one.job_id)
                self.found.waits.append((foretold, now - since))


async def rush(crowd: Crowd) -> Rush:
    """Everybody comes back at the time that they are told, until they are served."""
    scene = await a_scene(credit=10**12)
    await scene.island(
        slots=crowd.slots, offers=(builders.an_offer(scene.cargo, slots=crowd.slots),)
    )
    customers = [
        (await builders.a_customer(scene.store, 10**12))[:2] for _ in range(crowd.accounts)
    ]
    run = _Run(crowd, scene)
    start, rng, numbers = scene.clock.monotonic(), run.rng, count()

    def request(user: User, key: ApiKey, *, interactive: bool) -> Submission:
        number = b"%d" % next(numbers)
        return scene.submission(user=user, key=key, interactive=interactive, request_hash=number)

    for _ in range(crowd.backlog):
        run.at(start, "comes", request(scene.user, scene.key, interactive=False))
    per_s = crowd.load * crowd.slots / crowd.held_s
    time = start + WARM_S
    while time < start + WARM_S + crowd.lasts_s:
        time += rng.expovariate(per_s)
        run.at(time, "comes", request(*rng.choice(customers), interactive=True))
    run.at(start, "tick")
    found = await run.run()
    found.timed_out = len(run.foretold)
    return found
