"""The line comes back soon after it was lost, then ever later, and never in step with other Islands'."""

from __future__ import annotations

from random import Random
from urllib.parse import urlparse

from archipelag_contracts.ids import IslandId
from archipelag_contracts.signing import SigningKey
from archipelag_island.adapters.link import FIRST_TRY_S, NEXT_TRIES_S, Credentials, NatsLink
from nats.aio.client import Server

SERVERS = [Server(urlparse("nats://one:4222")), Server(urlparse("nats://two:4222"))]


def a_link(seed: int) -> NatsLink:
    return NatsLink(
        island=IslandId("isl_00000000000000000000000001"),
        key=SigningKey.generate(),
        credentials=lambda: Credentials(("nats://one:4222",), "", ()),
        accept=lambda _: None,
        room=lambda _: None,
        cancel=lambda _: False,
        up=lambda: None,
        refused=lambda: None,
        chance=Random(seed),
    )


async def waits(link: NatsLink, tries: int) -> list[float]:
    await link._on_disconnected()
    return [link._next_try(SERVERS, {})[1] for _ in range(tries)]


async def test_the_first_try_is_soon_and_later_ones_are_bounded() -> None:
    tried = await waits(a_link(1), 12)

    assert FIRST_TRY_S[0] <= tried[0] <= FIRST_TRY_S[1]
    assert all(wait_s >= NEXT_TRIES_S[0] / 2 for wait_s in tried[1:])
    assert max(tried) <= NEXT_TRIES_S[1]


async def test_after_it_stood_again_the_next_loss_begins_anew() -> None:
    link = a_link(1)
    await waits(link, 8)

    await link._on_reconnected()
    first, second, *_ = await waits(link, 2)

    assert first <= FIRST_TRY_S[1] and second <= NEXT_TRIES_S[0]


async def test_no_two_islands_come_back_in_step() -> None:
    each = [tuple(await waits(a_link(seed), 3)) for seed in range(20)]

    assert len({wait for waits_ in each for wait in waits_}) == 60
