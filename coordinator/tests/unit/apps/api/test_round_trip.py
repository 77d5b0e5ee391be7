"""The way to whoever connected: read out of the kernel's own table, over real sockets, and nothing where none tells."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import uvloop
from archipelag_coordinator.apps.api import round_trip
from archipelag_coordinator.apps.api.round_trip import round_trip_s, smoothed_s
from archipelag_coordinator.domain.answer import Ending
from archipelag_coordinator.domain.attempt import Cause

from .conftest import Api, until
from .test_direct import serving, whole

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells by TCP_INFO")
ENDING = Ending(Cause.COMPLETED, finish_reason="stop", status="succeeded")
BEFORE = (
    *("rto", "ato", "snd_mss", "rcv_mss", "unacked", "sacked", "lost", "retrans", "fackets"),
    *("last_data_sent", "last_ack_sent", "last_data_recv", "last_ack_recv", "pmtu"),
    "rcv_ssthresh",
)
"""The fields of four bytes before the round trip, after eight of one byte."""


def a_table(microseconds: int) -> bytes:
    """The kernel's, with a different number in every other field."""
    return struct.pack(
        "=8B17I", *range(1, 9), *range(9_001, 9_001 + len(BEFORE)), microseconds, 7_777
    )


async def accepted(
    look: Callable[[asyncio.BaseTransport], float | None],
) -> tuple[float | None, float | None]:
    """What `look` says of an accepted connection on loopback, while it is open and once it was closed."""
    told: asyncio.Future[tuple[float | None, float | None]] = asyncio.Future()

    class Door(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            found = look(transport)
            transport.close()
            told.set_result((found, look(transport)))

    server = await asyncio.get_running_loop().create_server(Door, "127.0.0.1", 0)
    async with server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        found = await told
        writer.close()
    return found


def test_the_smoothed_round_trip_is_read_in_seconds() -> None:
    assert smoothed_s(a_table(83_250)) == 0.08325


@pytest.mark.parametrize(
    "table", [a_table(0), a_table(83_250)[:71], b""], ids=["not measured", "cut off", "empty"]
)
def test_what_was_not_measured_or_is_not_told_is_none(table: bytes) -> None:
    assert smoothed_s(table) is None


@LINUX
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_connection_tells_until_it_is_closed(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        opened, closed = runner.run(accepted(round_trip_s))

    assert opened is not None and opened > 0
    assert closed is None


def test_another_system_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(round_trip, "sys", SimpleNamespace(platform="darwin"))

    assert asyncio.run(accepted(round_trip_s)) == (None, None)


async def test_a_socket_without_tcp_tells_nothing() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        _, writer = await asyncio.open_connection(sock=ours)

        assert round_trip_s(writer.transport) is None
        writer.close()


@LINUX
async def test_a_stream_is_measured_when_it_begins_and_counted_once_when_it_ends(api: Api) -> None:
    tally = api.scene.world.tally
    async with serving(api) as server:
        reader, _ = await server.ask()
        await until(lambda: server.answer.readers == 1)
        begun = server.answer.reader_round_trip_s
        server.say("a", "b", "c")
        await until(lambda: server.answer.delivered == 3)
        flowing = tally.reader_round_trip.count
        server.answer.finish(ENDING)
        await whole(reader)
        await until(lambda: server.answer.readers == 0)

    assert begun is not None and begun > 0
    assert (flowing, tally.reader_round_trip.count) == (0, 1)
    assert tally.reader_round_trip.sum_s == server.answer.reader_round_trip_s


@LINUX
async def test_who_leaves_in_mid_stream_counts_as_far_as_at_the_beginning(api: Api) -> None:
    tally = api.scene.world.tally
    async with serving(api) as server:
        _, writer = await server.ask()
        await until(lambda: server.answer.readers == 1)
        begun = server.answer.reader_round_trip_s
        writer.close()
        await until(lambda: server.answer.readers == 0)

    assert (tally.reader_round_trip.count, tally.reader_round_trip.sum_s) == (1, begun)


@LINUX
async def test_the_kernel_is_asked_twice_however_many_items_there_are(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(round_trip, "smoothed_s", lambda table: asked.append(table) or 0.25)
    async with serving(api) as server:
        reader, _ = await server.ask()
        await until(lambda: server.answer.readers == 1)
        for number in range(50):
            server.say(f"{number}")
            await until(lambda: server.answer.delivered == server.answer.next)
        server.answer.finish(ENDING)
        await whole(reader)
        await until(lambda: server.answer.readers == 0)

    assert len(asked) == 2
    assert api.scene.world.tally.reader_round_trip.sum_s == 0.25
