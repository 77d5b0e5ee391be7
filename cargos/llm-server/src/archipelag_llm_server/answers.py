"""The Cargo: a chat in, the server's words out as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from archipelag_kit import Run, cargo

from archipelag_llm_server.asked import request
from archipelag_llm_server.beginnings import Beginnings, NoBeginnings
from archipelag_llm_server.server import Server


@dataclass(frozen=True)
class Model:
    """What a run needs."""

    server: Server
    name: str
    beginnings: Beginnings = field(default_factory=NoBeginnings)


@cargo
async def answer(run: Run) -> AsyncIterator[str]:
    model: Model = run.state
    with model.beginnings.run(run.cache_salt, _messages(run.input), run.id) as more:
        body = request(run.input, model.name, run.items_max, more)
        thought = 0
        async with aclosing(model.server.answer(body)) as events:
            async for told in events:
                if told.prompt_tokens is not None:
                    run.prompt_tokens, run.cached_tokens = told.prompt_tokens, told.cached_tokens
                if told.thinks:
                    thought += 1
                    run.tell(thought, 0, "thinking")
                run.cut_short = run.cut_short or told.finish_reason == "length"
                if told.text:
                    yield told.text


def _messages(asked: Mapping[str, Any]) -> list[Any]:
    """What was asked so far, whatever it is: it is checked before the server hears of it."""
    found = asked.get("messages")
    return found if isinstance(found, list) else []
