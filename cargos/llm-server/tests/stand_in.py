"""A server on a Unix socket that speaks OpenAI's language, or what a test wants it to speak instead."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def delta(text: str | None = None, finish_reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text, **more}, "finish_reason": finish_reason}
    return event({"choices": [choice]})


def usage(prompt_tokens: Any) -> bytes:
    return event({"choices": [], "usage": {"prompt_tokens": prompt_tokens}})


DONE = b"data: [DONE]\n\n"


def answering(status: str, body: bytes, kind: str = "application/json") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode() + body


class StandIn:
    """`says` are the bytes of its answer, piece by piece; after the last it hangs up, or not."""

    def __init__(self, *says: bytes | Callable[[], bytes], hangs: bool = False) -> None:
        self.says = says
        self.hangs = hangs
        self.asked: list[dict[str, Any]] = []
        self.left = asyncio.Event()
        """Whoever asked has gone."""
        self.loading = 0
        """So many more times it says that it still loads."""

    @asynccontextmanager
    async def open(self, path: Path) -> AsyncIterator[None]:
        serving: list[asyncio.Task[None]] = []

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            serving.append(asyncio.create_task(self._serve(reader, writer)))

        listening = await asyncio.start_unix_server(connected, path)
        try:
            yield
        finally:
            listening.close()
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET /health"):
                await self._health(writer)
                return
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            self.asked.append(json.loads(await reader.readexactly(length)))
            gone = asyncio.create_task(self._gone(reader))
            await self._answer(writer)
            if self.hangs:
                await gone
            gone.cancel()
        except ConnectionError:
            self.left.set()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        for piece in self.says:
            endless = callable(piece)
            while True:
                writer.write(piece() if callable(piece) else piece)
                await writer.drain()
                if not endless:
                    break
                await asyncio.sleep(0)

    async def _health(self, writer: asyncio.StreamWriter) -> None:
        self.loading -= 1
        ready = self.loading < 0
        writer.write(answering("200 OK" if ready else "503 Service Unavailable", b"{}"))
        await writer.drain()

    async def _gone(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        self.left.set()
