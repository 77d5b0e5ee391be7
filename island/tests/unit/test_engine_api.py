"""What an engine answers in the moment in which a container ends, from a socket that says it by rote."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from archipelag_island.adapters.runtimes.oci.api import EngineApi
from archipelag_island.errors import StartFailed

ENDING = (500, {"message": "read /proc/15579/cgroup: no such process"})
ENDED = (200, {"State": {"Running": False, "ExitCode": 7}})
UNKNOWN = (404, {"message": "no such container"})


@asynccontextmanager
async def an_engine(
    place: Path, answers: list[tuple[int, dict[str, object]]]
) -> AsyncIterator[EngineApi]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        status, said = answers.pop(0)
        body = json.dumps(said).encode()
        head = f"HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer, place)
    api = EngineApi(place)
    try:
        yield api
    finally:
        await api.close()
        server.close()


async def test_a_container_that_ends_while_it_is_looked_at_is_looked_at_again(
    tmp_path: Path,
) -> None:
    answers = [ENDING, ENDING, ENDED]
    async with an_engine(tmp_path / "engine.sock", answers) as api:
        assert (await api.state("one"))["ExitCode"] == 7
    assert answers == []


async def test_a_container_that_is_not_there_is_not_looked_for_twice(tmp_path: Path) -> None:
    answers = [UNKNOWN, ENDED]
    async with an_engine(tmp_path / "engine.sock", answers) as api:
        with pytest.raises(StartFailed, match="no such container"):
            await api.state("one")
    assert answers == [ENDED]
