"""Where in the stream of all output a moment was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from archipelag_coordinator.adapters.nats.replay import PLACES_MAX, STALE_S, StreamReplay
from archipelag_coordinator.testing.fakes import FakeClock


class Broker:
    def __init__(self) -> None:
        self.said: Any = {"state": {"last_seq": 0}}

    async def request(self, subject: str, payload: bytes, timeout_s: float) -> bytes:
        assert (subject, payload, timeout_s > 0) == ("$JS.API.STREAM.INFO.OUTPUT", b"", True)
        return json.dumps(self.said).encode()


async def test_the_newest_place_that_is_old_enough_counts() -> None:
    broker, clock = Broker(), FakeClock()
    replay = StreamReplay(broker, clock)  # type: ignore[arg-type]
    for last in range(0, 1000, 100):
        broker.said = {"state": {"last_seq": last}}
        await replay.keep_place()
        clock.advance(2)

    # The last was kept 2 s ago, the first 20 s ago.
    assert [replay.place(before) for before in (0.0, 2.0, 2.5, 8.0, 20.0)] == [
        900,
        900,
        800,
        600,
        0,
    ]
    assert replay.place(21.0) is None, "nobody had looked by then"


async def test_a_place_that_is_too_old_is_none() -> None:
    broker, clock = Broker(), FakeClock()
    replay = StreamReplay(broker, clock)  # type: ignore[arg-type]
    await replay.keep_place()
    clock.advance(8.0 + STALE_S)
    known = replay.place(8.0)
    clock.advance(0.1)

    assert (known, replay.place(8.0)) == (0, None)


@pytest.mark.parametrize("said", [{}, {"error": {"code": 404}}, {"state": {"last_seq": "7"}}])
async def test_a_word_that_says_nothing_of_it_is_no_place(said: Any) -> None:
    broker, clock = Broker(), FakeClock()
    replay = StreamReplay(broker, clock)  # type: ignore[arg-type]
    broker.said = said
    await replay.keep_place()

    assert replay.place(0.0) is None


async def test_few_places_are_kept() -> None:
    broker, clock = Broker(), FakeClock()
    replay = StreamReplay(broker, clock)  # type: ignore[arg-type]
    for _ in range(10 * PLACES_MAX):
        await replay.keep_place()
        clock.advance(1)

    assert replay.place(PLACES_MAX) == 0 and replay.place(PLACES_MAX + 1) is None
