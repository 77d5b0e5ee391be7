"""How programs of operators and hosts print; the command line of developers, which knows no contracts, has the same."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def to_the_end(command: Callable[[], int]) -> int:
    """Runs a command whose output somebody may stop reading (`head`, a pager): that is no failure of ours."""
    try:
        try:
            return command()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python would complain of what is left once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
