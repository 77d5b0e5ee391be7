"""Several questions about the same moment, in one transaction: for pages that ask many things every few seconds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from archipelag_coordinator.services.ports import Tx
from archipelag_coordinator.services.world import World


@dataclass(frozen=True)
class _Open:
    """A store whose transactions are all the one that is open already."""

    tx: Tx

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Tx]:
        yield self.tx


@asynccontextmanager
async def one_look(world: World) -> AsyncIterator[World]:
    """The same world, for verbs that only read, one after the other: those that change something tell others of it when
    they believe that it is committed."""
    async with world.store.begin() as tx:
        yield replace(world, store=_Open(tx))
