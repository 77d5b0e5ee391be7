"""Puts a Cargo's version into the catalogue, signed by the network's publisher key."""

from __future__ import annotations

from collections.abc import Callable

from archipelag_contracts.manifest import Manifest
from archipelag_contracts.signing import MANIFEST_PREFIX

from archipelag_coordinator.clock import Clock
from archipelag_coordinator.domain.cargo import Cargo, CargoStatus
from archipelag_coordinator.services.ports import Store


async def publish(
    store: Store,
    clock: Clock,
    manifest: Manifest,
    *,
    sign: Callable[[bytes, bytes], bytes],
    public_key: bytes,
) -> Cargo:
    """Lists this version. The same manifest twice is listed once. `sign` takes a prefix and a payload."""
    cargo = Cargo(
        id=0,
        manifest=manifest,
        signature=sign(MANIFEST_PREFIX, manifest.canonical()),
        public_key=public_key,
        status=CargoStatus.SUBMITTED,
        created_at=clock.now(),
    )
    async with store.begin() as tx:
        stored = await tx.cargos.add(cargo)
        if stored.status is CargoStatus.SUBMITTED:
            stored = stored.verify().list_it()
            await tx.cargos.save(stored)
        elif stored.status is CargoStatus.WITHDRAWN:
            stored = stored.list_it()
            await tx.cargos.save(stored)
    return stored
