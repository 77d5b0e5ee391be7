"""The outbox: whoever asks never waits, what may help is tried again, and there is a limit to everything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest
from archipelag_coordinator.adapters.mail.outbox import AT_ONCE_MAX, WAITS_S, Outbox, Undeliverable


class FakeCarrier:
    """Does as `outcome` says with each message; `hangs` until it is let go."""

    def __init__(self, outcome: Callable[[int], Exception | None] = lambda _: None) -> None:
        self.carried: list[str] = []
        self.tries = 0
        self.under_way = 0
        self.most = 0
        self.let_go = asyncio.Event()
        self.let_go.set()
        self._outcome = outcome

    async def carry(self, to: str, subject: str, text: str, html: str) -> None:
        self.tries += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.let_go.wait()
            error = self._outcome(self.tries)
            if error is not None:
                raise error
            self.carried.append(to)
        finally:
            self.under_way -= 1


class Naps:
    """Takes no time, and remembers how long it would have been."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


async def send(outbox: Outbox, to: str = "ada@example.org") -> None:
    await outbox.send(to, "subject", "text", "html")


async def test_a_server_that_hangs_holds_nobody_up() -> None:
    carrier = FakeCarrier()
    carrier.let_go.clear()
    outbox = Outbox(carrier)

    for number in range(20):
        await send(outbox, f"a{number}@example.org")
    await asyncio.sleep(0)
    waiting = outbox.waiting
    carrier.let_go.set()
    await outbox.settled()

    assert waiting == 20
    assert len(carrier.carried) == 20 and outbox.waiting == 0
    assert carrier.most == AT_ONCE_MAX


async def test_a_try_that_takes_too_long_is_given_up_and_made_again() -> None:
    carrier, naps = FakeCarrier(), Naps()
    carrier.let_go.clear()
    outbox = Outbox(carrier, try_s=0, sleep=naps)

    await send(outbox)
    await outbox.settled()

    assert carrier.tries == len(WAITS_S) + 1
    assert naps.taken == list(WAITS_S)


async def test_what_may_help_is_tried_again_and_then_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    away = FakeCarrier(lambda tries: ConnectionError("away") if tries < 3 else None)
    gone, naps = FakeCarrier(lambda _: ConnectionError("gone")), Naps()

    for carrier in (away, gone):
        outbox = Outbox(carrier, sleep=naps)
        await send(outbox)
        await outbox.settled()

    assert (away.tries, away.carried) == (3, ["ada@example.org"])
    assert (gone.tries, gone.carried) == (len(WAITS_S) + 1, [])
    assert "mail_given_up to=a…@example.org" in caplog.text


async def test_what_the_server_will_never_take_is_not_tried_again() -> None:
    carrier = FakeCarrier(lambda _: Undeliverable("550 no such user"))
    outbox = Outbox(carrier)

    await send(outbox)
    await outbox.settled()

    assert carrier.tries == 1


async def test_our_own_mistake_is_told_and_ends_that_message_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    carrier = FakeCarrier(lambda tries: KeyError("oops") if tries == 1 else None)
    outbox = Outbox(carrier)

    await send(outbox)
    await outbox.settled()
    await send(outbox, "bob@example.org")
    await outbox.settled()

    assert carrier.carried == ["bob@example.org"]
    assert "mail_broken" in caplog.text


async def test_of_too_many_the_oldest_is_dropped() -> None:
    carrier = FakeCarrier()
    carrier.let_go.clear()
    outbox = Outbox(carrier, waiting_max=3)

    for number in range(5):
        await send(outbox, f"a{number}@example.org")
    waiting = outbox.waiting
    carrier.let_go.set()
    await outbox.settled()

    assert waiting == 3
    assert sorted(carrier.carried) == [f"a{number}@example.org" for number in (2, 3, 4)]


async def test_the_log_says_whom_to_look_for_and_neither_address_nor_link(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    outbox = Outbox(FakeCarrier())

    await outbox.send("ada@example.org", "subject", "https://x/sign-in/al_1", "al_1")
    await outbox.settled()

    assert "a…@example.org" in caplog.text
    assert "ada@" not in caplog.text and "al_1" not in caplog.text


async def test_closing_lets_go_of_what_hangs() -> None:
    carrier = FakeCarrier(lambda _: ConnectionError("away"))
    forever = asyncio.Event()
    outbox = Outbox(carrier, sleep=lambda _: forever.wait(), close_s=0)
    await send(outbox)
    await asyncio.sleep(0)

    await outbox.close()

    assert outbox.waiting == 0 and carrier.carried == []
