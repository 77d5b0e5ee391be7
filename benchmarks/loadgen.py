"""Helper of the benchmarks: a client of streamed chats that costs little and checks each token: once, and in order.

The model says ~0~1~2… so that a token is counted by its `~`, wherever a gateway put it and however many it merged.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

CONTENT = re.compile(rb'"content": ?"([^"]*)"')
LAST_CHUNK = b"0\r\n\r\n"
WHOLE_S = 120.0
GAPS_OF = 32
"""Streams whose arrivals are timed: all of them would cost the measuring process too much."""


@dataclass
class Counter:
    """Tokens that arrived, over all streams."""

    tokens: int = 0
    errors: list[str] = field(default_factory=list)


class Client(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._parts: list[bytes] = []
        self._first: asyncio.Future[float] | None = None
        self._done: asyncio.Future[bytes] | None = None
        self._length = -1
        self._tail = b""
        self.gaps: list[float] | None = None
        """Seconds between arrivals, while somebody wants them."""
        self._last = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def begin(self, request: bytes) -> tuple[asyncio.Future[float], asyncio.Future[bytes]]:
        """When the first token came, and the whole response."""
        loop = asyncio.get_running_loop()
        self._parts, self._length, self._tail = [], -1, b""
        self._first, self._done = loop.create_future(), loop.create_future()
        self._transport.write(request)
        return self._first, self._done

    def data_received(self, data: bytes) -> None:
        found = data.count(b"~")
        if found:
            self._counter.tokens += found
            if self.gaps is not None:
                now = time.perf_counter()
                if self._last:
                    self.gaps.append(now - self._last)
                self._last = now
            if self._first is not None and not self._first.done():
                self._first.set_result(time.perf_counter())
        self._parts.append(data)
        if len(data) < 16:
            self._tail = (self._tail + data)[-16:]
        else:
            self._tail = data[-16:]
        if self._tail.endswith(LAST_CHUNK) or (b"chunked" not in self._head() and self._whole()):
            self._finish()

    def connection_lost(self, _: Exception | None) -> None:
        self._finish()

    def _head(self) -> bytes:
        return self._parts[0][:2048]

    def _whole(self) -> bool:
        raw = b"".join(self._parts)
        head, end, body = raw.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: ?(\d+)", head)
        return bool(end) and length is not None and len(body) >= int(length[1])

    def _finish(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(b"".join(self._parts))
        if self._first is not None and not self._first.done():
            self._first.set_result(float("nan"))

    def close(self) -> None:
        self._transport.abort()


async def connect(port: int, counter: Counter) -> Client:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: Client(counter), "127.0.0.1", port)
    return client


def request(model: str, key: str, tokens: int, *, stream: bool = True) -> bytes:
    body = json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": "count"}],
            "max_tokens": tokens,
            "stream": stream,
        }
    ).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def wrong(response: bytes, tokens: int, *, stream: bool = True) -> str | None:
    """What is wrong with a response: each token once, in order, and a proper end."""
    status = response.split(b"\r\n", 1)[0]
    if b" 200" not in status:
        return f"{status.decode(errors='replace')} {response[-200:].decode(errors='replace')}"
    got = b"".join(CONTENT.findall(response))
    if got != b"".join(b"~%d" % number for number in range(tokens)):
        return f"other tokens than were said: {got[:60]!r}…{got[-40:]!r}"
    if stream and b"data: [DONE]" not in response:
        return "no end"
    return None


@dataclass(frozen=True)
class Steady:
    """What a run with so many streams at once showed."""

    streams: int
    tokens_per_s: float
    cpu_us: dict[str, float]
    """Per token that arrived, by process."""
    memory_mb: float
    """Of the measured process."""
    burst_s: list[float]
    """Time to first token of each stream, all begun at once."""
    probes_s: list[float]
    """Time to first token of one more request at a time, while the streams go on."""
    gaps_s: list[float]
    """Between two arrivals of some of the streams; several tokens may be in one."""
    errors: list[str]


Sample = Callable[[], tuple[dict[str, float], float]]
"""CPU seconds by process, and the memory of the measured one."""


@dataclass(frozen=True)
class Plan:
    """How long each part of a run takes, in seconds."""

    tokens: int = 1_800
    ramp_s: float = 0.0
    """Over which the streams begin, one after the other; 0: all at once."""
    begin_s: float = 15.0
    """After that, all must have begun so soon."""
    settle_s: float = 0.3
    steady_s: float = 2.5
    probes_s: float = 2.0
    patience_s: float = WHOLE_S
    """How long a probe may take."""
    finish: bool = True
    """Wait for the streams' ends and check them whole."""


