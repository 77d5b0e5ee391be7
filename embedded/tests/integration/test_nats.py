"""A real NATS server: it starts, keeps streams over restarts, ends orphans, and obeys a configuration."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import nats
import pytest
from archipelag_embedded.errors import CannotStart
from archipelag_embedded.fixtures import PATIENCE_S, ClusterFactory, NatsFactory
from archipelag_embedded.nats import Nats


async def test_streams_and_address_survive_a_kill(embedded_directory: Path) -> None:
    server = Nats(embedded_directory / "nats-killed")
    first = server.start()
    client = await nats.connect(first)
    stream = client.jetstream()
    await stream.add_stream(name="KEPT", subjects=["kept"])
    await stream.publish("kept", b"one")
    await client.close()
    server.kill()

    second = server.start()
    client = await nats.connect(second)
    info = await client.jetstream().stream_info("KEPT")
    await client.close()
    server.stop()

    assert second == first
    assert info.state.messages == 1


def test_an_orphaned_server_is_ended_before_the_next_start(embedded_directory: Path) -> None:
    orphan = Nats(embedded_directory / "nats-orphan")
    orphan.start()

    server = Nats(embedded_directory / "nats-orphan")
    server.start()

    assert not orphan.running
    assert server.running
    server.stop()


def test_the_given_configuration_is_obeyed(nats_server: NatsFactory) -> None:
    server = nats_server(config='authorization { user: "somebody", password: "secret" }')

    assert answer_to_connect(server, {}).startswith(b"-ERR 'Authorization Violation'")
    somebody = {"user": "somebody", "pass": "secret"}
    assert answer_to_connect(server, somebody) == b"PONG\r\n"


def answer_to_connect(server: Nats, who: dict[str, str]) -> bytes:
    """Speaks the protocol itself: a client that is refused leaves its socket open."""
    options = json.dumps(who | {"verbose": False})
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        lines = connection.makefile("rb")
        lines.readline()  # The greeting.
        connection.sendall(f"CONNECT {options}\r\nPING\r\n".encode())
        with lines:
            return lines.readline()


def test_a_wrong_configuration_shows_what_the_server_said(embedded_directory: Path) -> None:
    server = Nats(embedded_directory / "nats-wrong", config="nonsense {")

    with pytest.raises(CannotStart, match="ended with code 1"):
        server.start()


async def test_each_server_of_the_factory_is_its_own(nats_server: NatsFactory) -> None:
    one, other = nats_server(), nats_server(jetstream=False)

    assert one.url != other.url


async def test_servers_of_a_cluster_carry_for_each_other_and_come_back(
    nats_cluster: ClusterFactory,
) -> None:
    cluster = nats_cluster(size=2)
    first, second = cluster.servers
    listener = await nats.connect(first.url)
    heard = await listener.subscribe("said")
    await listener.flush()

    second.kill()
    second.start()
    speaker = await nats.connect(second.url)
    async with asyncio.timeout(PATIENCE_S):
        # Until the route stands again and the interest is known there.
        while not heard.pending_msgs:
            await speaker.publish("said", b"hello")
            await speaker.flush()
            await asyncio.sleep(0.02)
    await speaker.close()
    await listener.close()

    assert cluster.named("server-2") is second
