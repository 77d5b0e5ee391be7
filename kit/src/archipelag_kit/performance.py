"""One run of the author's function: what it gives becomes events within the limits, its errors become sentences."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import time
import traceback
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import Executor
from contextlib import aclosing
from typing import Any, Final, cast

from archipelag_kit.errors import BadInput, BadOutput
from archipelag_kit.events import (
    ERROR_CHARACTERS_MAX,
    End,
    Event,
    Items,
    PromptTokens,
    Refused,
    pieces,
)
from archipelag_kit.marking import RunFunction
from archipelag_kit.outbox import Outbox
from archipelag_kit.run import Ask, Run

STOP: Final = "stop"
LENGTH: Final = "length"


class Performance:
    """Owns the task in which the author's function runs. `events` reads it, `cancel` gives it up."""

    def __init__(self, function: RunFunction, ask: Ask, executor: Executor | None = None) -> None:
        self._outbox = Outbox()
        self._began = time.monotonic()
        self._ask = ask
        self.run: Final = Run(ask, self._outbox, executor)
        self._answer = _Answer(self.run, ask, self._outbox)
        self.task: Final = asyncio.create_task(self._perform(function))
        """Ends only when the function has, in its threads too: then its slot is free."""

    async def events(self) -> AsyncGenerator[Event, None]:
        """Until `Refused` or `End`; leaving early cancels the run."""
        told = PromptTokens(0)
        try:
            while True:
                for event in await self._outbox.take():
                    read = self._read()
                    if read != told:
                        told = read
                        yield read
                    yield event
                    if isinstance(event, Refused | End):
                        return
        finally:
            self.cancel()

    def cancel(self) -> None:
        self.run.cancel()
        self.task.cancel()

    def _read(self) -> PromptTokens:
        """Of nothing, nothing can have been kept."""
        count = self.run.prompt_tokens
        return PromptTokens(count, min(count, self.run.cached_tokens))

    async def _perform(self, function: RunFunction) -> None:
        try:
            ending: End | Refused = self._end(await self._answered(function))
        except BadInput as error:
            ending = Refused(_sentence(error) or "the input cannot be used")
        except asyncio.CancelledError:
            if self.run.cancelled:
                raise
            ending = self._end(error="the Cargo failed: it cancelled itself")
        except (Exception, SystemExit) as error:
            print_traceback(error)
            ending = self._end(error=f"the Cargo failed: {_sentence(error, with_kind=True)}")
        self._outbox.end(ending)

    async def _answered(self, function: RunFunction) -> str:
        """The finish reason."""
        answer = function(self.run)
        if inspect.isasyncgen(answer):
            return await self._answer.stream(answer)
        return await self._answer.whole(await cast("Any", answer))

    def _end(self, finish_reason: str = "", error: str = "") -> End:
        return End(
            finish_reason,
            error,
            output_items=self._answer.said,
            prompt_tokens=self.run.prompt_tokens,
            wall_ms=round((time.monotonic() - self._began) * 1000),
        )


class _Answer:
    """Counts positions and bytes, and leaves out what was delivered before this run began."""

    def __init__(self, run: Run, ask: Ask, outbox: Outbox) -> None:
        self._run = run
        self._ask = ask
        self._outbox = outbox
        self._position: int | None = None
        self._bytes = 0
        self.said = 0

    async def stream(self, texts: AsyncIterator[Any]) -> str:
        async with aclosing(cast("AsyncGenerator[Any, None]", texts)) as items:
            async for text in items:
                if not isinstance(text, str):
                    raise BadOutput(f"it yielded {type(text).__name__}: an item is a text")
                for piece in _cut(text):
                    if not await self._say(piece):
                        return LENGTH
        return LENGTH if self._run.cut_short else STOP

    async def whole(self, value: Any) -> str:
        """A text as it is; anything else as JSON, which is worth nothing when cut short."""
        if isinstance(value, str):
            for piece in _cut(value):
                if not await self._say(piece):
                    return LENGTH
            return STOP
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError) as error:
            raise BadOutput(f"its result is not JSON: {error}") from error
        found = _cut(text)
        size = sum(len(piece.encode()) for piece in found)
        if len(found) > self._ask.items_max or size > self._ask.bytes_max:
            raise BadOutput(
                f"its result has {size} bytes in {len(found)} items; the manifest's limits allow "
                f"{self._ask.bytes_max} in {self._ask.items_max}: send large results as files"
            )
        for piece in found:
            await self._say(piece)
        return STOP

    async def _say(self, text: str) -> bool:
        """False: the limit is reached, and this was not said."""
        first = self._ask.first_position
        if self._position is None:
            self._position = first if self._run.resumes_itself else 0
        position = self._position
        self._bytes += len(text.encode())
        if position >= self._ask.items_max or self._bytes > self._ask.bytes_max:
            return False
        self._position = position + 1
        if position >= first:
            await self._outbox.put(Items(position, (text,)))
            self.said += 1
        elif self._ask.resume_texts and self._ask.resume_texts[position] != text:
            raise BadOutput(
                f"item {position} is not what was delivered before: a resumable Cargo must give the same "
                "for the same input, or begin at run.first_position"
            )
        else:
            await asyncio.sleep(0)
        return True


def print_traceback(error: BaseException) -> None:
    """For the author, on standard error; whatever the error says can be written there."""
    text = "".join(traceback.format_exception(error))
    sys.stderr.write(text.encode(errors="backslashreplace").decode())
    sys.stderr.flush()


def _cut(text: str) -> list[str]:
    try:
        return pieces(text)
    except UnicodeEncodeError:
        raise BadOutput(
            "a text has half a character (a lone surrogate), which has no bytes"
        ) from None


def _sentence(error: BaseException, *, with_kind: bool = False) -> str:
    """One line of what an error says, without what a terminal or a page would stumble over."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split())
    if with_kind and not isinstance(error, BadOutput):
        kind = type(error).__name__
        text = f"{kind}: {text}" if text else kind
    # What cannot be encoded cannot be sent.
    return text.encode(errors="replace").decode()[:ERROR_CHARACTERS_MAX]
