"""Whoever stops reading what a command prints sees no traceback of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "words",
    [
        "archipelag_coordinator --help",
        "archipelag_coordinator keys init --state-dir state",
        "archipelag_island --help",
        "archipelag_island status --help",
        "archipelag_island doctor",
        "archipelag.cli --help",
        "archipelag.cli completion bash",
        "archipelag.cli jobs --help",
    ],
)
def test_a_command_whose_reader_has_gone_ends_in_peace(words: str, tmp_path: Path) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ARCHIP")}
    done = subprocess.run(
        [sys.executable, "-m", *words.split()],
        env=kept | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
        cwd=tmp_path,
        stdout=writes,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writes)

    assert (done.returncode, done.stderr) == (0, "")
