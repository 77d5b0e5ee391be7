"""Serves the Cargo in a module: `python -m archipelag_kit MODULE --socket PATH --manifest PATH …`."""

from __future__ import annotations

import importlib
import sys

from archipelag_kit.marking import Marked, cargo
from archipelag_kit.serving.main import main


def _serve() -> int:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.stderr.write("usage: python -m archipelag_kit MODULE --socket PATH --manifest PATH …\n")
        return 2
    module = sys.argv[1]

    def marked() -> Marked:
        """In a thread while the server answers already."""
        importlib.import_module(module)
        return cargo.of(module)

    return main(marked, sys.argv[2:])


if __name__ == "__main__":
    sys.exit(_serve())
