"""Join the network with a pairing code, and renew the broker credentials well before they end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random
from typing import Final

from archipelag_island.clock import Clock
from archipelag_island.domain.backoff import Backoff
from archipelag_island.domain.capability import Capabilities
from archipelag_island.errors import CoordinatorUnreachable, EnrolmentRefused
from archipelag_island.services.ports import Enrolment, Standing

log = logging.getLogger(__name__)

WAIT_FIRST_S: Final = 0.5
WAIT_MOST_S: Final = 60.0
# Renewed when this share of the time has passed, so that a Coordinator may be away for hours.
RENEW_AT: Final = 0.6
RENEW_MIN_S: Final = 5.0


async def enrol(
    enrolment: Enrolment,
    pairing_code: str,
    name: str,
    capabilities: Capabilities,
    chance: Random,
) -> Standing:
    """Tries until the Coordinator answers. Raises EnrolmentRefused: another code is needed."""
    backoff = Backoff(WAIT_FIRST_S, WAIT_MOST_S, chance)
    while True:
        try:
            return await enrolment.enrol(pairing_code, name, capabilities)
        except CoordinatorUnreachable as error:
            wait_s = backoff.next_s()
            log.warning("coordinator_unreachable error=%s next_try_s=%.1f", error, wait_s)
            await asyncio.sleep(wait_s)


async def renew_for_ever(
    enrolment: Enrolment,
    standing: Standing,
    refused: asyncio.Event,
    keep: Callable[[Standing], None],
    explain: Callable[[str], None],
    clock: Clock,
    chance: Random,
) -> None:
    """Renews in good time, and at once when `refused` says that the broker no longer takes our credentials.

    `keep` takes what is new, `explain` why there is nothing new.
    """
    backoff = Backoff(1.0, WAIT_MOST_S, chance)
    while True:
        left_s = (standing.broker_jwt_expires_at - clock.now()).total_seconds()
        try:
            async with asyncio.timeout(max(RENEW_MIN_S, left_s * RENEW_AT)):
                await refused.wait()
        except TimeoutError:
            pass
        try:
            standing = await enrolment.renew(standing.island_id)
        except (CoordinatorUnreachable, EnrolmentRefused) as error:
            log.warning("credentials_not_renewed error=%s", error)
            explain(str(error))
            await asyncio.sleep(backoff.next_s())
            continue
        refused.clear()
        backoff.reset()
        keep(standing)
        log.info("credentials_renewed until=%s", standing.broker_jwt_expires_at.isoformat())
        # A broker that refuses fresh credentials too must not make us ask in a circle.
        await asyncio.sleep(RENEW_MIN_S * (0.5 + 0.5 * chance.random()))
