"""What every package's tests may use: a real PostgreSQL and real NATS servers; and how they share the machine."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["archipelag_embedded.fixtures"]
ROOT = Path(__file__).parent
NETWORKS = (
    "tests/acceptance",
    "tests/trouble",
    "tests/sdk",
    "tests/observability",
    "tests/regions",
    "tests/supply",
)
"""Each has a network or a registry for all its tests: one worker starts it, and ends it after the last of them."""
ENGINES = ("island/tests/integration/test_runtime_oci", "tests/escape/")
"""They start engines of containers and fill them with processes: one after the other, on one worker."""
LONG = (
    "tests/acceptance/",
    "tests/supply/",
    *ENGINES,
    *NETWORKS,
    "island/tests/integration/test_hostile_cargos",
    "tests/",
    "embedded/tests/integration/",
    "cargos/",
    "kit/tests/integration/",
    "island/tests/integration/",
    "coordinator/tests/integration/",
)
"""How files begin whose tests take long, the longest first: whoever begins with them last is waited for in the end."""
MAY_LACK = {
    "a GPU": r"needs a GPU\b",
    "rustc with WASI's library": r"needs rustc with the standard library for WASI",
    "torch": r"needs torch, diffusers and transformers",
    "cosign": r"needs cosign\b",
    "kubectl, terraform: no registry that make may use has one that reads our files": r"needs (kubectl|terraform)\b",
    "root's rights": r"(needs|only) root\b",
    "Linux, or its 32-bit doors": r"needs (Linux|x86-64)\b|only Linux\b|no 32-bit system calls",
    "namespaces and groups of its own": r"needs user namespaces\b|has no sandbox for it\b|needs more rights\b",
    "a second processor, a spare device, a quiet minute": r"needs (two processors|a spare device|a quiet minute)\b",
}
"""What a machine may lack although everything must run there, and how tests say so. Programs and packages that are not
named here are brought by make or come with the machine, and their tests fail without them."""


def must_run(report: pytest.CollectReport | pytest.TestReport) -> bool:
    """Whether it was left out although everything must run here: `CI=true`."""
    if not os.environ.get("CI") or not report.skipped or hasattr(report, "wasxfail"):
        return False
    assert isinstance(report.longrepr, tuple)
    return not re.search("|".join(MAY_LACK.values()), report.longrepr[2])


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


def group_of(file: str) -> str:
    """What a worker gets at once."""
    if file.startswith(ENGINES):
        return "engines"
    return next((folder for folder in NETWORKS if file.startswith(f"{folder}/")), file)


def file_of(item: pytest.Item) -> str:
    return item.path.relative_to(ROOT).as_posix()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long first, a folder that shares something in one piece; the order within stays as it was drawn."""

    def turn(item: pytest.Item) -> int:
        file = file_of(item)
        return next((n for n, begins in enumerate(LONG) if file.startswith(begins)), len(LONG))

    items.sort(key=turn)


running: list[tuple[pytest.FixtureDef[Any], Any]] = []
"""What a folder's tests share, and the request by which it was set up."""


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: Any
) -> Generator[None, Any, Any]:
    if fixturedef.scope == "session" and fixturedef.baseid in NETWORKS:
        running.append((fixturedef, request))
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, None, None]:
    """A network does not idle beside the tests of other folders, which takes processor time and memory from them."""
    yield
    if nextitem is None or group_of(file_of(nextitem)) != group_of(file_of(item)):
        while running:
            fixturedef, request = running.pop()
            fixturedef.finish(request)


class ByFile(LoadScopeScheduling):
    """With workers (`-n 2`): one of them gets the whole of a group.

    Not by xdist's own groups, which pytest 9 does not see: it keeps ids of tests where xdist does not look for them.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid.partition("::")[0])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    return ByFile(config, log)
