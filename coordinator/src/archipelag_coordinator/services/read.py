"""What people may look at: their jobs, keys and account, the catalogue, the Islands, the network's figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archipelag_contracts.ids import IslandId, JobId, UserId

from archipelag_coordinator.domain.attempt import Attempt
from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.island import Island, IslandStatus
from archipelag_coordinator.domain.job import EVERY_JOB, Job, JobFilter, JobStatus
from archipelag_coordinator.domain.karma import Karma, Note, fold
from archipelag_coordinator.domain.ledger import Account, Pay, user_account
from archipelag_coordinator.domain.usage import UsageRow
from archipelag_coordinator.domain.user import ApiKey, User
from archipelag_coordinator.domain.waits import Wait
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services.expect import wait_of
from archipelag_coordinator.services.ports import Tx
from archipelag_coordinator.services.world import World

_ONLINE = (IslandStatus.READY, IslandStatus.DRAINING)
_GONE = (IslandStatus.RETIRED, IslandStatus.BANNED)


@dataclass(frozen=True)
class Billed:
    """A row of usage, and what was paid for it."""

    usage: UsageRow
    pays: tuple[Pay, ...]


@dataclass(frozen=True)
class AttemptView:
    """`billed` is None until it has ended."""

    attempt: Attempt
    billed: Billed | None


@dataclass(frozen=True)
class JobView:
    job: Job
    attempts: tuple[AttemptView, ...]
    wait: Wait | None = None
    """Of one that waits for an Island."""


@dataclass(frozen=True)
class KarmaView:
    """`notes` are the newest, for its owner and for operators; None for others."""

    karma: Karma
    notes: tuple[Note, ...] | None


@dataclass(frozen=True)
class Stats:
    online_islands: int
    regions: int
    jobs_completed: int


async def read_job(
    world: World, user_id: UserId, job_id: JobId, *, outputs: bool = True
) -> JobView:
    """Raises NotFound, also for somebody else's job: whether it exists is nobody's business. `outputs` False leaves
    what it said in the database."""
    async with world.store.begin() as tx:
        job = await tx.jobs.get(job_id, outputs=outputs)
        if job is None or job.user_id != user_id:
            raise NotFound("job", job_id)
        attempts = await tx.attempts.of_job(job_id)
        ended = any(attempt.finished for attempt in attempts)
        billed = await _billed(tx, await tx.usage.of_job(job_id)) if ended else []
        wait = await wait_of(world, tx, job) if job.status is JobStatus.QUEUED else None
    by_epoch = {one.usage.epoch: one for one in billed}
    return JobView(job, tuple(AttemptView(a, by_epoch.get(a.epoch)) for a in attempts), wait)


async def list_jobs(
    world: World,
    user_id: UserId,
    *,
    limit: int,
    offset: int,
    only: JobFilter = EVERY_JOB,
    outputs: bool = True,
) -> tuple[list[Job], int]:
    """Newest first, and how many there are in all that pass the filter. `outputs` as in `read_job`."""
    async with world.store.begin() as tx:
        return await tx.jobs.of_user(
            user_id, limit=limit, offset=offset, only=only, outputs=outputs
        )


async def read_account(world: World, user: User) -> Account:
    async with world.store.begin() as tx:
        return await tx.ledger.account(user_account(user.id))


async def listed_cargos(world: World) -> list[Cargo]:
    return list(world.catalogue.cargos)


async def find_cargo(world: World, name: str) -> Cargo:
    """By slug or model name. Raises NotFound."""
    return world.catalogue.find(name)


async def visible_islands(world: World, user: User) -> list[Island]:
    """One's own in every state; other people's while they are here; for operators, all."""
    seen = {
        island.id: island
        for island in world.fleet.islands()
        if user.looks_after(island.owner_id) or island.status in _ONLINE
    }
    return sorted((await _own(world, user) | seen).values(), key=lambda island: island.id)


async def _own(world: World, user: User) -> dict[IslandId, Island]:
    """What is stored: suspended ones are in no fleet."""
    async with world.store.begin() as tx:
        return {island.id: island for island in await tx.islands.of_owner(user.id)}


async def all_islands(world: World) -> list[Island]:
    """Every Island that has not ended for good, by what PostgreSQL says: the suspended ones too."""
    async with world.store.begin() as tx:
        return await tx.islands.all()


async def read_island(world: World, user: User, island_id: IslandId) -> Island:
    """Raises NotFound, also for one that this user may not see."""
    async with world.store.begin() as tx:
        return await _visible(world, tx, user, island_id)


async def _visible(world: World, tx: Tx, user: User, island_id: IslandId) -> Island:
    """One of `visible_islands`."""
    heard = world.fleet.get(island_id)
    if heard is not None and (user.looks_after(heard.owner_id) or heard.status in _ONLINE):
        return heard
    stored = await tx.islands.get(island_id)
    if stored is None or stored.owner_id != user.id or stored.status in _GONE:
        raise NotFound("host", island_id)
    return stored


async def read_usage(
    world: World, user: User, island_id: IslandId, *, limit: int, offset: int
) -> list[Billed]:
    """What an Island did and was paid, newest first; for its owner and for operators. Raises NotFound."""
    async with world.store.begin() as tx:
        if not owns(user, await _visible(world, tx, user, island_id)):
            raise NotFound("host", island_id)
        rows = await tx.usage.of_island(island_id, limit=limit, offset=offset)
        return await _billed(tx, rows)


async def read_karma(world: World, user: User, island_id: IslandId, *, limit: int) -> KarmaView:
    """Raises NotFound, also for an Island that this user may not see."""
    async with world.store.begin() as tx:
        owner = owns(user, await _visible(world, tx, user, island_id))
        karma = fold(await tx.karma.tally(island_id))
        notes = await tx.karma.of_island(island_id, limit=limit, offset=0) if owner else None
    return KarmaView(karma, None if notes is None else tuple(notes))


def owns(user: User, island: Island) -> bool:
    """Whether it is this user's own, or they are to look after all of them."""
    return user.looks_after(island.owner_id)


async def _billed(tx: Tx, rows: Sequence[UsageRow]) -> list[Billed]:
    pays = await tx.usage.pays_of(sorted({row.job_id for row in rows}))
    return [
        Billed(
            row,
            tuple(p for p in pays if (p.job_id, p.epoch) == (row.job_id, row.epoch)),
        )
        for row in rows
    ]


def online_islands(world: World) -> list[Island]:
    """Those that are here now, as this process heard."""
    return [island for island in world.fleet.islands() if island.status in _ONLINE]


async def network_stats(world: World) -> Stats:
    online = online_islands(world)
    async with world.store.begin() as tx:
        completed = await tx.jobs.count_completed()
    regions = len({island.region for island in online if island.region})
    return Stats(len(online), regions, completed)


async def list_keys(world: World, user_id: UserId) -> list[ApiKey]:
    async with world.store.begin() as tx:
        return await tx.keys.of_user(user_id)
