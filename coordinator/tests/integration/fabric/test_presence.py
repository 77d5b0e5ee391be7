"""A real broker's own word on who is connected: who leaves is known at once, and nobody can forge it."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from typing import Any

import pytest
from archipelag_coordinator.adapters.nats import credentials


class Heard:
    def __init__(self) -> None:
        self.gone: list[str] = []
        self.back: list[str] = []
        self.unsure = 0

    def lost(self) -> None:
        self.unsure += 1


@pytest.fixture
async def heard(fabric: Any) -> Heard:
    one = Heard()
    await fabric.broker.listen_presence(one.gone.append, one.back.append, one.lost)
    return one


async def test_an_island_that_is_cut_off_is_gone_and_back_when_it_connects_again(
    fabric: Any, heard: Heard, eventually: Any
) -> None:
    host = await fabric.host().connect()
    other = await fabric.host().connect()
    await eventually(lambda: heard.back == [host.id, other.id])

    host.nc._transport._io_writer.transport.abort()  # As the kernel does for a process that was killed.
    await eventually(lambda: heard.gone == [host.id])
    await host.connect()
    await eventually(lambda: len(heard.back) == 3)

    assert heard.gone == [host.id] and heard.back[2] == host.id
    assert heard.unsure == 0


async def test_an_island_that_is_revoked_is_gone(
    fabric: Any, heard: Heard, eventually: Any
) -> None:
    host = await fabric.host().connect()

    await fabric.broker.enforce({host.key.public: datetime.now(UTC)})
    await eventually(lambda: bool(heard.gone))

    assert heard.gone == [host.id]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_broker_that_goes_down_takes_no_island_with_it(
    fabric: Any, heard: Heard, eventually: Any, how: signal.Signals
) -> None:
    hosts = [await fabric.host().connect() for _ in range(5)]
    await eventually(lambda: len(heard.back) == 5)

    fabric.server.process.send_signal(how)
    await fabric.server.process.wait()
    await eventually(lambda: heard.unsure > 0)
    await fabric.server.start()
    await eventually(lambda: fabric.broker._system.connected)
    for host in hosts:
        await host.connect()
    await eventually(lambda: len(heard.back) == 10)

    assert heard.gone == []


async def test_nobody_but_the_broker_can_say_that_an_island_is_gone(
    fabric: Any, heard: Heard, eventually: Any
) -> None:
    hostile = await fabric.host().connect()
    victim = await fabric.host().connect()
    forged = [
        subject.format(account=account)
        for subject in (credentials.CONNECTED, credentials.DISCONNECTED)
        for account in (fabric.keys.account_id, fabric.keys.system_id)
    ]

    for subject in forged:
        assert await hostile.refused(publish=subject)
        assert await hostile.refused(subscribe=subject)
        # Not even a Coordinator's own connection reaches the system account's subjects.
        await fabric.connection.client.publish(subject, b'{"client":{},"server":{}}')
    await fabric.connection.client.flush()
    await hostile.nc.close()
    await eventually(lambda: bool(heard.gone))

    assert heard.gone == [hostile.id]
    assert not victim.nc.is_closed


async def test_the_system_connection_hears_and_says_nothing_else(fabric: Any, heard: Heard) -> None:
    system = fabric.broker._system
    refused: list[str] = []

    async def noted(error: Exception) -> None:
        refused.append(str(error).lower())

    system.client._error_cb = noted
    other = [
        "$SYS.>",
        "$SYS.SERVER.*.STATSZ",
        f"$SYS.ACCOUNT.{fabric.keys.account_id}.>",
        f"$SYS.ACCOUNT.{fabric.keys.system_id}.CONNECT",
        ">",
    ]
    for subject in other:
        await system.client.subscribe(subject)
    for subject in ("$SYS.REQ.SERVER.PING", f"$SYS.REQ.ACCOUNT.{fabric.keys.account_id}.CONNZ"):
        await system.client.publish(subject, b"")
    await system.client.flush()
    await system.client.flush()

    assert sum("permissions violation" in one for one in refused) == len(other) + 2
