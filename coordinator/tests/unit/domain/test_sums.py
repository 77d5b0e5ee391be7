"""Days that are asked for, and what a move is called."""

from datetime import UTC, date, datetime

import pytest
from archipelag_coordinator.domain.ledger import AccountId
from archipelag_coordinator.domain.sums import Days, Moved, MoveKind, days_of
from archipelag_coordinator.errors import InvalidInput
from archipelag_coordinator.testing.fakes import START

NOW = datetime(2026, 3, 1, 23, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("first", "last", "days"),
    [
        (None, None, Days(date(2026, 1, 31), date(2026, 3, 1))),
        (date(2026, 3, 1), None, Days(date(2026, 3, 1), date(2026, 3, 1))),
        (None, date(2024, 3, 1), Days(date(2024, 2, 1), date(2024, 3, 1))),
        (date(2024, 1, 1), date(2024, 12, 31), Days(date(2024, 1, 1), date(2024, 12, 31))),
    ],
)
def test_open_ends_are_the_last_thirty_days(first, last, days):
    assert days_of(first, last, now=NOW) == days


@pytest.mark.parametrize(
    ("first", "last", "field"),
    [
        (date(2026, 1, 2), date(2026, 1, 1), "to"),
        (date(2027, 1, 1), None, "to"),
        (date(2024, 1, 1), date(2025, 1, 1), "from"),
        (date(2000, 1, 1), None, "from"),
    ],
)
def test_more_than_a_year_or_less_than_a_day_is_refused(first, last, field):
    with pytest.raises(InvalidInput) as refused:
        days_of(first, last, now=NOW)

    assert field in refused.value.errors


def test_both_ends_are_included_in_utc():
    days = Days(date(2026, 12, 31), date(2026, 12, 31))

    assert days.since == datetime(2026, 12, 31, tzinfo=UTC)
    assert days.until == datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("transfer", "account", "kind"),
    [
        ("grant:usr_1:gift", "user:usr_1", MoveKind.GRANT),
        ("charge:job_1", "user:usr_1", MoveKind.CHARGE),
        ("charge:job_1", "island_owner:usr_1", MoveKind.EARNING),
        ("insured:job_1:2", "island_owner:usr_1", MoveKind.INSURED),
        ("payout:7", "island_owner:usr_1", MoveKind.OTHER),
    ],
)
def test_a_move_is_called_by_its_cause(transfer, account, kind):
    moved = Moved(transfer, AccountId(account), START, 1, 1, None, None, "")

    assert moved.kind is kind
