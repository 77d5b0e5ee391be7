"""Readers that keep a receipt of every event, and that come back to another Coordinator whenever their line breaks.

A reader is as a good client is: it names its request by an Idempotency-Key, says by Last-Event-ID how far it got, waits
a little longer after each failure, with jitter, and gives up after a known time.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, cast

import httptools
from archipelag_island.testing.echo_engine.words import script

FAST_SLUG: Final = "fast-chat"
MODEL_NAME: Final = "smollm2-135m-instruct"
BACKOFF_S: Final = (0.1, 2.0)
LOOK_S: Final = 0.5
RETRIED: Final = frozenset({429, 500, 502, 503, 504})
"""Answers after which a client tries again; what else is refused is refused for good."""


@dataclass(frozen=True)
class Ask:
    """One chat request; `expected` are the items of its undisturbed answer, where they are known one by one."""

    key: str
    body: dict[str, Any]
    expected: tuple[str, ...] = ()
    text: str | None = None
    """The undisturbed answer as a whole."""
    door: str = "chat"
    """`chat`: a streamed chat. `whole`: one that comes in one piece. `job`: a job that is made, then followed."""


@dataclass(frozen=True)
class Receipt:
    """One event with text in it. `position`: its id, the next position after it."""

    position: int
    text: str
    at: float


@dataclass
class Reading:
    """All that one reader saw."""

    ask: Ask
    jobs: list[str] = field(default_factory=list)
    """Of one job, unless that failed and was asked for anew."""
    receipts: list[Receipt] = field(default_factory=list)
    breaks: list[tuple[float, str]] = field(default_factory=list)
    """When and how its line broke."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Answers that told it to come back later, by status and code."""
    roles: int = 0
    """Opening events."""
    finish_reason: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    """Why it gave up, or what the stream said had gone wrong."""
    began: float = 0.0
    ended: float = 0.0
    done: bool = False
    """It has seen `[DONE]` and no error."""

    @property
    def position(self) -> int:
        return self.receipts[-1].position if self.receipts else 0

    @property
    def text(self) -> str:
        return "".join(receipt.text for receipt in self.receipts)


def fast_ask(key: str, seed: int, items: int, delay_ms: int, door: str = "chat") -> Ask:
    """So many seeded words, one in so many milliseconds."""
    knobs = json.dumps({"items": items, "delay_ms": delay_ms, "seeded": True})
    messages = [
        {"role": "system", "content": knobs},
        {"role": "user", "content": f"Say {items} words, please."},
    ]
    plan = script(json.dumps({"messages": messages, "seed": seed}).encode(), items)
    expected = tuple(plan.item(position)[0] for position in range(items))
    body = {"model": FAST_SLUG, "messages": messages, "max_tokens": items, "seed": seed}
    return Ask(key, body, expected, "".join(expected), door)


def model_ask(key: str, seed: int, prompt: str, tokens: int) -> Ask:
    body = {
        "model": MODEL_NAME,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": tokens,
        "temperature": 0.9,
        "seed": seed,
    }
    return Ask(key, body)


@dataclass(frozen=True)
class Manners:
    """How long a reader waits for what."""

    patience_s: float = 120.0
    """For the whole answer, from the first request on."""
    silence_s: float = 25.0
    """Without a byte, before it leaves and asks elsewhere; keep-alives come every 15 s."""
    connect_s: float = 5.0


