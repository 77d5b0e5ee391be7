"""Hours of a week as bits: bit 0 is Monday from 0:00 to 1:00, bit 167 Sunday from 23:00 to midnight."""

from __future__ import annotations

from typing import Final

from archipelag_contracts.errors import BadMessage

HOURS: Final = 7 * 24
EVERY_HOUR: Final = (1 << HOURS) - 1
_BYTES: Final = HOURS // 8


def packed_hours(hours: int) -> bytes:
    """As they travel: nothing where it is every hour."""
    assert 0 < hours <= EVERY_HOUR
    return b"" if hours == EVERY_HOUR else hours.to_bytes(_BYTES, "little")


def unpacked_hours(data: bytes) -> int:
    """Raises BadMessage for a week of another length, and for one without any hour."""
    if not data:
        return EVERY_HOUR
    hours = int.from_bytes(data, "little")
    if len(data) != _BYTES or not hours:
        raise BadMessage(f"a week is {_BYTES} bytes with a bit for each hour that is lent")
    return hours
