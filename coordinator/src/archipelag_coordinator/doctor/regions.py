"""Whether the brokers of a network's regions see each other: asks the Coordinators of the others over ours."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import nats.errors
from archipelag_contracts import subjects
from archipelag_contracts.findings import Finding, fail, ok, warn
from archipelag_contracts.ids import RelayId
from nats.aio.client import Client

from archipelag_coordinator.adapters.nats.credentials import Keys
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.clock import Clock
from archipelag_coordinator.config import Settings
from archipelag_coordinator.doctor.broker import Trouble, connect
from archipelag_coordinator.domain.health import COORDINATOR_DEAD_S

ANSWER_S: Final = 2.0
ADVICE: Final = (
    "see the log of the broker that joins the other one for `Leafnode`; its `leafnodes` part is what "
    "`archipelag-coordinator broker-config --link` prints, its keys what `keys link` wrote; try the other's port there"
)

UNLINKED: Final = (
    "if it is lost to others, change the database's password and make new keys; if it may join again, "
    "`archipelag-coordinator keys link` with the next --number"
)


async def examine(settings: Settings, keys: Keys, clock: Clock) -> list[Finding]:
    """Nothing in a network of one region, or where our own broker is away: that has been told."""
    async with PostgresStore(settings.database_url, pool_max=1) as store, store.begin() as tx:
        since = clock.now() - timedelta(seconds=COORDINATOR_DEAD_S)
        standing = await tx.coordinators.regions(since)
        unlinked = {link.region for link in await tx.links.taken_back()}
    others = sorted(set(standing.values()) - {settings.region})
    if not settings.region:
        return [_unsaid(others)] if others else []
    try:
        client = await connect(settings.nats_url.split(",")[0].strip(), keys, clock)
    except Trouble:
        return []
    try:
        return [
            await _region(
                client,
                name,
                [one for one, its in standing.items() if its == name],
                unlinked=name in unlinked,
            )
            for name in others
        ]
    finally:
        await client.close()


async def _region(client: Client, name: str, relays: list[RelayId], *, unlinked: bool) -> Finding:
    for relay in relays:
        try:
            await client.request(subjects.here(relay), b"", timeout=ANSWER_S)
        except (nats.errors.Error, TimeoutError):
            continue
        return ok(f"region {name}", "its Coordinators answer over the brokers")
    said = (
        f"{len(relays)} of its Coordinators live by the database, and none answers over the brokers"
    )
    if unlinked:
        said = f"its link was taken back, and {len(relays)} of its Coordinators go on with the database and the keys"
        return warn(f"region {name}", said, UNLINKED)
    return fail(f"region {name}", said, ADVICE)


def _unsaid(others: list[str]) -> Finding:
    said = f"others of this network stand in {', '.join(others)}, and this one says nothing of a region"
    return warn("region", said, "set ARCHIPELAG_REGION for every Coordinator, or for none")
