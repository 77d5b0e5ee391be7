"""The host's side of the escape suite, made once."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import host
import places
from archipelag_island.testing import image_root


@pytest.fixture(scope="session")
def world() -> Iterator[dict[str, Any]]:
    with host.a_world() as made:
        yield made


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """Short, for sockets' names; open to all, since other users run what lies in it."""
    made = Path(tempfile.mkdtemp(prefix="escape-suite-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def scratch(folder: Path) -> Path:
    """For what the runtimes make; apart from what the engines mount."""
    made = folder / "s"
    made.mkdir(exist_ok=True)
    return made


@pytest.fixture(scope="session")
def packed(folder: Path) -> Path:
    return places.pack(folder)


@pytest.fixture(scope="session")
def root(folder: Path) -> Callable[[], Path]:
    """A container's root, made when it is first asked for."""
    made: list[Path] = []

    def get() -> Path:
        if not made:
            made.append(image_root.make_root(folder / "root"))
        return made[0]

    return get


@pytest.fixture(scope="session")
def engine(folder: Path) -> Iterator[Callable[[str], Path]]:
    sockets: dict[str, Path] = {}
    with ExitStack() as stack:

        def get(kind: str) -> Path:
            if kind not in sockets:
                sockets[kind] = stack.enter_context(places.containers.engine(kind, folder / kind))
            return sockets[kind]

        yield get
