"""The PostgreSQL store keeps every promise of the port."""

from dataclasses import replace

from archipelag_coordinator.domain.island import Offer
from archipelag_coordinator.testing.builders import a_customer, a_stored_island
from archipelag_coordinator.testing.check_store import CheckStore


class TestPostgresStore(CheckStore):
    """The fixture `store` is the real thing."""


async def test_hostile_heartbeat_does_not_spoil_the_batch(store):
    owner, _, _ = await a_customer(store)
    honest = await a_stored_island(store, owner)
    hostile = await a_stored_island(store, owner)
    beats = [
        replace(honest, load=0.9),
        replace(
            hostile,
            boot_id="\0\ud800",
            sequence=2**64,
            slots=2**40,
            load=float("nan"),
            broker_rtt_ms=float("inf"),
            capabilities={"\0": ["\ud800", float("nan"), {"deep": "\0"}]},
            offers=(Offer("\0", "d", "warm", items_per_s=float("inf")),),
        ),
    ]

    async with store.begin() as tx:
        await tx.islands.save_beats(beats)

    async with store.begin() as tx:
        saved = await tx.islands.get(honest.id)
        odd = await tx.islands.get(hostile.id)
    assert saved is not None and saved.load == 0.9
    assert odd is not None and (odd.sequence, odd.slots, odd.load) == (2**63 - 1, 2**31 - 1, 0.0)
