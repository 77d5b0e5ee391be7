"""JetStream streams and consumers: names, retention and limits. NATS may lose all of it; PostgreSQL is the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from archipelag_contracts import subjects


@dataclass(frozen=True)
class Stream:
    """A stream as the Coordinators create it. Ages in seconds, sizes in bytes."""

    name: str
    subjects: tuple[str, ...]
    storage: str  # "file" or "memory"
    retention: str  # "workqueue" or "limits"
    age_max_s: int
    bytes_max: int
    message_bytes_max: int
    # What to do when full: refuse the new one ("new") or drop the oldest ("old").
    discard: str


REPORTS: Final = Stream(
    name="REPORTS",
    subjects=(subjects.ALL_REPORTS,),
    storage="file",
    retention="workqueue",
    age_max_s=7 * 24 * 3600,
    bytes_max=1 << 30,
    message_bytes_max=1 << 20,
    discard="new",
)

OUTPUT: Final = Stream(
    name="OUTPUT",
    subjects=(subjects.ALL_OUTPUT,),
    storage="memory",
    retention="limits",
    age_max_s=300,
    bytes_max=256 << 20,
    message_bytes_max=1 << 20,
    discard="old",
)

ALL: Final = (REPORTS, OUTPUT)

REPORTS_CONSUMER: Final = "coordinators"
REPORT_ACK_WAIT_S: Final = 60
REPORT_DELIVERIES_MAX: Final = 5
