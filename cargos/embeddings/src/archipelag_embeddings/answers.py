"""The Cargo: a batch of texts in, a vector for each out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from archipelag_kit import Run, Setup, cargo

from archipelag_embeddings import sentence_model, wordpiece
from archipelag_embeddings.sentence_model import TOKENS_MAX, Array, SentenceModel

# Bounds the memory of one step: about 40 MB. Larger batches are not faster on a CPU.
_BATCH_TOKENS_MAX: Final = 2_048
# More digits than the model's 32-bit numbers have would only make the answer longer.
_DIGITS: Final = 7


@cargo.load
async def load(setup: Setup) -> SentenceModel:
    if setup.model is None:
        raise ValueError("the manifest must name a model: the weights of MiniLM as safetensors")
    model = await setup.in_thread(sentence_model.load, setup.model)
    wordpiece.bundled()
    return model


@cargo
async def embed(run: Run) -> dict[str, Any]:
    tokenizer = wordpiece.bundled()
    # One more than there is room for, to see what was cut.
    rows = [tokenizer.ids(text, TOKENS_MAX + 1) for text in run.input["texts"]]
    cut = sum(len(row) > TOKENS_MAX for row in rows)
    rows = [row if len(row) <= TOKENS_MAX else [*row[: TOKENS_MAX - 1], row[-1]] for row in rows]
    tokens = sum(map(len, rows))
    run.prompt_tokens = tokens
    embeddings: list[list[float]] = [[] for _ in rows]
    done = 0
    for batch in batches(rows):
        if run.cancelled:
            break
        vectors = await run.in_thread(run.state.embed, [rows[i] for i in batch])
        for i, vector in zip(batch, vectors, strict=True):
            embeddings[i] = rounded(vector)
        done += len(batch)
        await run.progress(done, len(rows))
    return {"embeddings": embeddings, "tokens": tokens, "texts_cut": cut}


def batches(rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Indices of rows of like length, so that little is reckoned for nothing."""
    batch: list[int] = []
    for i in sorted(range(len(rows)), key=lambda i: len(rows[i])):
        if batch and (len(batch) + 1) * len(rows[i]) > _BATCH_TOKENS_MAX:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def rounded(vector: Array) -> list[float]:

    return [float(f"{value:.{_DIGITS}g}") for value in vector.tolist()]
