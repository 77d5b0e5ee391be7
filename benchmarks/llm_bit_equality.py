"""Does a token get the very same logits however it is decoded? Prints a table for docs/decisions/0004.

The reference is one thread, one sequence, one token at a time. Every other way of decoding the same tokens is compared
with it bit by bit, at every position; `differ` counts the positions whose logits are not the same.

    python benchmarks/llm_bit_equality.py [--model FILE] [--positions 300] [--seconds 60]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from archipelag_contracts import manifest as manifests
from archipelag_llm_chat.fetch_model import fetch_model
from archipelag_llm_chat.model import BatchToken, Context, Logits, Model

MANIFEST = Path(__file__).parent.parent / "cargos/llm-chat/manifest.toml"
SEQUENCES = 4
MIXED_BITES = (32, 1, 7, 16, 2, 31)


@dataclass(frozen=True)
class Way:
    """A way of decoding: settings of the context, and how the tokens are put into batches."""

    name: str
    batches: Callable[[Context, list[int]], Iterator[tuple[int, Logits]]]
    threads: int = 1
    lone_threads: int | None = None
    ubatch_tokens: int = 32
    flash_attention: bool = True
    unified: bool = False


def one_by_one(context: Context, tokens: list[int]) -> Iterator[tuple[int, Logits]]:
    for position, token in enumerate(tokens):
        yield position, context.decode([BatchToken(token, position, 0, wanted=True)])[0]


def with_companion(context: Context, tokens: list[int]) -> Iterator[tuple[int, Logits]]:
    """As the engine decodes a lone token on several threads."""
    for position, token in enumerate(tokens):
        batch = [
            BatchToken(token, position, 0, wanted=True),
            BatchToken(token, 0, 1, wanted=False),
        ]
        yield position, context.decode(batch)[0]
        context.forget(1)


def in_bites(*sizes: int) -> Callable[[Context, list[int]], Iterator[tuple[int, Logits]]]:
    """As a prompt is read: many tokens of one sequence at once."""

    def batches(context: Context, tokens: list[int]) -> Iterator[tuple[int, Logits]]:
        position = turn = 0
        while position < len(tokens):
            bite = tokens[position : position + sizes[turn % len(sizes)]]
            batch = [
                BatchToken(token, position + index, 0, wanted=True)
                for index, token in enumerate(bite)
            ]
            yield from enumerate(context.decode(batch), position)
            position += len(bite)
            turn += 1

    return batches


def beside_others(context: Context, tokens: list[int]) -> Iterator[tuple[int, Logits]]:
    """Two neighbours with other texts at other positions: one reads ahead, one now and then pauses and restarts."""
    others = {1: 0, 3: 0}
    for position, token in enumerate(tokens):
        batch = [BatchToken(token, position, 0, wanted=True)]
        for sequence, at in others.items():
            if sequence == 3 and position % 3 == 0:
                continue
            batch.append(
                BatchToken(tokens[(at * 7 + sequence) % len(tokens)], at, sequence, wanted=False)
            )
            others[sequence] += 1
        if others[3] > 90:
            context.forget(3)
            others[3] = 0
            batch = [one for one in batch if one.sequence != 3]
        yield position, context.decode(batch)[0]


def resumed_now_and_then(context: Context, tokens: list[int]) -> Iterator[tuple[int, Logits]]:
    """Forgets everything every 150 positions, reads it again in bites, and goes on one by one."""
    for position, token in enumerate(tokens):
        if position and position % 150 == 0:
            context.forget(0)
            for _ in in_bites(*MIXED_BITES)(context, tokens[:position]):
                pass
        yield position, context.decode([BatchToken(token, position, 0, wanted=True)])[0]


WAYS = (
    Way("1 thread, bites of 32", in_bites(32)),
    Way("1 thread, mixed bites", in_bites(*MIXED_BITES)),
    Way("1 thread, resumed every 150", resumed_now_and_then),
    Way("1 thread, beside others", beside_others),
    Way("2 threads, one by one (plain llama.cpp)", one_by_one, threads=2),
    Way("2 threads, lone token on 1", one_by_one, threads=2, lone_threads=1),
    Way("2 threads, lone token with companion", with_companion, threads=2, lone_threads=1),
    Way("2 threads, mixed bites", in_bites(*MIXED_BITES), threads=2, lone_threads=1),
    Way("2 threads, beside others", beside_others, threads=2, lone_threads=1),
    Way("1 thread, bites of 63, n_ubatch 64", in_bites(63), ubatch_tokens=64),
    Way("1 thread, bites of 64, n_ubatch 64", in_bites(64), ubatch_tokens=64),
    Way("1 thread, unified memory, beside others", beside_others, unified=True),
    # These are compared with one by one without flash attention.
    Way("no flash attention, bites of 32", in_bites(32), flash_attention=False),
    Way("no flash attention, bites of 33", in_bites(33), ubatch_tokens=64, flash_attention=False),
)
REFERENCES = (
    Way("reference: flash attention, one by one", one_by_one),
    Way("reference: no flash attention, one by one", one_by_one, flash_attention=False),
)


def main() -> None:
    args = _arguments()
    path = args.model or _own_model()
    model = Model(path)
    tokens = _text(model, args.positions)
    began = time.monotonic()
    print(f"{path.name}, {len(tokens)} positions")
    print(f"{'way':44} {'differ':>7} {'first':>6} {'largest':>9} {'tokens/s':>9}")
    for reference in REFERENCES:
        rows, speed = _rows(reference, model, tokens)
        print(f"{reference.name:44} {'':>7} {'':>6} {'':>9} {speed:9.1f}")
        for way in WAYS:
            if way.flash_attention != reference.flash_attention:
                continue
            if time.monotonic() - began > args.seconds:
                print(f"{way.name:44} left out: {args.seconds} s are over")
                continue
            print(_compare(way, model, tokens, rows), flush=True)
    model.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="default: the chat Cargo's own")
    parser.add_argument("--positions", type=int, default=300, help="1200 in decision 0004")
    parser.add_argument("--seconds", type=float, default=60, help="begin no further row after it")
    return parser.parse_args()


def _text(model: Model, count: int) -> list[int]:
    """Plain sentences with every third token replaced, so that attention has much to weigh."""
    plain = model.tokens(
        "The history of lighthouses on small islands. " * count, first=True, special=False
    )
    chance = np.random.default_rng(1)
    return [
        int(chance.integers(0, model.vocabulary_size)) if index % 3 == 0 else token
        for index, token in enumerate(plain[:count])
    ]


def _context(model: Model, way: Way, count: int) -> Context:
    context = Context(
        model,
        sequences=SEQUENCES,
        context_tokens=count,
        threads=way.threads,
        ubatch_tokens=way.ubatch_tokens,
        flash_attention=way.flash_attention,
        unified=way.unified,
    )
    context.set_threads(way.lone_threads or way.threads, way.threads)
    return context


def _own_model() -> Path:
    """Where the installed package keeps it; nothing is fetched where it is there."""
    wanted = manifests.parse_toml(MANIFEST.read_text()).model
    assert wanted is not None
    return fetch_model(wanted, Path(tempfile.gettempdir()) / "archipelag-bench-models")


def _rows(way: Way, model: Model, tokens: list[int]) -> tuple[list[Logits], float]:
    context = _context(model, way, len(tokens))
    began = time.perf_counter()
    rows = [row.copy() for _, row in way.batches(context, tokens)]
    speed = len(rows) / (time.perf_counter() - began)
    context.close()
    return rows, speed


def _compare(way: Way, model: Model, tokens: list[int], reference: list[Logits]) -> str:
    context = _context(model, way, len(tokens))
    differing: list[int] = []
    largest = 0.0
    began = time.perf_counter()
    for position, row in way.batches(context, tokens):
        if not np.array_equal(row.view(np.uint32), reference[position].view(np.uint32)):
            differing.append(position)
            largest = max(largest, float(np.abs(row - reference[position]).max()))
    speed = len(tokens) / (time.perf_counter() - began)
    context.close()
    first = str(differing[0]) if differing else "-"
    return f"{way.name:44} {len(differing):7} {first:>6} {largest:9.3f} {speed:9.1f}"


if __name__ == "__main__":
    main()
