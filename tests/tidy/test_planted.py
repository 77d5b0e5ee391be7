"""Each tidy check reports the fault it exists for, and is silent about its nearest innocent neighbour."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "docs")]
checks = importlib.import_module("checks")
diagrams = importlib.import_module("diagrams")

VERB = "coordinator/src/archipelag_coordinator/services/submit.py"


def test_long_files_and_functions_are_told() -> None:
    assert "501 lines" in checks.sizes("a.py", "x = 1\n" * 501)[0]
    assert checks.sizes("a.py", "x = 1\n" * 500) == []
    assert "71 lines" in checks.sizes("a.py", "def f():\n" + "    x = 1\n" * 70)[0]
    assert "71 lines" in checks.sizes("a.py", "async def f():\n" + "    x = 1\n" * 70)[0]
    assert checks.sizes("a.py", "def f():\n" + "    x = 1\n" * 69) == []


@pytest.mark.parametrize(
    "text",
    [
        "import time\nx = time.time()",
        "import time as t\nx = t.time()",
        "from time import time\nx = time()",
        "from time import sleep as nap\nnap(1)",
        "from datetime import datetime, UTC\nx = datetime.now(UTC)",
        "import datetime as dt\nx = dt.datetime.now()",
        "import random\nx = random.random()",
        "from random import choice\nx = choice([1])",
        "import uuid\nx = uuid.uuid4()",
        "from uuid import uuid4\nf(default=uuid4)",
        "import os\nx = os.environ['A']",
        "from os import getenv\nx = getenv('A')",
        "print('hello')",
        "import asyncio\nasync def f():\n    asyncio.create_task(g())",
        "import asyncio\nasync def f():\n    asyncio.ensure_future(g())",
    ],
)
def test_each_banned_name_is_told(text: str) -> None:
    assert len(checks.banned_names(VERB, text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "def f(time):\n    return time.time()",
        "import time\nx = time.monotonic()",
        "import random\nx = random.Random(7)",
        "class A:\n    def print(self): ...",
        "import asyncio\nasync def f():\n    task = asyncio.create_task(g())\n    await task",
        "async def f(group):\n    group.create_task(g())",
    ],
)
def test_innocent_names_pass(text: str) -> None:
    assert checks.banned_names(VERB, text) == []


def test_a_name_is_allowed_only_in_its_place() -> None:
    text = "import os\nx = os.environ"

    assert checks.banned_names("island/src/archipelag_island/config.py", text) == []
    assert checks.banned_names("island/src/archipelag_island/services/run.py", text) != []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (VERB, "import psycopg"),
        (VERB, "from psycopg.rows import dict_row"),
        (VERB, "def f():\n    import nats.js"),
        (VERB, "from fastapi import Request"),
        (VERB, "from archipelag_contracts import pb"),
        (VERB, "from archipelag_contracts.pb.archipelag.v1 import job_pb2"),
        (VERB, "from archipelag_coordinator.testing.store import MemoryStore"),
        (VERB, "from archipelag_coordinator import testing"),
        ("coordinator/src/archipelag_coordinator/__main__.py", "import archipelag_island.testing"),
        ("coordinator/src/archipelag_coordinator/adapters/nats/bus.py", "import psycopg"),
        ("coordinator/src/archipelag_coordinator/adapters/postgres/jobs.py", "import starlette"),
        ("island/src/archipelag_island/services/execute.py", "import nats"),
    ],
)
def test_each_misplaced_import_is_told(path: str, text: str) -> None:
    assert checks.misplaced_imports(path, text)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (VERB, "import natsort"),
        (VERB, "from archipelag_coordinator.domain import job"),
        ("coordinator/src/archipelag_coordinator/adapters/postgres/jobs.py", "import psycopg"),
        ("coordinator/src/archipelag_coordinator/apps/api/chat.py", "import fastapi"),
        ("island/src/archipelag_island/adapters/link.py", "import nats"),
        (
            "island/src/archipelag_island/testing/link.py",
            "from archipelag_island.testing.clock import FakeClock",
        ),
    ],
)
def test_imports_in_their_place_pass(path: str, text: str) -> None:
    assert checks.misplaced_imports(path, text) == []


def test_machine_names_are_told() -> None:
    for host in checks.HOSTS:
        assert checks.machine_names("a.md", f"see https://{host}/x")
    for place in checks.MACHINE_PATHS:
        assert checks.machine_names("a.md", f"cd {place}/x") and checks.machine_names("a", place)
    assert checks.machine_names("a.md", "`frame" + "work/x`, how-to/" + "work/y, /tmp/x") == []


def test_links_are_found_and_resolved() -> None:
    text = "[a](b.md) [c](../d.md#part) [e](https://x) [f](#here) `[g](h.md)`\n```\n[i](j.md)\n```"

    assert list(checks.links("docs/how-to/x.md", text)) == ["docs/how-to/b.md", "docs/d.md"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("changes/x.md", ""),
        ("changes/x.md", "# Title\nDone."),
        ("changes/x.md", "no end"),
        ("changes/x.md", "a" * 600 + "."),
        ("changes/Not A Slug.md", "Done."),
    ],
)
def test_bad_fragments_are_told(path: str, text: str) -> None:
    assert checks.fragment(path, text)


def test_a_missing_error_code_is_told() -> None:
    assert checks.undocumented(["not_found", "conflict"], "`not_found`, conflict") == [
        "error code conflict is not in the reference"
    ]


def test_a_changed_table_changes_its_diagram() -> None:
    moves = dict(diagrams.job.MOVES)
    before = diagrams.diagram(moves)
    state = next(iter(moves))

    assert diagrams.diagram(moves | {state: set()}) != before


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("services/planted.py", "from archipelag_coordinator.adapters import nats\n"),
        ("domain/planted.py", "import asyncio\n"),
        ("domain/planted.py", "from archipelag_contracts.pb import archipelag\n"),
        ("apps/planted.py", "from archipelag_coordinator.adapters import postgres\n"),
        ("services/planted.py", "import archipelag_island\n"),
        ("services/planted.py", "from archipelag_coordinator.services import neighbour\n"),
        ("surprise/__init__.py", ""),
    ],
)
def test_imports_against_the_layers_are_told(module: str, text: str, tmp_path: Path) -> None:
    """The linter reads a copy of the source with one file too many."""
    paths = []
    for part in ("contracts", "coordinator", "island", "sdk/python"):
        for package in (ROOT / part / "src").iterdir():
            if (package / "__init__.py").is_file():
                copy(package, tmp_path / package.name)
    planted = tmp_path / "archipelag_coordinator" / module
    planted.parent.mkdir(exist_ok=True)
    planted.write_text(text)
    (planted.parent / "neighbour.py").write_text("")
    paths.append(str(tmp_path))
    script = (
        f"import sys; sys.path[:0] = {paths!r}; from importlinter.cli import lint_imports; "
        f"sys.exit(lint_imports(config_filename={str(ROOT / '.importlinter')!r}, no_cache=True))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 broken" in done.stdout or "2 broken" in done.stdout or "exhaustive" in done.stdout


def copy(package: Path, to: Path) -> None:
    for source in package.rglob("*.py"):
        target = to / source.relative_to(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())


def test_a_walk_through_a_room_that_is_not_there_is_found() -> None:
    files = ["coordinator/src/archipelag_coordinator/services/submit.py"]

    assert checks.missing_rooms("walk", "`services/submit.py`, `…/services/submit.py`", files) == []
    assert checks.missing_rooms("walk", "`services/gone.py`", files) == [
        "walk names services/gone.py, which is nowhere"
    ]
