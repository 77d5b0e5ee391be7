"""Persistent periodic work on Procrastinate: survives restarts, is retried, and one of all Coordinators does it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from procrastinate import App, RetryStrategy
from procrastinate.connector import BaseConnector

from archipelag_coordinator.services.audit import audit_ledger, check_audit
from archipelag_coordinator.services.conversations import keep_answers
from archipelag_coordinator.services.files import sweep_files
from archipelag_coordinator.services.upkeep import expire_reservations, prune_items, prune_links
from archipelag_coordinator.services.world import World

log = logging.getLogger(__name__)

QUEUE: Final = "chores"
AT_ONCE_MAX: Final = 500
ITEMS_AT_ONCE_MAX: Final = 10_000
SHUTDOWN_S: Final = 5.0
AGAIN_S: Final = (2.0, 5.0)
"""Between two workers. Never the same for two Coordinators, so that they do not come back in step."""
RETRY: Final = RetryStrategy(max_attempts=3, exponential_wait=2)

PruneRates = Callable[[datetime], Awaitable[int]]


def chores_app(connector: BaseConnector, world: World, prune_rates: PruneRates) -> App:
    """The tasks over what the composition root passes in."""
    app = App(connector=connector)

    @app.periodic(cron="* * * * *")
    @app.task(name="expire_reservations", queue=QUEUE, retry=RETRY, queueing_lock="expire")
    async def expire(timestamp: int) -> int:
        """A net below the net: credits whose job ended without letting go of them."""
        expired = await expire_reservations(world, AT_ONCE_MAX)
        if expired:
            log.warning("reservations_expired turn=%s jobs=%s", timestamp, ",".join(expired))
        return len(expired)

    @app.periodic(cron="*/10 * * * *")
    @app.task(name="prune_rate_windows", queue=QUEUE, retry=RETRY, queueing_lock="prune")
    async def prune(timestamp: int) -> int:
        removed = await prune_rates(world.clock.now())
        log.info("rates_pruned turn=%s count=%s", timestamp, removed)
        return removed

    @app.periodic(cron="*/5 * * * *")
    @app.task(name="prune_items", queue=QUEUE, retry=RETRY, queueing_lock="items")
    async def prune_said(timestamp: int) -> int:
        removed = turn = await prune_items(world, ITEMS_AT_ONCE_MAX)
        while turn == ITEMS_AT_ONCE_MAX:
            turn = await prune_items(world, ITEMS_AT_ONCE_MAX)
            removed += turn
        log.info("items_pruned turn=%s count=%s", timestamp, removed)
        return removed

    @app.periodic(cron="*/5 * * * *")
    @app.task(name="sweep_files", queue=QUEUE, retry=RETRY, queueing_lock="files")
    async def sweep(timestamp: int) -> int:
        """Files that have expired, uploads that were never whole, and bytes that nobody has any more."""
        rows, blobs = await sweep_files(world, ITEMS_AT_ONCE_MAX)
        log.info("files_swept turn=%s rows=%s blobs=%s", timestamp, rows, blobs)
        return rows + blobs

    @app.periodic(cron="17 * * * *")
    @app.task(name="ledger_audit", queue=QUEUE, retry=RETRY, queueing_lock="audit")
    async def audit(timestamp: int) -> int:
        drifted = await audit_ledger(world)
        for kept, rebuilt in drifted:
            log.error("ledger_drifted turn=%s kept=%s rebuilt=%s", timestamp, kept, rebuilt)
        return len(drifted)

    @app.periodic(cron="*/10 * * * *")
    @app.task(name="prune_sign_in_links", queue=QUEUE, retry=RETRY, queueing_lock="links")
    async def prune_mailed(timestamp: int) -> int:
        removed = await prune_links(world)
        log.info("links_pruned turn=%s count=%s", timestamp, removed)
        return removed

    @app.periodic(cron="47 * * * *")
    @app.task(name="audit_check", queue=QUEUE, retry=RETRY, queueing_lock="audit_log")
    async def check_log(timestamp: int) -> int:
        """Its end is told too: a log outside of the database shows when a whole other one was written."""
        found = await check_audit(world)
        at, end = found.broken_at, found.head.hash.hex()
        if at is not None:
            log.error("audit_broken turn=%s entry=%s", timestamp, at)
        else:
            log.info("audit_whole turn=%s entries=%s hash=%s", timestamp, found.entries, end)
        return 0 if at is None else at

    _keep(app, world)
    return app


def _keep(app: App, world: World) -> None:
    @app.periodic(cron="*/5 * * * *")
    @app.task(name="keep_answers", queue=QUEUE, retry=RETRY, queueing_lock="answers")
    async def keep(timestamp: int) -> int:
        """Found by their words, and there when their jobs are gone, though nobody came back for them."""
        kept = await keep_answers(world, AT_ONCE_MAX)
        log.info("answers_kept turn=%s conversations=%s", timestamp, kept)
        return kept


async def run_chores(make: Callable[[], App], again_s: tuple[float, float] = AGAIN_S) -> None:
    """Works until it is cancelled; what runs then may finish within `SHUTDOWN_S`.

    A worker whose database is away ends. Streams go on without one, so another is made when it may be back.
    """
    while True:
        try:
            app = make()
            async with app.open_async():
                await app.run_worker_async(
                    queues=[QUEUE],
                    name="chores",
                    concurrency=1,
                    install_signal_handlers=False,
                    shutdown_graceful_timeout=SHUTDOWN_S,
                    delete_jobs="successful",
                )
        except Exception as error:
            # The top of the loop: whatever it was, it must not end the process that relays everybody's answers.
            log.warning("chores_interrupted error=%r", error)
        await asyncio.sleep(random.uniform(*again_s))
