"""The Cargo of the simulation: every answer is a function of its input, and each token one of the token before it."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from archipelag_contracts.manifest import Limits, Manifest, Price
from archipelag_contracts.units import Ucredits
from archipelag_island.errors import BadInput, CargoDied, CargoFailed, NoSlot, StartFailed
from archipelag_island.runtime import (
    CargoSpec,
    CargoState,
    Consumption,
    Description,
    Exit,
    Handle,
    RunEnd,
    RunEvent,
    RunRequest,
    RuntimeInfo,
)

PRICE: Final = Price(Ucredits(7), Ucredits(3), Ucredits(11))
LIMITS: Final = Limits(seconds=120, output_items_max=400, output_bytes_max=16_384, progress_s=8)
LETTERS: Final = (
    "a",
    "e",
    "ß",
    "漢",
    "o",
    "🙂",
    "u",
    '"',
    "\\",
    "\n",
    "y",
    "\u2028",
    "x",
    "w",
    "v",
    "t",
)


def manifest(slug: str, *, resumable: bool) -> Manifest:
    return Manifest(
        slug=slug,
        version="1.0.0",
        name=slug,
        description="Deterministic tokens for the simulation.",
        license="Apache-2.0",
        kind="chat",
        runtime="native",
        engine="sim",
        resumable=resumable,
        limits=LIMITS,
        price=PRICE,
    )


RESUMABLE: Final = manifest("sim-chat", resumable=True)
FIXED: Final = manifest("sim-fixed", resumable=False)


@dataclass(frozen=True)
class Answer:
    """What an undisturbed run of this input says."""

    texts: tuple[str, ...]
    tokens: tuple[int, ...]
    prompt_tokens: int
    finish_reason: str

    @property
    def text(self) -> str:
        return "".join(self.texts)


def text_of(token: int, position: int) -> str:
    """Its position is in it, so that a text shows which item is missing or there twice."""
    return f"{position}{LETTERS[token % len(LETTERS)]}{token % 97} "


def next_token(seed: int, before: int, position: int) -> int:
    return zlib.crc32(b"%d %d %d" % (seed, before, position))


def answer_to(cargo_input: bytes, own: str = "") -> Answer:
    """`own` is what makes two runs of a Cargo that cannot resume differ."""
    given = json.loads(cargo_input)
    words = "".join(m["content"] for m in given["messages"])
    seed = zlib.crc32(f"{given['seed']} {words} {own}".encode())
    natural = seed % 7 and 1 + seed % 97  # One in seven says nothing at all.
    most = int(given["max_tokens"])
    texts, tokens, before = [], [], 0
    for position in range(min(natural, most)):
        before = next_token(seed, before, position)
        tokens.append(before)
        texts.append(text_of(before, position))
    reason = "length" if natural > most else "stop"
    return Answer(tuple(texts), tuple(tokens), max(1, len(words) // 3), reason)


@dataclass
class Knobs:
    """How this host's Cargos behave; turned while they run."""

    item_s: tuple[float, float] = (0.01, 0.06)
    prompt_s: tuple[float, float] = (0.02, 0.5)
    die: float = 0.0
    """Chance, at each item, that the Cargo's process ends."""
    stall: float = 0.0
    """Chance, at each item, that nothing more comes of this run."""
    fail: float = 0.0
    refuse_slot: float = 0.0
    hasty: float = 0.0
    """Chance that several items come at once."""


@dataclass(eq=False)
class _Started:
    spec: CargoSpec
    end: asyncio.Future[Exit] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    running: int = 0
    used: Consumption = field(default_factory=Consumption)


