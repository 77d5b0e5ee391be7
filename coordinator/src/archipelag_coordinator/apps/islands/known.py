"""The public keys of Islands, as PostgreSQL knows them; a key never changes for an id."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from archipelag_contracts.errors import BadSignature
from archipelag_contracts.ids import IslandId

from archipelag_coordinator.services.world import World

KEYS_MAX: Final = 20_000


class KnownKeys:
    """Guards a bounded memory of keys, so that a heartbeat costs no question."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._keys: OrderedDict[IslandId, bytes] = OrderedDict()

    async def of(self, island_id: IslandId) -> bytes:
        """Raises BadSignature for an Island that is not known: nobody's signature can hold."""
        known = self._keys.get(island_id)
        if known is not None:
            self._keys.move_to_end(island_id)
            return known
        island = self._world.fleet.get(island_id)
        if island is None:
            async with self._world.store.begin() as tx:
                island = await tx.islands.get(island_id)
        if island is None:
            raise BadSignature(f"no Island {island_id}")
        self._keys[island_id] = island.public_key
        if len(self._keys) > KEYS_MAX:
            self._keys.popitem(last=False)
        return island.public_key
