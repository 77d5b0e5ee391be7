"""Takes chance and time out of what the real code imports, so that a seed decides everything."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import nats.aio.client
import nats.js.client
import nats.nuid
from archipelag_coordinator.domain.answer import Answer
from archipelag_island.adapters import link


class _VirtualTime:
    """What `import time` gives, as far as it is asked."""

    @staticmethod
    def monotonic() -> float:
        return asyncio.get_running_loop().time() + 500.0

    perf_counter = monotonic
    time = monotonic


class InOrder(dict[Any, None]):
    """A set that remembers the order: bound methods hash by address, and listeners are called in this order."""

    def add(self, one: Any) -> None:
        self[one] = None

    def discard(self, one: Any) -> None:
        self.pop(one, None)


@contextmanager
def swapped(*swaps: tuple[Any, str, Any]) -> Iterator[None]:
    """(owner, name, value) each, taken back at the end."""
    before = [(owner, name, owner.__dict__[name]) for owner, name, _ in swaps]
    try:
        for owner, name, value in swaps:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Everything that is random comes from this seed, and every clock is the loop's."""
    before = random.getstate()
    random.seed(f"chance {seed}")
    made = Answer.__init__

    def in_order(self: Answer, *args: Any, **options: Any) -> None:
        made(self, *args, **options)
        self.listeners = InOrder()  # type: ignore[assignment]

    def token_hex(size: int) -> str:
        return random.randbytes(size).hex()

    time: Any = _VirtualTime
    try:
        with swapped(
            (nats.aio.client, "time", time),
            (nats.js.client, "time", time),
            (link, "time", time),
            (nats.aio.client, "token_hex", token_hex),
            (nats.js.client, "token_hex", token_hex),
            (nats.nuid, "token_bytes", random.randbytes),
            (nats.nuid, "randbelow", random.randrange),
            (Answer, "__init__", in_order),
        ):
            yield
    finally:
        random.setstate(before)
