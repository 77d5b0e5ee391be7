"""Lets an Island join: its own key is tied to the owner of a pairing code and gets broker credentials of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from archipelag_contracts.ids import IslandId

from archipelag_coordinator.domain.island import Island, IslandStatus
from archipelag_coordinator.errors import InvalidInput, IslandRefused
from archipelag_coordinator.services.world import World

NAME_MAX: Final = 64


@dataclass(frozen=True)
class Enrolled:
    island: Island
    broker_jwt: str
    expires_at: datetime


async def enroll(
    world: World,
    *,
    pairing_code: str,
    public_key: bytes,
    name: str,
    capabilities: Mapping[str, Any],
) -> Enrolled:
    """The caller has shown that it holds `public_key`. An Island that enrols again keeps its id and uses up no code.

    Raises PairingRefused, IslandRefused, InvalidInput.
    """
    name = " ".join(name.split())
    if not 0 < len(name) <= NAME_MAX or not name.isprintable():
        raise InvalidInput({"name": [f"must have 1 to {NAME_MAX} printable characters"]})
    now = world.clock.now()
    async with world.store.begin() as tx:
        island = await tx.islands.by_public_key(public_key)
        if island is None:
            island_id = world.ids.island(now)
            code = await tx.islands.take_code(pairing_code.strip().upper(), island_id, now)
            island = Island(
                id=island_id,
                owner_id=code.owner_id,
                name=name,
                public_key=public_key,
                status=IslandStatus.ENROLLED,
                approved=not world.policy.islands_need_approval,
                created_at=now,
                region=str(capabilities.get("region", "")),
                capabilities=capabilities,
            )
            await tx.islands.add(island)
        island.check_may_connect()
    return _credentials(world, island, now)


async def renew(
    world: World, island_id: IslandId, public_key_check: Callable[[bytes], None]
) -> Enrolled:
    """Fresh credentials for an Island that proves its key: `public_key_check` raises where it does not.

    Raises IslandRefused, also for an Island that is not known.
    """
    async with world.store.begin() as tx:
        island = await tx.islands.get(island_id)
    if island is None:
        raise IslandRefused("no such Island; enrol with a pairing code")
    public_key_check(island.public_key)
    island.check_may_connect()
    return _credentials(world, island, world.clock.now())


def _credentials(world: World, island: Island, now: datetime) -> Enrolled:
    expires_at = now + timedelta(seconds=world.policy.broker_credentials_s)
    jwt = world.broker.credentials(island.public_key, island.id, island.name, expires_at)
    return Enrolled(island, jwt, expires_at)
