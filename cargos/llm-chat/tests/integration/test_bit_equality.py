"""Logits far into the context: the same bits with one thread and two, alone and beside others (decision 0004)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from archipelag_llm_chat.model import BatchToken, Context, Logits, Model

pytestmark = pytest.mark.real_model

POSITIONS = 560  # Beyond the 512 cells from which a lone token's attention is split among threads.


@pytest.fixture(scope="module")
def model(model_path: Path) -> Iterator[Model]:
    model = Model(model_path)
    yield model
    model.close()


@pytest.fixture(scope="module")
def tokens(model: Model) -> list[int]:
    text = "A lighthouse keeper counts ships, waves, gulls and stars; then he writes a letter. "
    return model.tokens(text * 60, first=True, special=False)[: POSITIONS + 1]


@pytest.fixture(scope="module")
def context(model: Model, tokens: list[int]) -> Iterator[Context]:
    """Has read all tokens but the last, by one thread."""
    context = Context(model, sequences=3, context_tokens=POSITIONS + 1, threads=1)
    for start in range(0, POSITIONS, 32):
        context.decode(
            [
                BatchToken(tokens[at], at, 0, wanted=False)
                for at in range(start, min(start + 32, POSITIONS))
            ]
        )
    yield context
    context.close()


def last_logits(
    context: Context,
    tokens: list[int],
    *,
    threads: int,
    lone_threads: int = 1,
    beside: int = 0,
    again: int = 0,
) -> Logits:
    """Decodes the last token, with `beside` neighbours, after reading the `again` tokens before it once more."""
    context.set_threads(lone_threads, threads)
    last = [BatchToken(tokens[POSITIONS], POSITIONS, 0, wanted=True)]
    last += [BatchToken(tokens[n], 0, n, wanted=False) for n in range(1, beside + 1)]
    before = range(POSITIONS - again, POSITIONS)
    context.forget(0, POSITIONS - again)
    if again:
        context.decode([BatchToken(tokens[at], at, 0, wanted=False) for at in before])
    logits = context.decode(last)[0].copy()
    for sequence in range(beside + 1):
        context.forget(sequence, POSITIONS if sequence == 0 else 0)
    return logits


@pytest.fixture(scope="module")
def reference(context: Context, tokens: list[int]) -> Logits:
    return last_logits(context, tokens, threads=1)


@pytest.mark.parametrize(
    ("threads", "beside", "again"), [(1, 2, 0), (1, 0, 19), (2, 0, 31), (2, 1, 7)], ids=str
)
def test_logits_are_the_same_bits(
    context: Context,
    tokens: list[int],
    reference: Logits,
    threads: int,
    beside: int,
    again: int,
) -> None:
    found = last_logits(context, tokens, threads=threads, beside=beside, again=again)

    assert np.array_equal(found.view(np.uint32), reference.view(np.uint32))


def test_a_lone_token_on_two_threads_is_why_we_use_one(
    context: Context, tokens: list[int], reference: Logits
) -> None:
    # If this ever holds bit by bit, llama.cpp has changed, and the engine may use all threads.
    found = last_logits(context, tokens, threads=2, lone_threads=2)

    assert not np.array_equal(found, reference)
    assert found.tolist() == pytest.approx(reference.tolist(), abs=5)
