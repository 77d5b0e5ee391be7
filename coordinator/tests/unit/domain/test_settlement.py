"""Who pays what when a job has ended."""

import pytest
from archipelag_contracts.ids import Epoch
from archipelag_contracts.manifest import Price
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.domain.ledger import FEES, INSURANCE, owner_account, user_account
from archipelag_coordinator.domain.pricing import Shares
from archipelag_coordinator.domain.settlement import Work, charge_for, insured_pay_for
from archipelag_coordinator.testing.builders import a_job, a_user
from archipelag_coordinator.testing.fakes import START

PAYER, ONE, TWO = a_user().id, a_user().id, a_user().id
JOB = a_job().id
PRICE = Price(Ucredits(0), Ucredits(20), Ucredits(100))


def settle(work, *, tokens=10, items=10, reserved=10**9, price=PRICE):
    return charge_for(
        JOB,
        PAYER,
        price,
        Shares(),
        prompt_tokens=tokens,
        output_items=items,
        work=work,
        reserved=Ucredits(reserved),
        at=START,
    )


@pytest.mark.parametrize(
    ("work", "reserved", "charged", "paid"),
    [
        ([(ONE, 10)], 10**9, 1_200, {ONE: 1_020}),
        ([(ONE, 5), (TWO, 5)], 10**9, 1_200, {ONE: 510, TWO: 510}),
        ([(ONE, 3), (ONE, 7)], 10**9, 1_200, {ONE: 1_020}),
        ([(ONE, 0), (TWO, 0)], 10**9, 1_200, {TWO: 1_020}),
        ([(ONE, 10)], 1_000, 1_000, {ONE: 850}),
        ([(PAYER, 10)], 10**9, 1_200, {PAYER: 1_020}),
    ],
    ids=["one", "two halves", "one owner twice", "no items", "never beyond reserved", "own Island"],
)
def test_user_pays_once_and_islands_by_positions(work, reserved, charged, paid):
    done = [Work(owner, Epoch(i + 1), count) for i, (owner, count) in enumerate(work)]

    amount, transfer = settle(done, reserved=reserved)

    assert amount == charged
    assert transfer is not None and transfer.id == f"charge:{JOB}"
    assert transfer.entries[user_account(PAYER)] == -charged
    assert {o: transfer.entries[owner_account(o)] for o in paid} == paid
    assert transfer.entries[FEES] == charged // 10
    assert transfer.entries[INSURANCE] == charged // 20


@pytest.mark.parametrize(
    "case",
    [
        {"work": []},
        {"work": [Work(ONE, Epoch(1), 0)], "tokens": 0, "items": 0},
        {"work": [Work(ONE, Epoch(1), 5)], "reserved": 0},
    ],
)
def test_nothing_due_is_no_transfer(case):
    assert settle(**case) == (0, None)


def test_shares_of_nothing_are_left_out():
    _, transfer = settle([Work(ONE, Epoch(1), 1)], tokens=0, price=Price(Ucredits(5)))

    assert transfer is not None
    assert transfer.entries == {user_account(PAYER): -5, owner_account(ONE): 5}


@pytest.mark.parametrize(
    ("positions", "fund", "expected"),
    [(10, 10**9, 850), (10, 100, 100), (10, 0, None), (10, -5, None), (0, 10**9, None)],
)
def test_insured_pay_is_bounded_by_the_fund(positions, fund, expected):
    work = Work(ONE, Epoch(2), positions)

    due = Ucredits(100 * positions)
    transfer = insured_pay_for(JOB, Shares(), work, due, fund=Ucredits(fund), at=START)

    if expected is None:
        assert transfer is None
    else:
        assert transfer is not None and transfer.id == f"insured:{JOB}:2"
        assert transfer.entries == {INSURANCE: -expected, owner_account(ONE): expected}
