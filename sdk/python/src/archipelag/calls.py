"""What the methods of the clients need of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import httpx

from archipelag import transport
from archipelag.operations import Operation

T = TypeVar("T")


class Calls(Protocol):
    """The client that waits."""

    settings: transport.Settings
    _sleep: Callable[[float], None]
    _chance: Callable[[], float]

    def call(self, operation: Operation[T]) -> T: ...
    def default_model(self, kind: str = "chat") -> str: ...
    def _send(
        self,
        operation: Operation[Any],
        *,
        stream: bool,
        key: str | None = None,
        last_event_id: str = "",
    ) -> httpx.Response: ...


class AsyncCalls(Protocol):
    """The client for asyncio."""

    settings: transport.Settings
    _sleep: Callable[[float], Awaitable[None]]
    _chance: Callable[[], float]

    async def call(self, operation: Operation[T]) -> T: ...
    async def default_model(self, kind: str = "chat") -> str: ...
    async def _send(
        self,
        operation: Operation[Any],
        *,
        stream: bool,
        key: str | None = None,
        last_event_id: str = "",
    ) -> httpx.Response: ...
