"""Waiting that ends early when a child ends or somebody asks us to stop."""

from __future__ import annotations

import os
import select
import signal
from types import FrameType, TracebackType
from typing import Any, Self

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopAsked(Exception):
    """Somebody pressed Ctrl-C, ran `down`, or closed the terminal."""


class Bell:
    """Signals ring it: one that asks to stop is remembered, the end of a child merely wakes.

    Nothing is done inside a signal handler, so no step can be cut in half by one.
    """

    def __init__(self) -> None:
        self._asked = 0
        self._former: dict[int, Any] = {}
        self._former_descriptor = -1
        self._read = self._write = -1

    @property
    def stop_asked(self) -> bool:
        return self._asked > 0

    @property
    def insisted(self) -> bool:
        """Asked more than once: somebody does not want to wait."""
        return self._asked > 1

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe()
        for descriptor in (self._read, self._write):
            os.set_blocking(descriptor, False)
        self._former_descriptor = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in STOPPING:
            if signal.getsignal(number) != signal.SIG_IGN:  # `nohup` and `&` mean it.
                self._former[number] = signal.signal(number, self._ask)
        self._former[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._former_descriptor)
        os.close(self._read)
        os.close(self._write)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked += 1

    def wait(self, timeout_s: float) -> None:
        """Returns at the next ring or after the time; never raises."""
        ready, _, _ = select.select([self._read], [], [], timeout_s)
        if ready:
            os.read(self._read, 4096)

    def pause(self, timeout_s: float) -> None:
        """Like `wait`, but raises `StopAsked` when we were asked to stop, now or earlier."""
        if not self.stop_asked:
            self.wait(timeout_s)
        if self.stop_asked:
            raise StopAsked
