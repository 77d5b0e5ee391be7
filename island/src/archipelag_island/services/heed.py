"""Heed what the owner asks for on the network's pages: taken if it may be believed, and kept over a restart."""

from __future__ import annotations

import logging

from archipelag_contracts.errors import BadMessage, ContractError

from archipelag_island.domain.wishes import Wishes
from archipelag_island.services import drain
from archipelag_island.services.world import World

log = logging.getLogger(__name__)


def take_wishes(world: World, sealed: bytes) -> None:
    """Goes by these from now on, unless they are older, another Island's, not signed by whom we obey, or not wanted."""
    if not world.host.remote_orders:
        log.warning("wishes_not_taken: this machine's owner takes no orders from afar")
        return
    wishes = _read(world, sealed)
    if wishes is None:
        return
    if wishes.version <= world.now.wishes.version:
        log.warning("wishes_stale version=%d", wishes.version)
        return
    if world.kept_wishes is not None:
        world.kept_wishes.save(sealed)
    log.info("wishes_taken version=%d draining=%s", wishes.version, wishes.draining)
    drain.follow(world, wishes)


def load_wishes(world: World) -> None:
    """Those of the last time, before anybody can give us work."""
    if world.host.remote_orders and world.kept_wishes and (sealed := world.kept_wishes.load()):
        wishes = _read(world, sealed)
        if wishes is not None:
            drain.follow(world, wishes)


def _read(world: World, sealed: bytes) -> Wishes | None:
    try:
        if world.read_wishes is None:
            raise BadMessage("nobody is known whose wishes count")
        wishes = world.read_wishes(sealed)
        if wishes.island_id != world.host.island_id:
            raise BadMessage("they are for another Island")
    except ContractError as error:
        log.error("wishes_refused error=%s", error)
        return None
    return wishes
