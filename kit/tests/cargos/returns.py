"""A Cargo that returns its result instead of streaming it."""

from __future__ import annotations

from typing import Any

from archipelag_kit import Run, cargo


@cargo
async def answer(run: Run) -> Any:
    match run.input["do"]:
        case "echo":
            return run.input["value"]
        case "large":
            return {"text": "é" * run.input["characters"]}
        case "not-json":
            return {"set": {1, 2}}
        case "nan":
            return float("nan")
    return None
