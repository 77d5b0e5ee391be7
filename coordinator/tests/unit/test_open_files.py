"""The limit of open files, in a process of its own: here it could not be set back."""

from __future__ import annotations

import subprocess
import sys

import pytest

SAYS = """
import resource, sys
from archipelag_coordinator import open_files
open_files.ENOUGH = 1_500
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
print(open_files.raise_limit(), resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "after"),
    [(256, 1_000, 1_000), (300, 300, 300), (256, 2_000, 1_500), (1_800, 2_000, 1_800)],
)
def test_it_is_raised_as_far_as_is_enough_and_never_lowered(
    soft: int, hard: int, after: int
) -> None:
    program = [sys.executable, "-c", SAYS, str(soft), str(hard)]

    said = subprocess.run(program, capture_output=True, text=True, check=True).stdout

    assert said.strip() == f"{after} ({after}, {hard})"