class Readers:
    """A crowd of readers. `ports`: the Coordinators that they know; each tries another one after a failure."""

    def __init__(
        self, ports: Sequence[int], api_key: str, chance: Random, manners: Manners | None = None
    ) -> None:
        self.ports = list(ports)
        self._api_key = api_key
        self._chance = chance
        self._manners = manners or Manners()
        self.readings: list[Reading] = []
        self.items = 0
        """Positions that arrived, over all readers."""
        self.reading = 0
        """Readers that are at it."""

    async def read(
        self, ask: Ask, *, first: int | None = None, into: Reading | None = None
    ) -> Reading:
        """Until the whole answer is there, or the reader's patience is at its end. `first`: where it begins; `into`:
        what somebody else looks at meanwhile."""
        reading = into or Reading(ask)
        reading.began = time.monotonic()
        self.readings.append(reading)
        self.reading += 1
        port = self.ports[first] if first is not None else self._chance.choice(self.ports)
        wait_s = BACKOFF_S[0]
        try:
            while True:
                before = reading.position
                if await self._once(reading, port):
                    return reading
                if time.monotonic() - reading.began > self._manners.patience_s:
                    reading.error = reading.error or "its patience was at its end"
                    return reading
                wait_s = (
                    BACKOFF_S[0] if reading.position > before else min(BACKOFF_S[1], wait_s * 2)
                )
                await asyncio.sleep(wait_s * (0.5 + self._chance.random()))
                port = self._other(port)
        finally:
            reading.ended = time.monotonic()
            self.reading -= 1

    def _other(self, port: int) -> int:
        others = [other for other in self.ports if other != port]
        return self._chance.choice(others) if others else port

    async def _once(self, reading: Reading, port: int) -> bool:
        """One request. True: there is nothing more to wait for, for better or worse."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._manners.connect_s):
                transport, link = await loop.create_connection(
                    lambda: self._connection(reading), "127.0.0.1", port
                )
        except (OSError, TimeoutError) as error:
            reading.breaks.append((time.monotonic(), f"no connection: {type(error).__name__}"))
            return False
        try:
            transport.write(self._request(reading))
            while not link.over:
                await asyncio.wait([link.closed], timeout=LOOK_S)
                now = time.monotonic()
                if now - link.heard > self._manners.silence_s:
                    link.broke = f"silent for {self._manners.silence_s:g} s"
                    break
                if now - reading.began > self._manners.patience_s:
                    link.broke = "its patience was at its end"
                    break
        finally:
            transport.abort()
        if link.whole and link.status == 201:
            reading.roles += 1
            return await self._once(reading, port)
        return self._judge(reading, link)

    def _connection(self, reading: Reading) -> Connection:
        return Connection(reading, self._count)

    def _judge(self, reading: Reading, link: Connection) -> bool:
        if reading.done or reading.error:
            return True
        if link.whole and link.status != 200:
            code = f"{link.status} {_code_of(link.body)}"
            if link.status in RETRIED:
                reading.refusals[code] += 1
                return False
            reading.error = f"refused: {code} {link.body[:300].decode(errors='replace')}"
            return True
        if link.whole and reading.ask.door == "whole":
            self._take_whole(reading, json.loads(link.body))
            return True
        how = link.broke or ("ended without its end" if link.whole else "the line was closed")
        reading.breaks.append((time.monotonic(), how))
        return False

    def _take_whole(self, reading: Reading, answer: dict[str, Any]) -> None:
        (choice,) = answer["choices"]
        reading.usage, reading.finish_reason = answer["usage"], choice["finish_reason"]
        items = reading.usage["completion_tokens"]
        reading.roles += 1
        reading.receipts.append(Receipt(items, choice["message"]["content"], time.monotonic()))
        reading.done = True
        self._count(items)

    def _request(self, reading: Reading) -> bytes:
        ask, body = reading.ask, b""
        lines = ["Host: chaos", f"Authorization: Bearer {self._api_key}"]
        if ask.door == "job" and reading.jobs:
            what = f"GET /api/v1/jobs/{reading.jobs[-1]}/stream"
        else:
            what = "POST /v1/chat/completions"
            asked: dict[str, Any] = ask.body
            if ask.door == "chat":
                asked = asked | {"stream": True, "stream_options": {"include_usage": True}}
            elif ask.door == "job":
                what = "POST /api/v1/jobs"
                given = {name: value for name, value in asked.items() if name != "model"}
                asked = {"workload": asked["model"], "input": given}
            body = json.dumps(asked).encode()
            lines += ["Content-Type: application/json", f"Idempotency-Key: {ask.key}"]
        if reading.roles or reading.receipts:
            lines.append(f"Last-Event-ID: {reading.position}")
        lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([f"{what} HTTP/1.1", *lines, "", ""]).encode() + body

    def _count(self, items: int) -> None:
        self.items += items


class Connection(asyncio.Protocol):
    """One response. What it says goes into the reading as it comes; no task wakes for a token."""

    def __init__(self, reading: Reading, count: Callable[[int], None]) -> None:
        self._reading = reading
        self._count = count
        self._parser = httptools.HttpResponseParser(self)
        self._rest = b""
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.heard = time.monotonic()
        self.status = 0
        self.body = b""
        self.whole = False
        self.broke = ""

    @property
    def over(self) -> bool:
        return self.closed.done()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.heard = time.monotonic()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(f"not HTTP: {error!r}")

    def connection_lost(self, error: Exception | None) -> None:
        said = type(error).__name__ if error else "closed"
        self._end("" if self.whole else f"the line broke: {said}")

    def _end(self, broke: str) -> None:
        self.broke = self.broke or broke
        if not self.closed.done():
            self.closed.set_result(None)

    # --- What httptools calls --------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-archipelag-job" and value.decode() not in self._reading.jobs:
            self._reading.jobs.append(value.decode())

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        if self.status != 200 or self._reading.ask.door == "whole":
            self.body += data
            return
        *events, self._rest = (self._rest + data).split(b"\n\n")
        for event in events:
            self._take(event)

    def on_message_complete(self) -> None:
        self.whole = True
        self._end("")

    # --- Events ----------------------------------------------------------------------------------------------------

    def _take(self, event: bytes) -> None:
        position, told = -1, b""
        for line in event.split(b"\n"):
            if line.startswith(b"id: "):
                position = int(line[4:])
            elif line.startswith(b"data: "):
                told = line[6:]
        if told == b"[DONE]":
            self._reading.done = not self._reading.error
        elif told and self._reading.ask.door == "job":
            self._take_job_event(position, json.loads(told))
        elif told:
            self._take_chunk(position, json.loads(told))

    def _take_job_event(self, position: int, told: dict[str, Any]) -> None:
        reading = self._reading
        match told["type"]:
            case "token":
                self._take_text(position, told["content"])
            case "done":
                reading.usage, reading.finish_reason = told["usage"], told["finish_reason"]
                reading.done = True
            case "error":
                reading.error = f"the stream said: {told['code']}, {told['error']}"

    def _take_text(self, position: int, text: str) -> None:
        self._count(position - self._reading.position)
        self._reading.receipts.append(Receipt(position, text, time.monotonic()))

    def _take_chunk(self, position: int, chunk: dict[str, Any]) -> None:
        reading = self._reading
        if "error" in chunk:
            reading.error = f"the stream said: {chunk['error']}"
            return
        if chunk.get("usage"):
            reading.usage = chunk["usage"]
        for choice in chunk.get("choices", ()):
            delta = choice["delta"]
            if "role" in delta:
                reading.roles += 1
            if choice["finish_reason"]:
                reading.finish_reason = choice["finish_reason"]
            if delta.get("content"):
                self._take_text(position, delta["content"])


def _code_of(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return body[:60].decode(errors="replace")
