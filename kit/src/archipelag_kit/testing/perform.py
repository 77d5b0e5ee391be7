"""Performs one run in this process and keeps everything that it told."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from archipelag_contracts.manifest import Manifest

from archipelag_kit.checking import InputSchema
from archipelag_kit.drafts import parse_draft
from archipelag_kit.errors import BadInput, KitError
from archipelag_kit.events import End, FilePart, Items, Progress, PromptTokens, Refused
from archipelag_kit.marking import RunFunction, cargo
from archipelag_kit.performance import Performance
from archipelag_kit.run import Ask, Setup

_NONE: Final = object()
_BARE: Final = """
slug = "under-test"
version = "0.0.0"
name = "Under test"
description = ""
license = "Apache-2.0"
kind = "json"
runtime = "native"
engine = "under-test"
resumable = true
"""


class RunFailed(KitError):
    """The author's function raised; the traceback is on standard error."""


@dataclass
class Answer:
    """What the customer would have got, and what the Island would have been told."""

    items: list[str] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    finish_reason: str = ""

    @property
    def text(self) -> str:
        return "".join(self.items)

    @property
    def value(self) -> Any:
        """The result, read as JSON."""
        return json.loads(self.text)


async def perform(
    function: RunFunction,
    input: Mapping[str, Any] | bytes,  # noqa: A002 - the manifest's word
    *,
    manifest: Manifest | Path | str | None = None,
    files: Mapping[str, Path] | None = None,
    model: Path | None = None,
    threads: int = 1,
    state: Any = _NONE,
    first_position: int = 0,
    resume_texts: Sequence[str] = (),
    output_items_max: int = 0,
    cache_salt: bytes = b"",
    run_id: str = "run",
    wait_s: float = 60.0,
) -> Answer:
    """Runs a function that is marked `@cargo`. Raises BadInput as the customer sees it, and RunFailed.

    With a manifest (or its path) the input is checked and the limits hold. Without `state`, the module's
    `@cargo.load` is called first.
    """
    terms = _manifest(manifest)
    if state is _NONE:
        state = await _loaded(function, terms, model, threads)
    given = bytes(input) if isinstance(input, bytes) else json.dumps(input).encode()
    ask = Ask(
        input=InputSchema(terms.input).read(given),
        files=files or {},
        model=model,
        threads=threads,
        state=state,
        first_position=first_position,
        resume_texts=tuple(resume_texts),
        items_max=min(terms.limits.output_items_max, output_items_max or 1 << 32),
        bytes_max=terms.limits.output_bytes_max,
        cache_salt=cache_salt,
        run_id=run_id,
    )
    async with asyncio.timeout(wait_s):
        return await _heard(Performance(function, ask), first_position)


async def _heard(performance: Performance, position: int) -> Answer:
    answer = Answer()
    async with aclosing(performance.events()) as events:
        async for event in events:
            match event:
                case Items():
                    assert event.first == position
                    position += len(event.texts)
                    answer.items += event.texts
                case Progress():
                    answer.progress.append(event)
                case FilePart():
                    _receive(answer.files, event)
                case PromptTokens():
                    answer.prompt_tokens, answer.cached_tokens = event.count, event.cached
                case Refused():
                    raise BadInput(event.why)
                case End():
                    if event.error:
                        raise RunFailed(event.error)
                    answer.finish_reason = event.finish_reason
    return answer


def _receive(files: dict[str, bytes], part: FilePart) -> None:
    files[part.name] = files.get(part.name, b"") + part.data
    if part.last:
        assert hashlib.sha256(files[part.name]).digest() == part.sha256


def _manifest(given: Manifest | Path | str | None) -> Manifest:
    if isinstance(given, Manifest):
        return given
    return parse_draft(_BARE if given is None else Path(given).read_text())


async def _loaded(
    function: RunFunction, manifest: Manifest, model: Path | None, threads: int
) -> Any:
    load = cargo.of(function.__module__).load
    return None if load is None else await load(Setup(manifest, model, threads, slots=1))
