"""Runs seeds of the simulation: `python tests/simulation --help`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if os.environ.get("PYTHONHASHSEED") != "0":
    # Sets of texts are walked in the order of their hashes, which must be the same every time.
    os.execve(
        sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {"PYTHONHASHSEED": "0"}
    )

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from simulation.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
