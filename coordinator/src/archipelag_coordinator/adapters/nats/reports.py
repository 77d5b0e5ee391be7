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
from nats.js.errors import Error as JetStreamError

from archipelag_coordinator.adapters.nats.connection import REQUEST_TIMEOUT_S, Connection

log = logging.getLogger(__name__)

AT_ONCE_MAX: Final = 12
"""Fewer than there are connections to the database: however many reports there are, the loops have theirs."""
BATCH_MAX: Final = 32
NEXT: Final = f"$JS.API.CONSUMER.MSG.NEXT.{streams.REPORTS.name}.{streams.REPORTS_CONSUMER}"
PULL: Final = b'{"batch":%d,"expires":30000000000,"idle_heartbeat":1000000000}' % BATCH_MAX
HEARTBEAT_STATUS: Final = "100"
# Nothing there, or the request's own time is over.
ASK_AGAIN: Final = ("404", "408")
SILENCE_S: Final = 2.5
"""The broker says every second that it is still there."""
RETRY_S: Final = (0.5, 2.0)
# Waits between deliveries of a report that could not be settled just now.
NAK_DELAYS_S: Final = (1.0, 5.0, 15.0, 60.0)
UNACKED_MAX: Final = 1024


OnReport = Callable[[IslandId, bytes], Awaitable[bool]]
"""True: it was dealt with. False: it can never be accepted. An exception: not now, deliver it again."""


def _ignore() -> None:
    """Nobody asked to be told."""


class ReportQueue:
    """Guards a standing request for reports over restarts of the broker.

    Not by nats-py's `fetch`: that waits for its whole time when the broker is restarted in the meantime.
    """

    def __init__(
        self, connection: Connection, on_report: OnReport, on_read: Callable[[], None] = _ignore
    ) -> None:
        """`on_read` is called whenever no report waits, with the broker or here; every second, where none come."""
        self._connection = connection
        self._on_report = on_report
        self._on_read = on_read
        self._settling = 0
        self._slots = asyncio.Semaphore(AT_ONCE_MAX)

    async def run(self) -> None:
        """Until cancelled. What is being settled then is delivered again, to this process or another."""
        async with asyncio.TaskGroup() as settling:
            while True:
                try:
                    await self._make_consumer()
                    await self._listen(settling)
                except (nats.errors.Error, JetStreamError, OSError, TimeoutError) as error:
                    log.warning("reports_interrupted error=%r", error)
                    await asyncio.sleep(random.uniform(*RETRY_S))

    async def _make_consumer(self) -> None:
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

    async def _listen(self, settling: asyncio.TaskGroup) -> None:
        """Returns when the broker has been silent for too long. Raises nats.errors.Error when it ends the request."""
        client = self._connection.client
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox)
        try:
            asked_for = 0
            while True:
                if asked_for == 0:
                    await client.publish(NEXT, PULL, reply=inbox)
                    asked_for = BATCH_MAX
                try:
                    message = await subscription.next_msg(SILENCE_S)
                except nats.errors.TimeoutError:
                    return
                if not message.reply:  # The broker's own word; an Island could forge its headers.
                    asked_for = _still_asked(message, asked_for)
                    self._look_whether_read(0)
                    continue
                asked_for -= 1
                await self._slots.acquire()
                self._settling += 1
                settling.create_task(self._take_and_free(message))
        finally:
            with contextlib.suppress(nats.errors.Error, OSError):
                await subscription.unsubscribe()

    async def _take_and_free(self, message: Msg) -> None:
        try:
            await self._take(message)
        finally:
            self._slots.release()
            self._settling -= 1
        self._look_whether_read(message.metadata.num_pending)

    def _look_whether_read(self, waiting: int) -> None:
        if not waiting and not self._settling:
            self._on_read()

    async def _take(self, message: Msg) -> None:
        delivered = message.metadata.num_delivered or 1
        settled: bool | None = None
        try:
            settled = await self._on_report(subjects.island_of(message.subject), message.data)
        except ContractError:
            settled = False
        except ConnectionError as error:
            log.warning(
                "report_later subject=%s delivery=%d: %s", message.subject, delivered, error
            )
        except Exception:
            # The top of the loop: whatever it was, the report is not lost.
            log.exception("report_failed subject=%s delivery=%d", message.subject, delivered)
        with contextlib.suppress(nats.errors.Error, OSError):
            # An acknowledgement that gets lost costs another delivery, which settles nothing twice.
            if settled is None and delivered < streams.REPORT_DELIVERIES_MAX:
                await message.nak(delay=NAK_DELAYS_S[min(delivered, len(NAK_DELAYS_S)) - 1])
            elif settled:
                await message.ack()
            else:
                # Also after the last try: it would lie in the queue undelivered, while the Island keeps it in its
                # journal and is asked for it by the answer to its next heartbeat.
                await message.term()


def _still_asked(message: Msg, asked_for: int) -> int:
    """How many reports the broker still owes us after this word of its own."""
    status = (message.headers or {}).get("Status")
    if status == HEARTBEAT_STATUS:
        return asked_for
    if status in ASK_AGAIN:
        return 0
    raise nats.errors.Error(f"the broker ended the request for reports: {message.headers}")
