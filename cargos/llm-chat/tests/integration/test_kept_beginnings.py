"""Runs that begin from what is kept in their slot: the same bits as if all had been read, and for one salt alone."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import pytest
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_llm_chat import engine as engines
from archipelag_llm_chat.engine import KEPT_S, Engine
from archipelag_llm_chat.model import Logits, Model
from archipelag_llm_chat.run import Ask, Run
from archipelag_llm_chat.sampling import Sampling, choose

pytestmark = pytest.mark.real_model

CONTEXT_TOKENS = 704
SLOTS = 3
MINE, OTHERS = b"m" * 32, b"o" * 32
TEXT = "A lighthouse keeper counts ships, waves, gulls and stars; then he writes a letter. "
# Lengths of a conversation's prompt, turn by turn: one token more, and around what kernels round up to.
TURNS = (3, 4, 34, 250, 257, 505, 514)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Told:
    """An answer, and a digest of the logits behind each of its tokens."""

    tokens: list[int] = field(default_factory=list)
    logits: list[str] = field(default_factory=list)
    ending: str = ""


@dataclass
class Chat:
    engine: Engine
    clock: Clock
    seen: dict[int, tuple[object, list[str]]]

    def begin(self, ask: Ask) -> tuple[Run, threading.Event]:
        changed = threading.Event()
        return self.engine.submit(ask, changed.set), changed

    def tell(self, ask: Ask) -> tuple[Told, int]:
        """The whole answer, and how many tokens were not read for it."""
        run, changed = self.begin(ask)
        told = Told()
        while not told.ending:
            assert changed.wait(PATIENCE_S)
            changed.clear()
            _, items, ending = run.outbox.take()
            told.tokens += [item.token for item in items]
            if ending is not None:
                told.ending = ending.finish_reason or ending.error
        told.logits = self.seen.get(id(run.counts), (None, []))[1]
        return told, run.shared


@pytest.fixture(scope="module")
def seen() -> Iterator[dict[int, tuple[object, list[str]]]]:
    """By the id of a run's counts, which are held so that no other gets it: what each of its tokens was chosen from."""
    found: dict[int, tuple[object, list[str]]] = {}

    def noted(logits: Logits, sampling: Sampling, position: int, counts: Counter[int]) -> int:
        digest = hashlib.sha256(logits.tobytes()).hexdigest()
        found.setdefault(id(counts), (counts, []))[1].append(digest)
        return choose(logits, sampling, position, counts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "choose", noted)
        yield found


@pytest.fixture(scope="module")
def model(model_path: Path) -> Iterator[Model]:
    model = Model(model_path)
    yield model
    model.close()


def a_chat(model: Model, threads: int, seen: dict[int, tuple[object, list[str]]]) -> Iterator[Chat]:
    clock = Clock()
    engine = Engine(model, slots=SLOTS, context_tokens=CONTEXT_TOKENS, threads=threads, now=clock)
    engine.start()
    yield Chat(engine, clock, seen)
    engine.stop()


@pytest.fixture
def chat(model: Model, seen: dict[int, tuple[object, list[str]]]) -> Iterator[Chat]:
    yield from a_chat(model, 1, seen)


@pytest.fixture(scope="module")
def reference(
    model: Model, seen: dict[int, tuple[object, list[str]]]
) -> Iterator[Callable[[Ask], Told]]:
    """What is told by one thread that reads all of it anew, and by itself."""
    chats = a_chat(model, 1, seen)
    alone = next(chats)

    @cache
    def tell(ask: Ask) -> Told:
        told, shared = alone.tell(ask)
        assert shared == 0 and told.ending in ("stop", "length")
        return told

    yield lambda ask: tell(replace(ask, salt=b"", run_id=""))
    next(chats, None)


@pytest.fixture(scope="module")
def words(model: Model) -> tuple[int, ...]:
    return tuple(model.tokens(TEXT * 60, first=True, special=False)[:CONTEXT_TOKENS])


def an_ask(
    prompt: tuple[int, ...],
    *,
    items: int = 4,
    salt: bytes = MINE,
    resumed: tuple[int, ...] = (),
    run_id: str = "run",
) -> Ask:
    return Ask(prompt, Sampling(seed=5, temperature=0.8), items, (), resumed, salt, run_id)


@pytest.mark.parametrize(
    ("beside", "turns"), [(0, TURNS), (1, TURNS[2::2])], ids=["alone", "beside another"]
)
def test_a_conversation_that_goes_on_is_bit_equal_to_one_that_is_read_anew(
    chat: Chat,
    reference: Callable[[Ask], Told],
    words: tuple[int, ...],
    beside: int,
    turns: tuple[int, ...],
) -> None:
    noise = [chat.begin(an_ask(words[9:60], items=600, salt=OTHERS))[0] for _ in range(beside)]
    known = 0
    for length in turns:
        ask = an_ask(words[:length])

        told, shared = chat.tell(ask)

        assert told == reference(ask), f"at {length}"
        # The text is not what the model would have said, so the earlier prompt is all that is shared, or one more.
        assert known <= shared <= length - 1, f"at {length}"
        known = length
    for run in noise:
        chat.engine.cancel(run)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_companion_beside_what_is_kept_changes_nothing_and_costs_nobody_theirs(
    model: Model,
    seen: dict[int, tuple[object, list[str]]],
    reference: Callable[[Ask], Told],
    words: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
) -> None:
    monkeypatch.setattr(engines, "_COMPANION_THREADS_MIN", 1)
    chats = a_chat(model, threads, seen)
    chat = next(chats)
    # Few: where others want the cores too, two threads wait for each other at every step.
    turns = ((MINE, 258, 0), (OTHERS, 34, 0), (MINE, 263, 258), (OTHERS, 38, 34), (MINE, 266, 263))
    for salt, length, shares in turns:
        ask = an_ask(words[:length], salt=salt, items=3)
        told, shared = chat.tell(ask)
        assert told == reference(ask), f"at {length}"
        # More where the text is what the model said.
        assert shares <= shared < length and bool(shared) == bool(shares), f"at {length}"
    next(chats, None)


