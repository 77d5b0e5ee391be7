"""The Cargo: a chat in, the server's words out as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from archipelag_kit import Run, cargo

from archipelag_llm_server.asked import request
from archipelag_llm_server.server import Server


@dataclass(frozen=True)
class Model:
    """What a run needs."""

    server: Server
    name: str


@cargo
async def answer(run: Run) -> AsyncIterator[str]:
    model: Model = run.state
    body = request(run.input, model.name, run.items_max)
    thought = 0
    async with aclosing(model.server.answer(body)) as events:
        async for told in events:
            if told.prompt_tokens is not None:
                run.prompt_tokens = told.prompt_tokens
            if told.thinks:
                thought += 1
                run.tell(thought, 0, "thinking")
            run.cut_short = run.cut_short or told.finish_reason == "length"
            if told.text:
                yield told.text
