"""The Island's client of the broker goes on reading after a ping that it had given up is answered all the same."""

from __future__ import annotations

import asyncio

import pytest
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_island.adapters.link import PatientClient
from nats.aio.msg import Msg
from nats.errors import FlushTimeoutError

INFO = b'INFO {"server_id":"x","version":"2.12.0","max_payload":1048576}\r\n'


class SlowBroker:
    """Speaks as much NATS as a client needs to connect, and answers no further ping until it is told to."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.writer: asyncio.StreamWriter | None = None
        self._pings = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        writer.write(INFO)
        while line := await reader.readline():
            if line.startswith(b"PING"):
                self._pings += 1
                if self._pings > 1:
                    await self.go_on.wait()
                writer.write(b"PONG\r\n")
        writer.close()


async def test_a_late_answer_to_a_ping_does_not_end_the_reading() -> None:
    broker = SlowBroker()
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client, heard = PatientClient(), asyncio.Event()

    async def hear(_: Msg) -> None:
        heard.set()

    await client.connect(f"nats://127.0.0.1:{port}", allow_reconnect=False)
    try:
        await client.subscribe("news", cb=hear)
        with pytest.raises(FlushTimeoutError):
            await client.flush(timeout=0.01)  # type: ignore[arg-type]

        broker.go_on.set()
        await client.flush()
        assert broker.writer is not None
        broker.writer.write(b"MSG news 1 2\r\nhi\r\n")

        async with asyncio.timeout(PATIENCE_S):
            await heard.wait()
    finally:
        await client.close()
        server.close()
        await server.wait_closed()
