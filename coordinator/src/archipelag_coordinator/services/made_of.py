"""What a Cargo is made of, as its newest checks found it: for its publisher, and for operators."""

from __future__ import annotations

from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.user import User
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services.world import World


async def read_with_sbom(world: World, user: User, number: int) -> tuple[Cargo, bytes]:
    """The version and its bill of materials, empty where none was kept. Raises NotFound, also for another's."""
    async with world.store.begin() as tx:
        cargo = await tx.cargos.get(number)
        sbom = await tx.cargos.sbom(number) if cargo else None
    if cargo is None or not user.looks_after(cargo.owner_id):
        raise NotFound("cargo", str(number))
    return cargo, sbom or b""
