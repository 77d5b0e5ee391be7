"""Serves the Cargo: starts its server beside the kit's, or takes one that is named, and ends when it ends."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Final

from archipelag_kit import Setup
from archipelag_kit.marking import Marked
from archipelag_kit.serving.main import main as serve

from archipelag_llm_server.answers import Model, answer
from archipelag_llm_server.asked import request
from archipelag_llm_server.engine import Engine, Start
from archipelag_llm_server.errors import ServerFailed
from archipelag_llm_server.server import Server

LOAD_S: Final = 900.0
# So long a run may take to tell that its server is gone, before the Cargo goes as well.
LAST_WORDS_S: Final = 2.0
_PARTS: Final = 1000


def main(engine: Engine, argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--upstream", default="", help="a server that runs: unix:PATH or http://…")
    parser.add_argument("--weights", type=Path, help="a folder of the image, in place of --model")
    own, rest = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    loading = partial(load, engine=engine, upstream=own.upstream, weights=own.weights)
    return serve(lambda: Marked(answer, loading), rest)


async def load(setup: Setup, *, engine: Engine, upstream: str, weights: Path | None) -> Model:
    """Raises ServerFailed."""
    described = setup.manifest.model
    name = described.name if described else setup.manifest.slug
    if upstream:
        server, beginnings = named(engine.name, upstream), engine.beginnings_of_another()
    else:
        model = weights or setup.model
        if model is None or described is None:
            raise ServerFailed("the manifest names no model")
        # In here only this Cargo is at home; a short path, as a socket's has 107 bytes at most.
        socket = Path(tempfile.mkdtemp(prefix="server-")) / "s.sock"
        server, beginnings = Server(engine.name, socket=str(socket)), engine.beginnings(setup.slots)
        command = engine.command(
            Start(model, name, socket, setup.slots, setup.threads, described.context_tokens)
        )
        await server.start(command, end_too)
    try:
        await server.wait_ready(LOAD_S, lambda part: setup.tell(round(part * _PARTS), _PARTS))
        ready = Model(server, name, beginnings)
        await measure(ready, setup)
        setup.kept_runs = beginnings.kept_runs
    except BaseException:
        await server.stop()
        raise
    return ready


def named(name: str, upstream: str) -> Server:
    """A server that somebody else started."""
    path = upstream.removeprefix("unix:")
    if path != upstream:
        return Server(name, socket=path)
    return Server(name, address=upstream)


def end_too() -> None:
    """A Cargo without its server is of no use: the Island starts another."""
    loop = asyncio.get_running_loop()
    loop.call_later(LAST_WORDS_S, os.kill, os.getpid(), signal.SIGTERM)


async def measure(model: Model, setup: Setup) -> None:
    """A short chat, which shows too that the server answers at all. No determinism class: batches change sums."""
    asked = {"messages": [{"role": "user", "content": "Count to ten."}]}
    began = first = time.perf_counter()
    count = 0
    with model.beginnings.run(b"", ()) as more:
        body = request(asked, model.name, 16, more)
        async with aclosing(model.server.answer(body)) as events:
            async for told in events:
                if told.text:
                    count += 1
                    first = time.perf_counter() if count == 1 else first
    setup.first_item_ms = (first - began) * 1000
    setup.items_per_s = max(count - 1, 1) / max(time.perf_counter() - first, 1e-6)
