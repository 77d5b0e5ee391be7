"""Tells a person at the terminal what takes long, and for how long it has."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TextIO

NAME_WIDTH = 34
QUIET_S = 10.0
"""Without a terminal, a line this often says that something still goes on."""


class Progress:
    """One line a step: rewritten in place on a terminal, written once at its end elsewhere."""

    def __init__(self, out: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._terminal = out.isatty()
        self._name = ""
        self._began = 0.0
        self._spoke = 0.0

    def begin(self, name: str) -> None:
        assert not self._name, f"{self._name} has not ended"
        self._name = name
        self._began = self._spoke = self._clock()
        if self._terminal:
            self._write(f"\r  {name:<{NAME_WIDTH}} …")

    def tick(self) -> None:
        """Called often while something is awaited."""
        if not self._name:
            return
        if self._terminal:
            self._write(f"\r  {self._name:<{NAME_WIDTH}} … {self._elapsed:.0f} s")
        elif self._clock() - self._spoke >= QUIET_S:
            self._spoke = self._clock()
            self._write(f"  {self._name:<{NAME_WIDTH}} … still going after {self._elapsed:.0f} s\n")

    def done(self, note: str = "") -> None:
        self._end(f"{self._elapsed:5.1f} s  {note}".rstrip())

    def failed(self) -> None:
        if self._name:
            self._end(f"failed after {self._elapsed:.1f} s")

    def say(self, line: str) -> None:
        """A line of its own, between steps or instead of the step's."""
        if self._name and self._terminal:
            self._write("\r\033[K")
        self._write(f"{line}\n")

    @property
    def _elapsed(self) -> float:
        return self._clock() - self._began

    def _end(self, result: str) -> None:
        start = "\r\033[K" if self._terminal else ""
        self._write(f"{start}  {self._name:<{NAME_WIDTH}} {result}\n")
        self._name = ""

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except OSError:
            # Nobody reads any more (a closed terminal, `| head`): no reason to end a network.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._out.fileno())
            os.close(nowhere)
