"""Hours of a week travel as bits, and nothing else is read as such."""

from __future__ import annotations

import pytest
from archipelag_contracts.errors import BadMessage
from archipelag_contracts.week import EVERY_HOUR, packed_hours, unpacked_hours


@pytest.mark.parametrize("hours", [1, 1 << 167, EVERY_HOUR - 1, 0xFF << 24])
def test_hours_come_back_as_they_were(hours: int) -> None:
    assert len(packed_hours(hours)) == 21
    assert unpacked_hours(packed_hours(hours)) == hours


def test_every_hour_takes_no_room() -> None:
    assert packed_hours(EVERY_HOUR) == b""
    assert unpacked_hours(b"") == EVERY_HOUR


@pytest.mark.parametrize("data", [b"\x01", bytes(21), b"\xff" * 22, b"\xff" * 20])
def test_another_length_or_no_hour_at_all_is_refused(data: bytes) -> None:
    with pytest.raises(BadMessage):
        unpacked_hours(data)
