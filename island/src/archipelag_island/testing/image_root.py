"""A container's root with this interpreter and the echo Cargo in it, for where no image builder is at hand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from archipelag_island.runtime import CargoSpec
from archipelag_island.testing.builders import ECHO_MODULE, a_spec

# What the echo Cargo imports.
PACKAGES: Final = (
    "grpc",
    "google",
    "typing_extensions",
    "archipelag_contracts",
    "archipelag_island",
)
PYTHON: Final = "/usr/bin/python3"
ENVIRONMENT: Final = {"PYTHONPATH": "/app", "PYTHONDONTWRITEBYTECODE": "1"}
_LEFT_OUT: Final = shutil.ignore_patterns(
    "test", "tests", "idlelib", "tkinter", "ensurepip", "site-packages", "dist-packages", "config-*"
)
_LIBRARY: Final = re.compile(r"(/\S+) \(0x")


def make_root(folder: Path) -> Path:
    """Fills `folder`, which is new. Everything in it may be read by anybody."""
    (folder / "app").mkdir(parents=True)
    interpreter = Path(sys.executable).resolve()
    stdlib = Path(sysconfig.get_path("stdlib"))
    _copy(interpreter, folder / "usr/bin/python3")
    shutil.copytree(stdlib, folder / stdlib.relative_to("/"), ignore=_LEFT_OUT, dirs_exist_ok=True)
    for name in PACKAGES:
        _package(name, folder / "app")
    binaries = [interpreter, *(p for p in folder.rglob("*.so*") if p.is_file())]
    for library in _libraries(binaries):
        _copy(Path(library), folder / library.lstrip("/"))
    _lib_links(folder)
    # Where the interpreter looks for its library, whatever its own place.
    home = folder / "usr" / "lib" / stdlib.name
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        home.symlink_to("/" + str(stdlib.relative_to("/")))
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    return folder


def the_echo_image(root: Path) -> CargoSpec:
    """The echo Cargo, to be started from a root that `make_root` made."""
    return replace(
        a_spec(),
        runtime="oci",
        module="",
        root=root,
        command=(PYTHON, "-m", ECHO_MODULE),
        environment=tuple(ENVIRONMENT.items()),
    )


def _package(name: str, target: Path) -> None:
    found = find_spec(name)
    assert found is not None, f"{name} is not installed"
    if found.submodule_search_locations is None:
        assert found.origin is not None
        shutil.copy(found.origin, target)
        return
    for location in found.submodule_search_locations:
        shutil.copytree(location, target / name, dirs_exist_ok=True)


def _libraries(binaries: list[Path]) -> set[str]:
    """Every shared library that these need, the loader included, by the paths that they are looked up by."""
    done = subprocess.run(
        ["/usr/bin/ldd", *map(str, binaries)], capture_output=True, text=True, check=False
    )
    return set(_LIBRARY.findall(done.stdout))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy(source.resolve(), target)


def _lib_links(folder: Path) -> None:
    """/lib and /lib64 are folders of their own here; the loader also looks under /usr."""
    for name in ("lib", "lib64"):
        real, seen = folder / name, folder / "usr" / name
        if not real.is_dir():
            continue
        seen.mkdir(parents=True, exist_ok=True)
        for path in real.rglob("*"):
            link = seen / path.relative_to(real)
            if path.is_file() and not os.path.lexists(link):
                link.parent.mkdir(parents=True, exist_ok=True)
                os.link(path, link)
