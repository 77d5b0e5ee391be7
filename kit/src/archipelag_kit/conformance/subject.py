"""A Cargo that is being tried: started once in a real runtime, spoken to as an Island speaks to it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from archipelag_island.errors import NoSlot, RuntimeFailed
from archipelag_island.runtime import (
    CargoSpec,
    CargoState,
    Consumption,
    Description,
    Handle,
    RunEnd,
    RunEvent,
    RunRequest,
    Runtime,
)

from archipelag_kit.conformance.finding import Failed

START_S: Final = 120.0
STOP_S: Final = 5.0
# A slot may be freed a moment after the run that held it was given up.
FREED_S: Final = 10.0
EVENTS_MAX: Final = 1_000_000


@dataclass
class Heard:
    """One run from its first to its last event."""

    items: list[str] = field(default_factory=list)
    gapless: bool = True
    files: dict[str, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    end: RunEnd | None = None
    seconds: float = 0.0

    @property
    def text(self) -> str:
        return "".join(self.items)

    @property
    def bytes(self) -> int:
        return sum(len(item.encode()) for item in self.items)


class Subject:
    def __init__(self, runtime: Runtime, spec: CargoSpec, handle: Handle) -> None:
        self.spec: Final = spec
        self.manifest: Final = spec.manifest
        self.description = Description(CargoState.LOADING)
        self.ready_s = 0.0
        self._runtime = runtime
        self._handle = handle

    async def wait_ready(self) -> None:
        """Raises Failed."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(START_S):
                while (described := await self._describe()).state is CargoState.LOADING:  # noqa: ASYNC110 (it is another process)
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise Failed(
                f"it was still loading after {START_S:.0f} s", "load less, or report STATE_READY"
            ) from None
        if described.state is CargoState.FAILED:
            raise Failed(f"it could not load: {described.error}", "see its standard error")
        self.description = described
        self.ready_s = time.monotonic() - began

    async def run(self, given: dict[str, Any] | bytes | None = None, **options: Any) -> Heard:
        """A whole run of the example, or of what is given. Raises RuntimeFailed, and Failed when it takes too long."""
        heard, began = Heard(), time.monotonic()
        position = options.get("first_position", 0)
        try:
            async with (
                asyncio.timeout(self.manifest.limits.seconds),
                aclosing(self.events(given, **options)) as events,
            ):
                async for event in events:
                    position = _take(heard, event, position)
        except TimeoutError:
            raise Failed(
                f"a run took longer than limits.seconds, {self.manifest.limits.seconds} s",
                "raise the limit, or give the run less to do",
            ) from None
        heard.seconds = time.monotonic() - began
        return heard

    async def events(
        self, given: dict[str, Any] | bytes | None = None, **options: Any
    ) -> AsyncGenerator[RunEvent, None]:
        request = self._request(given, **options)
        deadline = time.monotonic() + FREED_S
        while True:
            try:
                async with aclosing(self._runtime.run(self._handle, request)) as events:
                    async for event in events:
                        yield event
                return
            except NoSlot:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.05)

    async def run_once(self, given: dict[str, Any] | bytes | None = None) -> Heard:
        """Without waiting for a slot. Raises NoSlot and others."""
        heard, position = Heard(), 0
        async with aclosing(self._runtime.run(self._handle, self._request(given))) as events:
            async for event in events:
                position = _take(heard, event, position)
        return heard

    def used(self) -> Consumption:
        return self._runtime.usage(self._handle)

    async def _describe(self) -> Description:
        try:
            return await self._runtime.describe(self._handle)
        except RuntimeFailed as error:
            raise Failed(
                f"it does not answer Describe: {error}", "see its standard error"
            ) from None

    def _request(
        self,
        given: dict[str, Any] | bytes | None,
        *,
        first_position: int = 0,
        resume_texts: tuple[str, ...] = (),
        output_items_max: int = 0,
    ) -> RunRequest:
        body = self.manifest.example if given is None else given
        return RunRequest(
            run_id="conformance",
            input=body if isinstance(body, bytes) else json.dumps(body).encode(),
            first_position=first_position,
            resume_texts=resume_texts,
            output_items_max=output_items_max or self.manifest.limits.output_items_max,
        )


@asynccontextmanager
async def started(runtime: Runtime, spec: CargoSpec) -> AsyncIterator[Subject]:
    """Raises RuntimeFailed when it cannot be started; nothing is left of it afterwards."""
    handle = await runtime.start(spec)
    try:
        yield Subject(runtime, spec, handle)
    finally:
        await runtime.stop(handle, STOP_S)


def _take(heard: Heard, event: RunEvent, position: int) -> int:
    if event.texts:
        heard.gapless &= event.first == position
        heard.items += event.texts
    if len(heard.items) > EVENTS_MAX:
        raise Failed(f"more than {EVENTS_MAX} items", "end the run at output_items_max")
    if event.prompt_tokens:
        heard.prompt_tokens = event.prompt_tokens
    if event.file is not None:
        heard.files[event.file.name] = heard.files.get(event.file.name, 0) + len(event.file.data)
    if event.end is not None:
        heard.end = event.end
    return position + len(event.texts)
