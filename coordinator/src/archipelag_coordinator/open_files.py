"""How many connections one process may have: many systems begin with a thousand."""

from __future__ import annotations

import contextlib
import resource
from typing import Final

ENOUGH: Final = 65_536


def raise_limit() -> int:
    """To what is enough, or as far as this user may. Returns the limit that holds from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    # Some systems have a bound below the one that they tell.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
