"""What differs between servers: how one is started. Everything else is OpenAI's language."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from archipelag_llm_server.beginnings import Beginnings, NoBeginnings


@dataclass(frozen=True)
class Start:
    """What a server is to serve, where and with how much."""

    model: Path
    """A file, or a folder of the image."""
    name: str
    """What a request calls the model."""
    socket: Path
    slots: int
    threads: int
    context_tokens: int
    """Of one chat."""


@dataclass(frozen=True)
class Engine:
    name: str
    command: Callable[[Start], list[str]]
    """Raises ServerFailed when its program is not there."""
    beginnings: Callable[[int], Beginnings] = lambda _slots: NoBeginnings()
    """For one that we started, with so many slots."""
    beginnings_of_another: Callable[[], Beginnings] = NoBeginnings
    """For one that was there before us, and may have other callers."""
