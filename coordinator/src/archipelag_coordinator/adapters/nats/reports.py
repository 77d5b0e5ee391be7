"""The work queue of reports: each is taken by one Coordinator and acknowledged only when it was committed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

import nats.errors
from archipelag_contracts import streams, subjects
from archipelag_contracts.errors import ContractError
from archipelag_contracts.ids import IslandId
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.client import JetStreamContext
from nats.js.errors import Error as JetStreamError

from archipelag_coordinator.adapters.nats.connection import REQUEST_TIMEOUT_S, Connection

log = logging.getLogger(__name__)

BATCH_MAX: Final = 32
FETCH_WAIT_S: Final = 10.0
RETRY_S: Final = (0.5, 2.0)
# Waits between deliveries of a report that could not be settled just now; the Island sends it again after the last.
NAK_DELAYS_S: Final = (1.0, 5.0, 15.0, 60.0)
UNACKED_MAX: Final = 1024


OnReport = Callable[[IslandId, bytes], Awaitable[bool]]
"""True: it was dealt with. False: it can never be accepted. An exception: not now, deliver it again."""


class ReportQueue:
    """Guards the pull subscription over restarts of the broker."""

    def __init__(self, connection: Connection, on_report: OnReport) -> None:
        self._connection = connection
        self._on_report = on_report

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                subscription = await self._bind()
                while True:
                    await self._take_batch(subscription)
            except (nats.errors.Error, JetStreamError, OSError, TimeoutError) as error:
                log.warning("reports_interrupted error=%r", error)
                await asyncio.sleep(random.uniform(*RETRY_S))

    async def _bind(self) -> JetStreamContext.PullSubscription:
        """The one durable consumer that all Coordinators share; made where it is missing."""
        js = self._connection.client.jetstream(timeout=REQUEST_TIMEOUT_S)
        await js.add_consumer(
            streams.REPORTS.name,
            ConsumerConfig(
                durable_name=streams.REPORTS_CONSUMER,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=streams.REPORT_ACK_WAIT_S,
                max_deliver=streams.REPORT_DELIVERIES_MAX,
                max_ack_pending=UNACKED_MAX,
                filter_subject=subjects.ALL_REPORTS,
            ),
        )
        return await js.pull_subscribe_bind(
            durable=streams.REPORTS_CONSUMER, stream=streams.REPORTS.name
        )

    async def _take_batch(self, subscription: JetStreamContext.PullSubscription) -> None:
        try:
            messages = await subscription.fetch(
                BATCH_MAX, timeout=FETCH_WAIT_S, heartbeat=FETCH_WAIT_S / 4
            )
        except nats.errors.TimeoutError:
            if not self._connection.connected:
                raise
            return  # Nothing was reported for a while.
        async with asyncio.TaskGroup() as group:
            for message in messages:
                group.create_task(self._take(message))

    async def _take(self, message: Msg) -> None:
        delivered = message.metadata.num_delivered or 1
        settled: bool | None = None
        try:
            settled = await self._on_report(subjects.island_of(message.subject), message.data)
        except ContractError:
            settled = False
        except Exception:
            # The top of the loop: whatever it was, the report is not lost.
            log.exception("report_failed subject=%s delivery=%d", message.subject, delivered)
        with contextlib.suppress(nats.errors.Error, OSError):
            # An acknowledgement that gets lost costs another delivery, which settles nothing twice.
            if settled is None:
                await message.nak(delay=NAK_DELAYS_S[min(delivered, len(NAK_DELAYS_S)) - 1])
            elif settled:
                await message.ack()
            else:
                await message.term()
