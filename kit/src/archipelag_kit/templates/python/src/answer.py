"""A Cargo: one async function that is given a run and returns its result."""

from __future__ import annotations

from archipelag_kit import BadInput, Run, cargo


@cargo
async def answer(run: Run) -> dict[str, str | int]:
    """`run.input` has passed the manifest's schema already."""
    words = run.input["text"].split()
    if not words:
        raise BadInput("text: there is not one word in it")  # this sentence is for the customer
    run.prompt_tokens = len(words)  # units of work that were read, priced by the manifest
    loud = []
    for number, word in enumerate(words, 1):
        loud.append(word.upper())
        await run.progress(number, len(words))
    return {"loud": " ".join(loud), "words": len(words)}
