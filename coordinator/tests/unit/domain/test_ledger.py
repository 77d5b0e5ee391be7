"""Transfers balance, reservations end once, names are made from causes."""

import pytest
from archipelag_contracts.ids import Epoch
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.domain.ledger import (
    FEES,
    GRANTS,
    INSURANCE,
    ISSUANCE,
    Account,
    ReservationStatus,
    Transfer,
    charge_id,
    fund_insurance,
    grant,
    insured_pay_id,
    owner_account,
    user_account,
)
from archipelag_coordinator.errors import IllegalMove, UnbalancedTransfer
from archipelag_coordinator.testing.builders import a_job, a_reservation, a_user
from archipelag_coordinator.testing.fakes import START


@pytest.mark.parametrize("entries", [{}, {FEES: 1}, {FEES: 1, GRANTS: -2}, {FEES: 0, GRANTS: 0}])
def test_unbalanced_or_empty_transfers_cannot_be_written(entries):
    with pytest.raises(UnbalancedTransfer):
        Transfer("t", entries, START)


@pytest.mark.parametrize("end", ["post", "void", "expire"])
def test_reservation_ends_once(end):
    ended = getattr(a_reservation(a_job()), end)()

    assert ended.status is not ReservationStatus.PENDING
    for again in ("post", "void", "expire"):
        with pytest.raises(IllegalMove):
            getattr(ended, again)()


def test_available_is_what_is_not_held():
    assert Account(FEES, Ucredits(10), Ucredits(3)).available == 7


def test_grants_and_seeds_enter_by_the_accounts_that_may_owe():
    user = a_user()

    given = grant(user.id, Ucredits(5), "welcome", START)
    seeded = fund_insurance(Ucredits(9), "start", START)

    assert given.id == f"grant:{user.id}:welcome"
    assert given.entries == {GRANTS: -5, user_account(user.id): 5}
    assert seeded.entries == {ISSUANCE: -9, INSURANCE: 9}


def test_accounts_and_causes_have_names():
    user, job = a_user().id, a_job().id

    assert user_account(user) == f"user:{user}"
    assert owner_account(user) == f"island_owner:{user}"
    assert charge_id(job) == f"charge:{job}"
    assert insured_pay_id(job, Epoch(2)) == f"insured:{job}:2"
