"""How soon does a conversation's next turn begin to be answered, where the earlier ones need not be read again?

    python benchmarks/prefixes.py [--turns 6] [--question 190] [--answer 60]

One llm-chat with the real model, in this process. Each turn asks all that was said before and a new question, once with
a salt and once without, in turn; both answers must be the same tokens. Limit: the bare model reads the tokens that are
new behind those that it has, which nothing can do without.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from archipelag_contracts import manifest as manifests
from archipelag_llm_chat.answer_text import Item
from archipelag_llm_chat.engine import Engine
from archipelag_llm_chat.fetch_model import fetch_model
from archipelag_llm_chat.model import BatchToken, Context, Model
from archipelag_llm_chat.run import Ask
from archipelag_llm_chat.sampling import Sampling
from figures import Beside, Figure
from telling import state

MANIFEST = Path(__file__).parent.parent / "cargos/llm-chat/manifest.toml"
SALT = bytes(range(32))
CONTEXT_TOKENS = 2048
WORDS = "The keeper of the lighthouse wrote down each ship, the wind and the height of the water. "
PATH = "a conversation's next turn"
HOW = (
    "Time to the first item of one llm-chat, by turns with a salt and without; the answers are the same tokens. "
    "Peer: the same without a salt, which reads all of it anew. Limit: the bare model reads only the new tokens."
)
THREADS = max(1, (os.cpu_count() or 1) - 1)


@dataclass(frozen=True)
class Turn:
    """Milliseconds to the first item, and of those the processor's, which others on this machine change less."""

    prompt: int
    shared: int
    kept_ms: float
    anew_ms: float
    limit_ms: float
    kept_cpu_ms: float
    anew_cpu_ms: float
    limit_cpu_ms: float

    def __str__(self) -> str:
        return (
            f"{self.prompt} tokens, {self.shared} kept: first item after {self.kept_ms:.0f} ms "
            f"({self.kept_cpu_ms:.0f} of CPU), anew {self.anew_ms:.0f} ({self.anew_cpu_ms:.0f}), "
            f"new tokens alone {self.limit_ms:.0f} ({self.limit_cpu_ms:.0f})"
        )


def measure(model: Model, turns: int, question: int, answer: int) -> Iterator[Turn]:
    engine = Engine(model, slots=2, context_tokens=CONTEXT_TOKENS, threads=THREADS)
    bare = Context(model, sequences=1, context_tokens=CONTEXT_TOKENS, threads=THREADS)
    engine.start()
    try:
        _answered(
            engine, tuple(model.tokens(WORDS * 8, first=True, special=False)), b"", 4
        )  # Warms up.
        said: list[dict[str, str]] = []
        had = 0
        for turn in range(turns):
            text = model.tokens(f"{turn} {WORDS * 40}", first=False, special=False)[:question]
            words = b"".join(map(model.piece, text)).decode()
            said.append({"role": "user", "content": words})
            prompt = tuple(model.prompt_tokens(said))
            kept = anew = None
            for salt in (SALT, b"") if turn % 2 else (b"", SALT):
                found = _answered(engine, prompt, salt, answer)
                kept, anew = (found, anew) if salt else (kept, found)
            assert kept is not None and anew is not None and anew.shared == 0
            assert kept.tokens == anew.tokens, "the answers differ"
            limit_ms, limit_cpu_ms = _read(bare, had, prompt, kept.shared)
            had = len(prompt)
            yield Turn(
                *(len(prompt), kept.shared, kept.first_ms, anew.first_ms, limit_ms),
                *(kept.cpu_ms, anew.cpu_ms, limit_cpu_ms),
            )
            said.append({"role": "assistant", "content": kept.text})
    finally:
        engine.stop()
        bare.close()


@dataclass(frozen=True)
class _Answered:
    first_ms: float
    cpu_ms: float
    shared: int
    tokens: list[int]
    text: str


def _answered(engine: Engine, prompt: tuple[int, ...], salt: bytes, items_max: int) -> _Answered:
    changed = threading.Event()
    began, cpu = time.perf_counter(), time.process_time()
    run = engine.submit(
        Ask(prompt, Sampling(seed=1, temperature=0.0), items_max, salt=salt), changed.set
    )
    first_ms, cpu_ms, ending = 0.0, 0.0, None
    found: list[Item] = []
    while ending is None:
        changed.wait()
        changed.clear()
        _, items, ending = run.outbox.take()
        engine.wake()
        if items and not found:
            first_ms = 1000 * (time.perf_counter() - began)
            cpu_ms = 1000 * (time.process_time() - cpu)
        found += items
    if ending.error:
        raise SystemExit(f"the model cannot decode: {ending.error}")
    text = "".join(item.text for item in found)
    return _Answered(first_ms, cpu_ms, run.shared, [item.token for item in found], text)


def _read(bare: Context, had: int, prompt: tuple[int, ...], known: int) -> tuple[float, float]:
    """Milliseconds, and the processor's, for what comes after the first `known` tokens; it has read `had` before."""
    bare.forget(0, min(had, known))
    began = cpu = 0.0
    for begins, ends in ((min(had, known), known), (known, len(prompt))):
        began, cpu = time.perf_counter(), time.process_time()
        for start in range(begins, ends, bare.batch_tokens_max):
            until = min(start + bare.batch_tokens_max, ends)
            bare.decode(
                [BatchToken(prompt[at], at, 0, at == ends - 1) for at in range(start, until)]
            )
    return 1000 * (time.perf_counter() - began), 1000 * (time.process_time() - cpu)


def figures(turns: list[Turn]) -> Iterator[Figure]:
    rows = [(f"turn {n}", [turn]) for n, turn in enumerate(turns, 1) if n in (2, len(turns))]
    for name, ones in (*rows, ("median of turns 2 on", turns[1:])):
        read = f"{ones[0].prompt - ones[0].shared} new of {ones[0].prompt} tokens"
        yield Figure(
            PATH,
            f"first item, {name}{f', {read}' if len(ones) == 1 else ''}",
            median(one.kept_ms for one in ones),
            "ms",
            HOW,
            peer=Beside("read anew", median(one.anew_ms for one in ones)),
            limit=Beside("new tokens alone", median(one.limit_ms for one in ones)),
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=6, help="at least 2")
    parser.add_argument("--question", type=int, default=190, help="tokens of each question")
    parser.add_argument("--answer", type=int, default=60, help="tokens of each answer, at most")
    options = parser.parse_args()
    if options.turns < 2:
        parser.error("the first turn has nothing to begin from: --turns 2 or more")
    with tempfile.TemporaryDirectory(prefix="bench-prefixes-") as folder:
        wanted = manifests.parse_toml(MANIFEST.read_text()).model
        assert wanted is not None
        model = Model(fetch_model(wanted, Path(folder)))
        try:
            turns = []
            for turn in measure(model, options.turns, options.question, options.answer):
                turns.append(turn)
                print(turn, flush=True)
        finally:
            model.close()
    state(figures(turns))


if __name__ == "__main__":
    main()
