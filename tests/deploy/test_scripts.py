"""Every shell script of the repository, wherever it stands."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHELLS = ("sh", "dash", "bash")


def shell_of(path: Path) -> str:
    """By its first line, or `sh` where its name says that it is one; empty: none."""
    with path.open("rb") as file:
        first = file.readline(100).decode(errors="replace")
    words = first.removeprefix("#!").split() if first.startswith("#!") else []
    names = [word.rpartition("/")[2] for word in words[:2]]
    named = names[-1] if names[:1] == ["env"] else names[0] if names else ""
    return named if named in SHELLS else "sh" if path.suffix == ".sh" else ""


def scripts() -> dict[Path, str]:
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [ROOT / name for name in names.split("\0") if name]
    found = {path: shell_of(path) for path in paths if path.is_file() and not path.is_symlink()}
    return {path: shell for path, shell in found.items() if shell}


def checked(shell: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("needs shellcheck: as root on Debian, apt install shellcheck")
    return subprocess.run(
        [program, f"--shell={shell}", *map(str, paths)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_scripts_are_plain_shell() -> None:
    found = scripts()

    told = {path.name: checked(shell, path).stdout for path, shell in found.items()}

    assert {"install.sh", "launch.sh", "head.sh", "island-python.sh", "run"} <= set(told)
    assert {name: said for name, said in told.items() if said} == {}


def test_what_is_not_plain_is_found(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("#!/bin/sh\nrm -rf $1/*\n")

    assert shell_of(wrong) == "sh"
    assert "SC2086" in checked("sh", wrong).stdout
