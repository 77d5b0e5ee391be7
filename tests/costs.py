"""Where the time of tests goes: `make test WORKERS=2 ARGS="-p tests.costs"` ranks files and fixtures by processor time.

Processor seconds rank alike on a busy machine and on a quiet one, wall seconds do not. `own` are those of the worker
and of programs that it has waited for; `servers` are those of what still runs: the databases, brokers and networks.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

SHOWN = 60


@dataclass
class Row:
    """What a file or a fixture took so far."""

    times: int = 0
    wall_s: float = 0.0
    own_s: float = 0.0
    servers_s: float = 0.0

    def add(self, times: int, wall_s: float, own_s: float, servers_s: float) -> None:
        self.times += times
        self.wall_s += wall_s
        self.own_s += own_s
        self.servers_s += servers_s

    def values(self) -> tuple[int, float, float, float]:
        return self.times, self.wall_s, self.own_s, self.servers_s


FILES: defaultdict[str, Row] = defaultdict(Row)
FIXTURES: defaultdict[str, Row] = defaultdict(Row)
KINDS = {"files": FILES, "fixtures": FIXTURES}


def own() -> float:
    return sum(os.times()[:4])


def whole() -> float:
    """Of this process and its descendants, those that have ended and were waited for included."""
    seconds = own()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            seconds += sum(process.cpu_times()[:4])
    return seconds


class Costs:
    """Charges each file of tests with what passes until the next file's first test."""

    def __init__(self) -> None:
        self._file = ""
        self._tests = 0
        self._within: list[float] = []
        self._mark()

    def _mark(self) -> None:
        self._wall, self._own, self._whole = time.monotonic(), own(), whole()

    def _close(self) -> None:
        if self._file:
            wall, before, all_before = self._wall, self._own, self._whole
            self._mark()
            spent = self._own - before
            # A server that was killed takes its seconds along unless it was waited for: never below zero.
            beside = max(0.0, self._whole - all_before - spent)
            FILES[self._file].add(self._tests, self._wall - wall, spent, beside)
        else:
            # What came before the first test, collecting above all, is no file's.
            self._mark()
        self._tests = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        file = nodeid.partition("::")[0]
        if file != self._file:
            self._close()
            self._file = file
        self._tests += 1

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
        """A fixture that asks for another one while it is set up is not charged with that one."""
        wall, before = time.monotonic(), own()
        self._within.append(0.0)
        try:
            return (yield)
        finally:
            spent, within = own() - before, self._within.pop()
            if self._within:
                self._within[-1] += spent
            name = f"{fixturedef.baseid or '.'}::{fixturedef.argname}"
            FIXTURES[name].add(1, time.monotonic() - wall, spent - within, 0.0)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A worker hands over what it has counted."""
        self._close()
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["costs"] = {
                kind: {name: row.values() for name, row in rows.items()}
                for kind, rows in KINDS.items()
            }


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("numprocesses", None):
        config.pluginmanager.register(Costs())


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    for kind, rows in getattr(node, "workeroutput", {}).get("costs", {}).items():
        for name, values in rows.items():
            KINDS[kind][name].add(*values)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for kind, rows in KINDS.items():
        terminalreporter.section(f"costs: {kind}")
        terminalreporter.write_line(f"{'times':>6} {'wall s':>9} {'own s':>9} {'servers s':>9}")
        ranked = sorted(rows.items(), key=lambda one: -(one[1].own_s + one[1].servers_s))
        for name, row in ranked[:SHOWN]:
            terminalreporter.write_line(
                f"{row.times:6} {row.wall_s:9.1f} {row.own_s:9.1f} {row.servers_s:9.1f}  {name}"
            )