class SimRuntime:
    """Implements `Runtime` for one host."""

    def __init__(self, rng: Random, knobs: Knobs, host: str) -> None:
        self.knobs = knobs
        self._rng = rng
        self._host = host
        self._count = 0
        self._started: dict[str, _Started] = {}

    async def probe(self) -> RuntimeInfo:
        return RuntimeInfo("native", (), ("everything: this is a simulation",))

    async def recover(self) -> int:
        return 0

    async def start(self, spec: CargoSpec) -> Handle:
        await asyncio.sleep(self._rng.uniform(0.05, 0.4))
        if self._rng.random() < self.knobs.die:
            raise StartFailed("it ended at its start")
        self._count += 1
        handle = Handle(f"{self._host}-{self._count}")
        self._started[handle.id] = _Started(spec)
        return handle

    async def describe(self, handle: Handle) -> Description:
        started = self._alive(handle)
        return Description(
            CargoState.READY,
            slots=started.spec.slots,
            resumable=started.spec.manifest.resumable,
            items_per_s=30.0,
            first_item_ms=100.0,
            prompt_tokens_per_s=500.0,
        )

    async def run(self, handle: Handle, request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        started = self._alive(handle)
        if started.running >= started.spec.slots or self._rng.random() < self.knobs.refuse_slot:
            raise NoSlot("every slot is taken")
        own = "" if started.spec.manifest.resumable else request.run_id
        try:
            answer = answer_to(request.input, own)
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(str(error)) from None
        started.running += 1
        try:
            async for event in self._say(handle, started, request, answer):
                yield event
        finally:
            started.running -= 1

    async def _say(
        self, handle: Handle, started: _Started, request: RunRequest, answer: Answer
    ) -> AsyncGenerator[RunEvent, None]:
        knobs, rng = self.knobs, self._rng
        await self._pass(started, rng.uniform(*knobs.prompt_s))
        yield RunEvent(prompt_tokens=answer.prompt_tokens)
        position = request.first_position
        tokens = self._continued(request, answer)
        while position < len(tokens):
            await self._pass(started, rng.uniform(*knobs.item_s))
            self._trouble(handle)
            self._alive(handle)
            if rng.random() < knobs.stall:
                await asyncio.wait([started.end])
            count = rng.randint(2, 5) if rng.random() < knobs.hasty else 1
            some = tokens[position : position + count]
            texts = tuple(text_of(t, position + i) for i, t in enumerate(some))
            yield RunEvent(position, texts, tuple(some))
            position += len(some)
            used = started.used
            started.used = Consumption(used.cpu_ms + 2, 1 << 20, 1 << 20)
        yield RunEvent(end=RunEnd(answer.finish_reason))

    def _continued(self, request: RunRequest, answer: Answer) -> list[int]:
        """As a model does: from what it is told was said before, be it right or wrong."""
        first = request.first_position
        if not first:
            return list(answer.tokens)
        told = list(request.resume_tokens)
        if told == list(answer.tokens[:first]):
            return list(answer.tokens)
        # Wrong beginnings make wrong continuations, which a reader's checker sees.
        return [*told, *(zlib.crc32(b"astray %d" % i) for i in range(first, len(answer.tokens)))]

    def _trouble(self, handle: Handle) -> None:
        if self._rng.random() < self.knobs.die:
            self.kill(handle)
        elif self._rng.random() < self.knobs.fail:
            raise CargoFailed("told to fail")

    async def _pass(self, started: _Started, seconds: float) -> None:
        await asyncio.wait([started.end], timeout=seconds)

    async def wait(self, handle: Handle) -> Exit:
        return await asyncio.shield(self._started[handle.id].end)

    async def stop(self, handle: Handle, grace_s: float) -> None:
        started = self._started.get(handle.id)
        if started is not None and not started.end.done():
            started.end.set_result(Exit(-15, stopped=True))

    def usage(self, handle: Handle) -> Consumption:
        started = self._started.get(handle.id)
        return started.used if started else Consumption()

    def kill(self, handle: Handle) -> None:
        started = self._started[handle.id]
        if not started.end.done():
            started.end.set_result(Exit(-9))

    def kill_one(self) -> None:
        """The process of one Cargo ends by itself."""
        alive = [name for name, started in self._started.items() if not started.end.done()]
        if alive:
            self.kill(Handle(self._rng.choice(alive)))

    def _alive(self, handle: Handle) -> _Started:
        started = self._started.get(handle.id)
        if started is None or started.end.done():
            raise CargoDied(str(started.end.result()) if started else "it was never started")
        return started


def any_input(rng: Random, most: int) -> dict[str, Any]:
    """A chat request's body: a short prompt, and a seed half of the time."""
    words = "".join(rng.choices("abcdefgh é漢", k=rng.randint(1, 60)))
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": words}],
        "max_tokens": rng.randint(1, most),
    }
    if rng.random() < 0.5:
        body["seed"] = rng.getrandbits(32)
    return body
