"""What people may look at: their jobs, keys and account, the catalogue, the Islands, the network's figures."""

from __future__ import annotations

from dataclasses import dataclass

from archipelag_contracts.ids import IslandId, JobId, UserId

from archipelag_coordinator.domain.attempt import Attempt
from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.island import Island, IslandStatus
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.domain.ledger import Account, user_account
from archipelag_coordinator.domain.user import ApiKey, Role, User
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services.world import World

_ONLINE = (IslandStatus.READY, IslandStatus.DRAINING)


@dataclass(frozen=True)
class JobView:
    job: Job
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True)
class Stats:
    online_islands: int
    regions: int
    jobs_completed: int


async def read_job(world: World, user_id: UserId, job_id: JobId) -> JobView:
    """Raises NotFound, also for somebody else's job: whether it exists is nobody's business."""
    async with world.store.begin() as tx:
        job = await tx.jobs.get(job_id)
        if job is None or job.user_id != user_id:
            raise NotFound("job", job_id)
        return JobView(job, tuple(await tx.attempts.of_job(job_id)))


async def list_jobs(
    world: World, user_id: UserId, *, limit: int, offset: int, status: str | None = None
) -> tuple[list[Job], int]:
    """Newest first, and how many there are in all."""
    async with world.store.begin() as tx:
        return await tx.jobs.of_user(user_id, limit=limit, offset=offset, status=status)


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
    everything = user.role in (Role.OPERATOR, Role.ADMIN)
    return sorted(
        (
            island
            for island in world.fleet.islands()
            if everything or island.owner_id == user.id or island.status in _ONLINE
        ),
        key=lambda island: island.id,
    )


async def all_islands(world: World) -> list[Island]:
    """Every Island that has not ended for good, by what PostgreSQL says: the suspended ones too."""
    async with world.store.begin() as tx:
        return await tx.islands.all()


async def read_island(world: World, user: User, island_id: IslandId) -> Island:
    """Raises NotFound, also for one that this user may not see."""
    for island in await visible_islands(world, user):
        if island.id == island_id:
            return island
    raise NotFound("host", island_id)


async def network_stats(world: World) -> Stats:
    online = [island for island in world.fleet.islands() if island.status in _ONLINE]
    async with world.store.begin() as tx:
        completed = await tx.jobs.count_completed()
    regions = len({island.region for island in online if island.region})
    return Stats(len(online), regions, completed)


async def list_keys(world: World, user_id: UserId) -> list[ApiKey]:
    async with world.store.begin() as tx:
        return await tx.keys.of_user(user_id)
