"""Request bodies as they come, for as long as a client may take: who drips would hold memory and a connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request

from archipelag_coordinator.errors import TooSlow

HANG_UP: Final = {"Connection": "close"}
"""With the answer to a client that was too slow: the rest of its body is not waited for."""


@dataclass(frozen=True)
class Times:
    """What a client may take. Only the time counts in which we wait for it, not what we need for what has come.

    The same as nginx and Apache do by `client_body_timeout` and `mod_reqtimeout`, where there is such a proxy.
    """

    whole_s: float = 30.0
    """For a body that is read whole, JSON or a page's form."""
    piece_bytes: int = 30 * 1024
    piece_s: float = 30.0
    """For each `piece_bytes` of a body that is read as it comes, a file's: 1 KiB/s."""


def whole(request: Request, times: Times) -> AsyncIterator[bytes]:
    """Raises TooSlow."""
    told = f"all of the request body must be here within {times.whole_s:g} s"
    return _in_time(request, times.whole_s, None, told)


def in_pieces(
    request: Request,
    times: Times,
    *,
    clock: Callable[[], float] = time.monotonic,
    within: Callable[[float], AbstractAsyncContextManager[Any]] = asyncio.timeout,
) -> AsyncIterator[bytes]:
    """Raises TooSlow."""
    told = f"each {times.piece_bytes} bytes of the request body must be here within {times.piece_s:g} s"
    return _in_time(request, times.piece_s, times.piece_bytes, told, clock, within)


async def _in_time(
    request: Request,
    seconds: float,
    each_bytes: int | None,
    told: str,
    clock: Callable[[], float] = time.monotonic,
    within: Callable[[float], AbstractAsyncContextManager[Any]] = asyncio.timeout,
) -> AsyncIterator[bytes]:
    parts = request.stream()
    left_s, came = seconds, 0
    while True:
        began = clock()
        try:
            async with within(left_s):
                part = await anext(parts, None)
        except TimeoutError:
            raise TooSlow(told) from None
        if part is None:
            return
        left_s -= clock() - began
        came += len(part)
        if each_bytes is not None and came >= each_bytes:
            left_s, came = seconds, 0
        yield part
