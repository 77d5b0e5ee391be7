"""Sends mail behind everybody's back: whoever asks for a message never waits for the mail server.

What waits is in memory only. A link that signs somebody in must stand in the mail and nowhere else, so it is not put
into the database to outlive a restart: whoever misses their mail asks again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

log = logging.getLogger(__name__)

WAITING_MAX: Final = 1_000
AT_ONCE_MAX: Final = 4
WAITS_S: Final = (2.0, 10.0, 30.0, 120.0, 300.0)
"""Before each further try. All of them together are shorter than a link is good."""
TRY_S: Final = 30.0
CLOSE_S: Final = 2.0
CANCEL_S: Final = 0.5


class Undeliverable(Exception):
    """No further try will help."""


class Carrier(Protocol):
    async def carry(self, to: str, subject: str, text: str, html: str) -> None:
        """Hands a message to whoever delivers it. Raises Undeliverable, or OSError where another try may help."""
        ...


class Outbox:
    """Implements `Mail` over a carrier. Of too many that wait, the oldest is dropped: it was asked for anew."""

    def __init__(
        self,
        carrier: Carrier,
        *,
        waiting_max: int = WAITING_MAX,
        try_s: float = TRY_S,
        close_s: float = CLOSE_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._carrier = carrier
        self._waiting_max = waiting_max
        self._try_s = try_s
        self._close_s = close_s
        self._sleep = sleep
        self._room = asyncio.Semaphore(AT_ONCE_MAX)
        self._waiting: dict[asyncio.Task[None], str] = {}

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def send(self, to: str, subject: str, text: str, html: str) -> None:
        if len(self._waiting) >= self._waiting_max:
            oldest = next(iter(self._waiting))
            log.error("mail_dropped to=%s: too many wait", _masked(self._waiting.pop(oldest)))
            oldest.cancel()
        task = asyncio.create_task(self._deliver(to, subject, text, html), name="mail")
        self._waiting[task] = to
        task.add_done_callback(lambda done: self._waiting.pop(done, None))

    async def settled(self) -> None:
        """Returns once nothing waits."""
        while self._waiting:
            await asyncio.wait(tuple(self._waiting))

    async def close(self) -> None:
        """Gives what is under way a moment, then lets go of the rest."""
        if not self._waiting:
            return
        _, left = await asyncio.wait(tuple(self._waiting), timeout=self._close_s)
        if left:
            log.warning("mail_left count=%s", len(left))
        while left:
            # More than once: Python 3.11's `wait_for` swallows a cancel that meets the very end of what it waits for.
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=CANCEL_S)

    async def _deliver(self, to: str, subject: str, text: str, html: str) -> None:
        for wait_s in (*WAITS_S, None):
            try:
                async with self._room, asyncio.timeout(self._try_s):
                    await self._carrier.carry(to, subject, text, html)
            except Undeliverable as error:
                log.warning("mail_refused to=%s: %s", _masked(to), error)
                return
            except OSError as error:
                log.warning("mail_failed to=%s again_s=%s: %r", _masked(to), wait_s, error)
            except Exception:
                # The top of the errand: our own mistake, told and not repeated.
                log.exception("mail_broken to=%s", _masked(to))
                return
            else:
                log.info("mail_sent to=%s", _masked(to))
                return
            if wait_s is not None:
                await self._sleep(wait_s)
        log.error("mail_given_up to=%s", _masked(to))


def _masked(address: str) -> str:
    """Enough to find a message in the mail server's log, and no list of people in ours."""
    name, _, host = address.rpartition("@")
    return f"{name[:1]}…@{host}"
