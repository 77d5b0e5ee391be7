"""Continuous batching: one thread decodes all runs of one loaded model together, a token each at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from archipelag_llm_chat.errors import BadRequest, DecodeFailed, NoSlot, NotReady
from archipelag_llm_chat.kept import Kept, KeptSlots
from archipelag_llm_chat.model import BatchToken, Context, Model
from archipelag_llm_chat.run import Ask, Outbox, Run
from archipelag_llm_chat.sampling import choose

log = logging.getLogger(__name__)

# While others are answering, a prompt is read in smaller bites, so that their tokens keep coming.
_PROMPT_BITE_TOKENS: Final = 16
# A lone token may not be spread over threads: its attention would be rounded otherwise (docs/decisions/0004). With a
# companion it may, at nearly twice the work, which pays from this many threads on.
_COMPANION_THREADS_MIN: Final = 4
KEPT_S: Final = 600.0
"""So long an ended run's prompt and answer stay in its slot, for the next run under the same salt."""


class Engine:
    """Slots of one model. `submit`, `cancel` and `wake` may be called from any thread."""

    def __init__(
        self,
        model: Model,
        *,
        slots: int,
        context_tokens: int,
        threads: int,
        kept_s: float = KEPT_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        assert slots >= 1 and threads >= 1
        self.model = model
        self.slots = slots
        self.context_tokens = context_tokens
        self._with_companion = threads >= _COMPANION_THREADS_MIN
        self._context = Context(
            model,
            # The last slot's companion needs a sequence too.
            sequences=slots + (1 if self._with_companion else 0),
            context_tokens=context_tokens,
            threads=threads,
        )
        self._context.set_threads(1, threads)
        self._runs: dict[int, Run] = {}  # By slot.
        self._kept = KeptSlots(kept_s if model.can_drop_ends else 0.0)
        self._now = now
        self._next_prompt = 0  # Slot whose prompt is read next, in turn.
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._decode_until_stopped, name="decode")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and frees the context; runs that stand are failed."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()
        for run in self._runs.values():
            run.fail("the Cargo was stopped")
        self._runs.clear()
        self._context.close()

    def submit(self, ask: Ask, wake: Callable[[], None]) -> Run:
        """Takes a run in; `wake` is called when its outbox has something new. Raises BadRequest, NoSlot, NotReady."""
        self._check(ask)
        # Prompt and answer share the context; a longer answer would fail in the middle.
        room = max(1, self.context_tokens - len(ask.prompt))
        ask = replace(ask, items_max=min(ask.items_max, room))
        with self._changed:
            if self._stopping:
                raise NotReady("the Cargo is stopping")
            taken = {slot for slot, run in self._runs.items() if not _is_over(run)}
            free = [slot for slot in range(self.slots) if slot not in taken]
            if not free:
                raise NoSlot(f"all {self.slots} slots are taken")
            self._keep_ended()
            # What a run that was cancelled a moment ago leaves is known after the step that is under way.
            known = [slot for slot in free if not self._is_leaving(slot)] or free
            slot, shared = self._kept.place(
                known, ask.salt, (*ask.prompt, *ask.resumed), self._now()
            )
            run = Run(ask, Outbox(wake), self.model.piece, slot=slot, shared=shared)
            self._runs[run.slot] = run
            self._changed.notify()
        return run

    def cancel(self, run: Run) -> None:
        """The slot is free at once. Does nothing to a run that has ended."""
        run.cancelled = True
        self.wake()

    def wake(self) -> None:
        """Something changed: a reader took items, a run was cancelled."""
        with self._changed:
            self._changed.notify()

    def kept_runs(self) -> list[str]:
        """Ended runs from whose prompt a run under the same salt would begin, the newest first."""
        with self._changed:
            self._keep_ended()
            return self._kept.runs(self._now())

    def _check(self, ask: Ask) -> None:
        count = len(ask.prompt)
        if count == 0:
            raise BadRequest("messages: there is nothing to answer")
        if count >= self.context_tokens:
            raise BadRequest(
                f"messages: the prompt has {count} tokens; this model reads at most {self.context_tokens}, "
                "answer included"
            )
        if count + len(ask.resumed) > self.context_tokens:
            raise BadRequest(
                f"resume: prompt and delivered items have {count + len(ask.resumed)} tokens, "
                f"more than the context of {self.context_tokens}"
            )
        for token in ask.resumed:
            if not 0 <= token < self.model.vocabulary_size:
                raise BadRequest(f"resume: token {token} is not in this model's vocabulary")

    def _decode_until_stopped(self) -> None:
        while True:
            with self._changed:
                self._drop_over()
                while not self._stopping and not any(_wants_work(r) for r in self._runs.values()):
                    self._changed.wait(self._kept.next_old_s(self._now()))
                    self._drop_over()
                if self._stopping:
                    return
                runs = [run for _, run in sorted(self._runs.items()) if _wants_work(run)]
            try:
                self._step(runs)
            except Exception:
                # A defect must not leave readers waiting for ever: every run ends with an error.
                log.exception("step_failed")
                for run in runs:
                    run.fail("the engine failed; try again")

    def _drop_over(self) -> None:
        """Between two steps, when a cancelled run's cells are as many as it counts."""
        for slot, run in list(self._runs.items()):
            if _is_over(run):
                self._context.forget(slot, run.cells if self._keep(run) else 0)
                del self._runs[slot]
        for slot in self._kept.take_old(self._now()):
            self._context.forget(slot)

    def _is_leaving(self, slot: int) -> bool:
        run = self._runs.get(slot)
        return run is not None and not run.ended and bool(run.ask.salt)

    def _keep_ended(self) -> None:
        """Whoever asks right after an answer's end finds it kept. The decode thread touches an ended run no more."""
        for slot, run in list(self._runs.items()):
            if run.ended and self._keep(run):
                del self._runs[slot]

    def _keep(self, run: Run) -> bool:
        ask, tokens = run.ask, tuple(run.tokens[: run.cells])
        kept = Kept(ask.run_id, ask.salt, tokens, len(ask.prompt), self._now())
        return not run.failed and self._kept.keep(run.slot, kept)

    def _step(self, runs: list[Run]) -> None:
        """One token for everybody who is answering, and one bite of somebody's prompt."""
        for run in runs:
            if not run.begun:
                # What is kept there beyond the shared beginning; or the slot's last run was cancelled within a step.
                self._context.forget(run.slot, run.shared)
                run.begin()
        runs = [run for run in runs if not run.ended]
        answering = [run for run in runs if run.unread == 1 and run.cells > 0]
        reading = [run for run in runs if run.unread > 1 or run.cells == 0]
        limit = self._context.batch_tokens_max
        for start in range(0, len(answering), limit):
            self._decode([(run, 1) for run in answering[start : start + limit]])
        if reading:
            reader = next((r for r in reading if r.slot >= self._next_prompt), reading[0])
            self._next_prompt = reader.slot + 1
            bite = min(reader.unread, _PROMPT_BITE_TOKENS if answering else limit)
            self._decode([(reader, bite)])

    def _decode(self, portions: list[tuple[Run, int]]) -> None:
        """Decodes the next tokens of some runs; who has none left to read gets its next token chosen."""
        began = time.process_time()
        batch: list[BatchToken] = []
        for run, count in portions:
            last = run.unread == count
            for index in range(count):
                at, wanted = run.cells + index, last and index == count - 1
                batch.append(BatchToken(run.tokens[at], at, run.slot, wanted))
        companion = self._companion(batch)
        try:
            logits = iter(self._context.decode(batch))
        except DecodeFailed as error:
            self._blame(portions, str(error))
            return
        finally:
            if companion is not None:
                self._context.forget(companion.sequence, companion.position)
        share = (time.process_time() - began) / len(batch)
        for run, count in portions:
            run.read(count)
            run.cpu_s += share * count
            if not run.unread:
                began = time.process_time()
                token = choose(next(logits), run.ask.sampling, run.position, run.counts)
                run.cpu_s += time.process_time() - began
                run.accept(token, is_end=self.model.is_end(token))

    def _blame(self, portions: list[tuple[Run, int]], error: str) -> None:
        """A batch failed: each run gets a try by itself, so that only the one that cannot go on ends."""
        if len(portions) == 1:
            portions[0][0].fail(error)
            return
        for run, count in portions:
            self._context.forget(run.slot, run.cells)
            self._decode([(run, count)])

    def _companion(self, batch: list[BatchToken]) -> BatchToken | None:
        """Adds a token of an unused neighbouring sequence to a lone one, so that all threads may work on it.

        Behind what is kept there: its positions must go on, and it is dropped again without harm to them.
        """
        lone = batch[0]
        if not self._with_companion or len(batch) > 1:
            return None
        neighbour = lone.sequence + 1
        with self._changed:
            cells = self._kept.cells(neighbour)
            if neighbour in self._runs or cells >= self.context_tokens:
                return None
        companion = BatchToken(lone.token, cells, neighbour, wanted=False)
        batch.append(companion)
        return companion


def _is_over(run: Run) -> bool:
    return run.ended or run.cancelled


def _wants_work(run: Run) -> bool:
    return not _is_over(run) and not run.outbox.full