def test_an_edited_message_is_bit_equal_wherever_it_stands(
    chat: Chat, reference: Callable[[Ask], Told], words: tuple[int, ...]
) -> None:
    chat.tell(an_ask(words[:264]))

    for at, length in ((257, 262), (256, 257), (130, 140)):
        edited = (*words[:at], words[at] + 1, *words[at + 1 : length])
        ask = an_ask(edited, items=3)
        told, shared = chat.tell(ask)
        assert (told, shared) == (reference(ask), at), f"edited at {at}"


def test_an_answer_goes_on_from_a_slot_that_has_it(
    chat: Chat, reference: Callable[[Ask], Told], words: tuple[int, ...]
) -> None:
    # As after a failover to the Island that began it: 248 and 16 cross 256.
    whole = reference(an_ask(words[:248], items=16))
    chat.tell(an_ask(words[:248], items=16))

    for k in (15, 8, 1, 12):
        ask = an_ask(words[:248], items=16, resumed=tuple(whole.tokens[:k]))
        told, shared = chat.tell(ask)
        assert told.tokens == whole.tokens[k:] and told.logits == whole.logits[k:]
        assert shared == 248 + k - 1


def test_an_answer_that_was_over_keeps_its_slot_as_it_is(
    chat: Chat, reference: Callable[[Ask], Told], words: tuple[int, ...]
) -> None:
    whole, _ = chat.tell(an_ask(words[:40], items=6))
    over = an_ask(words[:40], items=6, resumed=tuple(whole.tokens))

    nothing, shared = chat.tell(over)
    again, reused = chat.tell(an_ask(words[:40], items=6))

    assert nothing.tokens == [] and shared == 45
    assert (again, reused) == (reference(an_ask(words[:40], items=6)), 39)


def test_the_same_prompt_of_another_customer_is_read_anew(
    chat: Chat, reference: Callable[[Ask], Told], words: tuple[int, ...]
) -> None:
    ask = an_ask(words[:90])
    chat.tell(replace(ask, run_id="mine"))

    for salt in (OTHERS, b""):
        told, shared = chat.tell(replace(ask, salt=salt, run_id="theirs"))
        assert (told, shared) == (reference(ask), 0)

    assert "mine" in chat.engine.kept_runs(), "theirs took other slots"
    assert chat.tell(ask)[1] == 89


def test_whose_slot_was_taken_begins_anew(
    chat: Chat, reference: Callable[[Ask], Told], words: tuple[int, ...]
) -> None:
    chat.tell(an_ask(words[:70], run_id="first"))
    for n in range(SLOTS):
        chat.clock.now += 1
        chat.tell(an_ask(words[n : 50 + n], salt=bytes([n]) * 32, run_id=f"other{n}"))

    kept = chat.engine.kept_runs()
    told, shared = chat.tell(an_ask(words[:70]))

    assert kept == ["other2", "other1", "other0"]
    assert (told, shared) == (reference(an_ask(words[:70])), 0)


def test_a_run_that_was_cancelled_while_it_read_leaves_what_it_read(
    chat: Chat, reference: Callable[[Ask], Told], words: tuple[int, ...]
) -> None:
    run, changed = chat.begin(an_ask(words[:300], run_id="cancelled"))
    while run.outbox.take_read() is None:
        assert changed.wait(PATIENCE_S)
        changed.clear()
    chat.engine.cancel(run)
    # Another one answers in the meantime, so that the thread has looked at it.
    chat.tell(an_ask(words[300:320], salt=b"", items=1))

    kept = chat.engine.kept_runs()
    told, shared = chat.tell(an_ask(words[:300]))

    assert kept == [], "its prompt was not all read"
    assert told == reference(an_ask(words[:300]))
    assert 32 <= shared < 300


def test_a_run_that_failed_leaves_nothing(
    chat: Chat,
    reference: Callable[[Ask], Told],
    words: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(engines, "choose", lambda *_: 1 / 0)
        failed, _ = chat.tell(an_ask(words[:80], run_id="failed"))

    told, shared = chat.tell(an_ask(words[:80]))

    assert failed.ending == "the engine failed; try again"
    assert (told, shared) == (reference(an_ask(words[:80])), 0)


def test_after_its_time_it_is_gone(chat: Chat, words: tuple[int, ...]) -> None:
    dropped = threading.Event()
    chat.tell(an_ask(words[:60]))
    forget = chat.engine._context.forget

    def noted(sequence: int, first_position: int = 0) -> None:
        forget(sequence, first_position)
        dropped.set()

    chat.engine._context.forget = noted  # type: ignore[method-assign]
    chat.clock.now += KEPT_S
    chat.engine.wake()

    assert dropped.wait(PATIENCE_S), "nobody has to ask for it"
    assert chat.engine.kept_runs() == []
    assert chat.tell(an_ask(words[:60]))[1] == 0
