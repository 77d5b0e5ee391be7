"""Brings the engine up beside the server: loads the model, measures it, and says at any moment how far it is."""

from __future__ import annotations

import hashlib
import logging
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from archipelag_contracts.manifest import Manifest

from archipelag_llm_chat import bindings
from archipelag_llm_chat.engine import Engine
from archipelag_llm_chat.errors import ChatCargoError, EngineUnusable
from archipelag_llm_chat.model import UBATCH_TOKENS, Model
from archipelag_llm_chat.run import Ask, Run
from archipelag_llm_chat.sampling import Sampling

log = logging.getLogger(__name__)

# Changes whenever sampling, prompt building or the context's settings change what a seed gives.
ALGORITHM: Final = 1
# The model's load is most of the work; the benchmark is the rest.
_LOADED: Final = 0.8
_PROMPT_TOKENS: Final = 48
_ITEMS_MAX: Final = 24
_READ_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Speed:
    """What one stream gets on this host, measured at start."""

    items_per_s: float = 0.0
    first_item_ms: float = 0.0
    prompt_tokens_per_s: float = 0.0


@dataclass(frozen=True)
class Condition:
    """`engine` stands once the Cargo is ready; `error` once it has failed."""

    progress: float = 0.0
    error: str = ""
    engine: Engine | None = None
    speed: Speed = Speed()
    determinism_class: str = ""


class Loader:
    """Owns the engine: `start`, look at `condition`, `stop`."""

    def __init__(
        self,
        manifest: Manifest,
        path: Path,
        *,
        slots: int,
        threads: int,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.manifest = manifest
        self.slots = slots
        self.condition = Condition()
        self._path = path
        self._threads = threads
        self._now = now
        self._settled = threading.Event()
        self._thread = threading.Thread(target=self._load, name="load")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._thread.join()
        engine = self.condition.engine
        if engine is not None:
            engine.stop()
            engine.model.close()

    def wait_settled(self, timeout_s: float) -> bool:
        """True once the Cargo is ready or has failed."""
        return self._settled.wait(timeout_s)

    def _load(self) -> None:
        try:
            self.condition = self._bring_up()
            log.info("ready class=%s", self.condition.determinism_class)
        except ChatCargoError as error:
            log.error("load_failed %s", error)
            self.condition = Condition(error=str(error))
        except Exception as error:
            log.exception("load_failed")
            self.condition = Condition(error=f"{type(error).__name__}: {error}")
        self._settled.set()

    def _bring_up(self) -> Condition:
        described = self.manifest.model
        if described is None:
            raise EngineUnusable(f"{self.manifest.slug}: the manifest names no model")
        check_file(self._path, described.sha256)
        model = Model(self._path, progress=self._note)
        engine = None
        try:
            context_tokens = described.context_tokens
            if context_tokens > model.context_tokens_trained:
                raise EngineUnusable(
                    f"model.context_tokens is {context_tokens}, but {described.file} was trained for "
                    f"{model.context_tokens_trained}"
                )
            engine = Engine(
                model, slots=self.slots, context_tokens=context_tokens, threads=self._threads
            )
            engine.start()
            return Condition(
                progress=1.0,
                engine=engine,
                speed=measure(engine, self._now),
                determinism_class=determinism_class(described.sha256, context_tokens),
            )
        except BaseException:
            if engine is not None:
                engine.stop()
            model.close()
            raise

    def _note(self, done: float) -> None:
        self.condition = replace(self.condition, progress=done * _LOADED)


def check_file(path: Path, sha256: str) -> None:
    """The file must be the one the manifest was signed for. Raises EngineUnusable."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EngineUnusable(f"the model file {path} cannot be read: {error.strerror}") from None
    if found != sha256:
        raise EngineUnusable(
            f"{path.name} has sha256 {found}, the manifest wants {sha256}; fetch the model anew"
        )


def determinism_class(sha256: str, context_tokens: int) -> str:
    """Equal classes give equal answers for equal seeds; see docs/decisions/0004.

    The number of threads, of slots and of neighbours does not belong to it: that was measured.
    """
    lib = bindings.library()
    parts = (
        str(ALGORITHM),
        bindings.VERSION,
        lib.llama_version().decode(),
        lib.llama_print_system_info().decode(),
        platform.machine(),
        "-".join(platform.libc_ver()),  # llama.cpp takes exp, sin and cos from there.
        sha256,
        str(context_tokens),
        str(UBATCH_TOKENS),
    )
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return f"llm-chat.{ALGORITHM}-{platform.machine()}-{digest[:16]}"


def measure(engine: Engine, now: Callable[[], float]) -> Speed:
    """A short answer to a short prompt: enough to place jobs by, and soon over."""
    prompt = engine.model.tokens("One two three four five six. " * 20, first=True, special=False)
    ask = Ask(
        prompt=tuple(prompt[:_PROMPT_TOKENS]),
        # Text that no answer contains keeps nothing back; seeds differ in nothing that matters here.
        sampling=Sampling(seed=1),
        items_max=_ITEMS_MAX,
    )
    began = now()
    changed = threading.Event()
    run: Run = engine.submit(ask, changed.set)
    first_at = began
    count = 0
    while True:
        changed.wait()
        changed.clear()
        _, items, ending = run.outbox.take()
        engine.wake()
        if items and not count:
            first_at = now()
        count += len(items)
        if ending is not None:
            break
    if ending.error:
        raise EngineUnusable(f"the model cannot decode: {ending.error}")
    first_s = max(first_at - began, 1e-6)
    rest_s = max(now() - first_at, 1e-6)
    return Speed(
        items_per_s=max(count - 1, 1) / rest_s,
        first_item_ms=first_s * 1000,
        prompt_tokens_per_s=len(ask.prompt) / first_s,
    )
