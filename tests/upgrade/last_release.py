"""The programs of the last release, from this repository's own history, in an environment of their own."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
BEFORE_TAGS: Final = "a71629f2313627e8c2fd71934b3a9e7912299913"
"""What stands for the last release as long as no tag `v…` does."""
PACKAGES: Final = ("contracts", "oci", "coordinator", "island")
LOCK: Final = "requirements/dev.txt"
"""With what its own checks need."""
WHOLE: Final = ("requirements", "embedded", *PACKAGES)


@dataclass(frozen=True)
class Release:
    commit: str
    sources: Path
    python: str
    """Runs the release's own packages: `python -m archipelag_island`."""


def last_release(cache: Path) -> Release:
    """Built once and kept in `cache`. Where this is a shallow clone the tests are left out, and say so."""
    name = wanted()
    commit = git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if not commit:
        pytest.skip(
            f"the last release, {name}, is not in this clone: `git fetch --unshallow --tags`"
        )
    sources, environment = cache / commit[:12] / "sources", cache / commit[:12] / "environment"
    python = environment / "bin" / "python"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        # Several workers may want it at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (environment / "complete").exists():
            shutil.rmtree(cache / commit[:12], ignore_errors=True)
            unpack(commit, sources)
            install(sources, environment)
            (environment / "complete").touch()
    return Release(commit, sources, str(python))


def wanted() -> str:
    """A tag or commit: ARCHIPELAG_LAST_RELEASE, or the newest tag, or the commit named above."""
    tags = git("tag", "--list", "v[0-9]*", "--sort=-v:refname").splitlines()
    return os.environ.get("ARCHIPELAG_LAST_RELEASE") or next(iter(tags), BEFORE_TAGS)


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def unpack(commit: str, sources: Path) -> None:
    archive = ["git", "archive", "--format=tar", commit, *WHOLE, "conftest.py", "pyproject.toml"]
    done = subprocess.run(archive, cwd=ROOT, capture_output=True, check=True)
    sources.mkdir(parents=True)
    with tarfile.open(fileobj=BytesIO(done.stdout)) as files:
        files.extractall(sources, filter="data")


def install(sources: Path, environment: Path) -> None:
    """Its packages as they would be installed anywhere, and what its own lock names."""
    run([sys.executable, "-m", "venv", "--without-pip", str(environment)])
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin/python"), "install"]
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    if (sources / LOCK).read_bytes() == (ROOT / LOCK).read_bytes():
        # The very same files: found where they lie, without our own packages, which are installed by name only.
        site = environment / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
        (site / "locked.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    else:
        run([*pip, *quiet, "--require-hashes", "-r", str(sources / LOCK)])
    packages = [str(sources / one) for one in PACKAGES]
    run([*pip, *quiet, "--no-deps", "--no-build-isolation", "--ignore-installed", *packages])


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
