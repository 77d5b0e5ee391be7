"""The way out of a sandbox, with a resolver and a far side of the test's own."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_island.adapters.runtimes.oci.egress import Egress, public

PUBLIC = "93.184.215.14"


@dataclass
class World:
    """Names and their answers, each a list of what is said in turn; what was connected to; a far side that echoes."""

    socket: Path
    names: dict[str, list[list[str]]] = field(default_factory=dict)
    dialled: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    far: Path = Path()

    async def resolve(self, name: str) -> list[str]:
        self.asked.append(name)
        answers = self.names[name]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def dial(self, address: str) -> tuple[StreamReader, StreamWriter]:
        self.dialled.append(address)
        return await asyncio.open_unix_connection(str(self.far))

    async def ask(self, head: str, data: bytes = b"") -> tuple[str, bytes]:
        """The status line, and what came back of `data`."""
        reader, writer = await asyncio.open_unix_connection(str(self.socket))
        try:
            writer.write(head.encode() + b"\r\n\r\n")
            answer = await reader.readuntil(b"\r\n\r\n")
            if data:
                writer.write(data)
                writer.write_eof()
            return answer.decode().splitlines()[0], await reader.read()
        finally:
            writer.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "egress.sock", far=tmp_path / "far.sock")
    made.names = {"api.example.com": [[PUBLIC]]}

    async def echo(reader: StreamReader, writer: StreamWriter) -> None:
        while piece := await reader.read(1024):
            writer.write(piece)
        writer.close()

    server = await asyncio.start_unix_server(echo, str(made.far))
    egress = Egress(
        ("api.example.com",),
        resolve=made.resolve,
        dial=made.dial,
        connection_bytes_max=100_000,
    )
    await egress.serve(made.socket)
    async with asyncio.timeout(PATIENCE_S):
        yield made
    await egress.close()
    server.close()


async def test_granted_host_is_reached_at_the_address_that_was_judged(world: World) -> None:
    status, said = await world.ask("CONNECT api.example.com:443 HTTP/1.1\r\nHost: x", b"hello")

    assert status == "HTTP/1.1 200 Connection established"
    assert said in (b"hello", b"")  # Who ends first is the far side's choice.
    assert world.dialled == [PUBLIC]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("CONNECT other.example.com:443 HTTP/1.1", 403),
        ("CONNECT api.example.com.evil.net:443 HTTP/1.1", 403),
        ("CONNECT api.example.com:80 HTTP/1.1", 403),
        ("CONNECT api.example.com:22 HTTP/1.1", 403),
        ("CONNECT api.example.com HTTP/1.1", 403),
        ("CONNECT 169.254.169.254:443 HTTP/1.1", 403),
        (f"CONNECT {PUBLIC}:443 HTTP/1.1", 403),
        ("CONNECT [::1]:443 HTTP/1.1", 400),
        ("CONNECT api.example.com@evil.net:443 HTTP/1.1", 400),
        ("GET http://api.example.com/ HTTP/1.1", 405),
        ("nonsense", 405),
    ],
)
async def test_everything_else_is_refused_without_a_look_up(
    line: str, status: int, world: World
) -> None:
    answer, _ = await world.ask(line)

    assert answer.split()[1] == str(status)
    assert not world.dialled and not world.asked


async def test_name_in_capitals_with_a_dot_is_the_same_name(world: World) -> None:
    answer, _ = await world.ask("CONNECT API.Example.com.:443 HTTP/1.1", b"x")

    assert answer.split()[1] == "200"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "ff02::1",
        "nonsense",
    ],
)
async def test_granted_name_that_points_near_is_refused(address: str, world: World) -> None:
    world.names["api.example.com"] = [[address]]

    answer, _ = await world.ask("CONNECT api.example.com:443 HTTP/1.1")

    assert answer.split()[1] == "403"
    assert not world.dialled and not public(address)


async def test_rebound_name_leads_nowhere_else(world: World) -> None:
    world.names["api.example.com"] = [["127.0.0.1", PUBLIC], ["127.0.0.1"]]

    first, _ = await world.ask("CONNECT api.example.com:443 HTTP/1.1", b"x")
    second, _ = await world.ask("CONNECT api.example.com:443 HTTP/1.1")

    assert (first.split()[1], second.split()[1]) == ("200", "403")
    assert world.dialled == [PUBLIC], "looked up once, and connected to what was looked at"


async def test_bytes_of_a_connection_are_bounded(world: World) -> None:
    reader, writer = await asyncio.open_unix_connection(str(world.socket))
    writer.write(b"CONNECT api.example.com:443 HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")

    sent = got = 0
    with suppress(ConnectionError):
        while piece := await _answer(reader, writer, b"x" * 10_000):
            got += len(piece)
            sent += 10_000

    assert sent < 100_000 and got <= 100_000
    writer.close()


async def _answer(reader: StreamReader, writer: StreamWriter, data: bytes) -> bytes:
    writer.write(data)
    await writer.drain()
    return await reader.read(100_000)


async def test_endless_head_is_cut_off(world: World) -> None:
    reader, writer = await asyncio.open_unix_connection(str(world.socket))
    writer.write(b"CONNECT " + b"a" * 20_000)

    assert (await reader.read()).startswith(b"HTTP/1.1 400")
    writer.close()
