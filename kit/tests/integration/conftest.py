"""A folder to work in, the commands run in this process, and a registry of our own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from archipelag_embedded.registry import Registry
from archipelag_kit.commands import main
from archipelag_oci import image
from kit_shell import Command, Done


@pytest.fixture(scope="session")
def kit_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests, as an author has one for all Cargos."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kit_cache: Path,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """`command("build")` as a person would type it, in a folder of this test's own."""
    # Zig builds its C library once for a machine, which takes a minute: not once for every run of the tests.
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(Path(home, "zig")))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(kit_cache))
    # Packing an interpreter takes longer than most of these tests, and none looks at how tightly it is packed.
    monkeypatch.setattr(image, "GZIP_LEVEL", 1)
    for name in ("KEY", "PASSPHRASE"):
        monkeypatch.delenv(f"ARCHIPELAG_CARGO_{name}", raising=False)
    for name in ("REGISTRY", "REGISTRY_USER", "API_KEY", "API_URL"):
        monkeypatch.delenv(f"ARCHIPELAG_{name}", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def run(*argv: str) -> Done:
        capsys.readouterr()
        try:
            status = main(argv)
        except SystemExit as wrong:
            status = int(wrong.code or 0)
        told = capsys.readouterr()
        return Done(status, told.out, told.err)

    return run


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of a registry on this machine."""
    folder = tmp_path_factory.mktemp("registry")
    server = Registry(folder / "store", log=folder / "log")
    yield server.start()
    server.stop()