async def steady(
    port: int, model: str, key: str, streams: int, plan: Plan, sample: Sample
) -> Steady:
    """Many long streams at once: first the cost of a token while nothing begins or ends, then probes among them."""
    counter = Counter()
    clients, pending, burst, errors = await _begin(
        partial(connect, port, counter), streams, request(model, key, plan.tokens), plan
    )
    await asyncio.sleep(plan.settle_s)
    before, _ = sample()
    count, since = counter.tokens, time.perf_counter()
    watched = clients[:: max(1, streams // GAPS_OF)]
    gaps: list[float] = []
    for client in watched:
        client.gaps = gaps
    await asyncio.sleep(plan.steady_s)
    for client in watched:
        client.gaps = None
    after, memory = sample()
    got, took = counter.tokens - count, time.perf_counter() - since
    probes = await _probe(port, model, key, plan, errors)
    dones = [done for _, done in pending]
    if plan.finish:
        await asyncio.wait(dones, timeout=WHOLE_S)
        errors += [problem for done in dones if (problem := _problem(done, plan.tokens))]
    for client in clients:
        client.close()
    return Steady(
        streams,
        got / took,
        {name: (after[name] - cpu) / max(1, got) * 1e6 for name, cpu in before.items()},
        memory,
        burst,
        probes,
        gaps,
        errors,
    )


Begun = tuple[asyncio.Future[float], asyncio.Future[bytes]]


async def _begin(
    connected: Callable[[], Awaitable[Client]], streams: int, asked: bytes, plan: Plan
) -> tuple[list[Client], list[Begun], list[float], list[str]]:
    """Clients with their streams, the time to first token of each, and what went wrong: all are to be open at once."""
    clients: list[Client] = []
    pending: list[Begun] = []
    begun: list[float] = []
    start = time.perf_counter()
    if not plan.ramp_s:
        clients += [await connected() for _ in range(streams)]
    for number in range(streams):
        due = start + plan.ramp_s * number / streams
        if plan.ramp_s:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            clients.append(
                await connected()
            )  # Not before: who says nothing for long is hung up on.
        begun.append(time.perf_counter())
        pending.append(clients[number].begin(asked))
    firsts = [first for first, _ in pending]
    await asyncio.wait(firsts, timeout=plan.begin_s)
    took = [first.result() - at for first, at in zip(firsts, begun, strict=True) if first.done()]
    errors = []
    if len(took) < streams:
        errors.append(f"{streams - len(took)} streams did not begin")
    if over := sum(done.done() for _, done in pending):
        errors.append(f"{over} streams were over before all had begun")
    return clients, pending, took, errors


def _problem(done: asyncio.Future[bytes], tokens: int) -> str | None:
    if not done.done():
        return f"no end within {WHOLE_S:g} s"
    return wrong(done.result(), tokens)


async def _probe(port: int, model: str, key: str, plan: Plan, errors: list[str]) -> list[float]:
    """One request after another, each of two tokens."""
    client = await connect(port, Counter())
    asked = request(model, key, 2)
    took = []
    until = time.perf_counter() + plan.probes_s
    while time.perf_counter() < until:
        begun = time.perf_counter()
        first, done = client.begin(asked)
        try:
            took.append(await asyncio.wait_for(first, plan.patience_s) - begun)
            problem = wrong(await asyncio.wait_for(done, plan.patience_s), 2)
        except TimeoutError:
            problem = f"nothing within {plan.patience_s:g} s"
        if problem is not None:
            errors.append(f"probe: {problem}")
            break
    client.close()
    return took


async def probes(port: int, model: str, key: str, seconds: float) -> tuple[list[float], list[str]]:
    """Time to first token where nothing else is going on."""
    errors: list[str] = []
    return await _probe(port, model, key, Plan(probes_s=seconds), errors), errors


@dataclass(frozen=True)
class Rate:
    """Requests in a closed loop."""

    per_s: float
    took_s: list[float]
    cpu_ms: dict[str, float]
    """Per request, by process."""
    memory_mb: float
    errors: list[str]


async def requests(
    port: int, model: str, key: str, *, at_once: int, tokens: int, seconds: float, sample: Sample
) -> Rate:
    """Whole, non-streamed answers, so many asked for at once, each checked."""
    counter = Counter()
    asked = request(model, key, tokens, stream=False)
    took: list[float] = []
    errors: list[str] = []
    warm_s = min(1.0, seconds / 4)
    begin = time.perf_counter()

    async def one() -> None:
        client = await connect(port, counter)
        while (begun := time.perf_counter()) < begin + warm_s + seconds:
            _, done = client.begin(asked)
            response = await asyncio.wait_for(done, WHOLE_S)
            ended = time.perf_counter()
            if (problem := wrong(response, tokens, stream=False)) is not None:
                errors.append(problem)
                if len(errors) > at_once:
                    return
            elif begin + warm_s <= ended <= begin + warm_s + seconds:
                took.append(ended - begun)
        client.close()

    async def watch() -> tuple[dict[str, float], float]:
        await asyncio.sleep(warm_s)
        before, _ = sample()
        await asyncio.sleep(seconds)
        after, memory = sample()
        return {name: after[name] - cpu for name, cpu in before.items()}, memory

    watching = asyncio.create_task(watch())
    work: Sequence[Awaitable[None]] = [one() for _ in range(at_once)]
    await asyncio.gather(*work)
    spent, memory = await watching
    per = {name: cpu / max(1, len(took)) * 1e3 for name, cpu in spent.items()}
    return Rate(len(took) / seconds, took, per, memory, errors)


def percentile(values: Sequence[float], share: float) -> float:
    """NaN where there are none."""
    ordered = sorted(value for value in values if value == value)
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else float("nan")
