"""Resource limits of a process in a container, soft and hard alike: raising them again would need a right."""

from __future__ import annotations

import resource
from typing import Final

from archipelag_contracts.tiers import Tier

FILES_MAX: Final = 1_024
# Counted for each user over the whole machine: the control group is what bounds a Cargo. Said all the same, since
# engines else ask for more than we may give.
PROCESSES_MAX: Final = 32_768


def rlimits(tier: Tier) -> dict[str, int]:
    """Never above what we have ourselves: also root may be without the right to raise them."""
    wanted = {
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": FILES_MAX,
        "RLIMIT_FSIZE": tier.tmp_bytes,
        "RLIMIT_NPROC": PROCESSES_MAX,
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_RTPRIO": 0,
        "RLIMIT_MEMLOCK": 1 << 20,
    }
    bounded: dict[str, int] = {}
    for name, value in wanted.items():
        hard = resource.getrlimit(getattr(resource, name))[1]
        bounded[name] = value if hard == resource.RLIM_INFINITY else min(value, hard)
    return bounded
