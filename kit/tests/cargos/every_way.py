"""A Cargo that does whatever its input names: each way to answer, to fail and to misbehave."""

from __future__ import annotations

import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

from archipelag_kit import BadInput, Run, Setup, cargo

heard_cancel = threading.Event()
kept: list[str] = []


@cargo.load
async def load(setup: Setup) -> dict[str, str]:
    await setup.progress(1, 2)
    setup.determinism_class = "every-way-1"
    setup.kept_runs = lambda: kept
    return {"loaded": setup.manifest.slug}


@cargo
async def answer(run: Run) -> AsyncIterator[str]:
    """A stream; `do` names what to stream."""
    given = run.input
    match given["do"]:
        case "words":
            run.prompt_tokens = 3
            for word in given["words"]:
                yield word
        case "keep":
            run.prompt_tokens, run.cached_tokens = 5, given["count"]
            kept.extend([run.id] * 1000)
            yield run.cache_salt.hex()
        case "from":
            for number in range(run.first_position, given["count"]):
                yield f"{number} "
        case "cut short":
            yield "half"
            run.cut_short = True
        case "endless":
            number = 0
            while True:
                yield f"{number} "
                number += 1
        case "progress":
            for step in range(1, 4):
                await run.progress(step, 3, "drawing", b"\x89PNG", "image/png")
            await run.in_thread(run.tell, 3, 3, "from a thread")
            yield "done"
        case "file":
            sent = await run.send_file(b"x" * given["bytes"], name="out.bin")
            yield f"{sent['sha256']} {sent['bytes']}"
        case "read":
            yield run.files[given["file"]].read_text()
        case "state":
            yield run.state["loaded"]
        case "refuse":
            raise BadInput("say please")
        case "fail":
            yield "so far "
            raise ValueError("no\nluck \ud800")
        case "exit":
            sys.exit(3)
        case "half":
            yield "\ud800"
        case "number":
            yield 7  # type: ignore[misc]
        case "thread":
            await run.in_thread(_until_cancelled, run)
            yield "never said"
        case other:
            raise BadInput(f"cannot {other}")


def _until_cancelled(run: Run) -> None:
    while not run.cancelled:
        heard_cancel.wait(0.01)
    heard_cancel.set()


async def _unmarked(run: Run) -> Any:
    return run.input
