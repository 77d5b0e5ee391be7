"""Who pays what when a job has ended."""

import pytest
from archipelag_contracts.ids import Epoch
from archipelag_contracts.manifest import Price
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.domain.ledger import (
    FEES,
    INSURANCE,
    PayKind,
    owner_account,
    user_account,
)
from archipelag_coordinator.domain.pricing import Shares
from archipelag_coordinator.domain.settlement import Work, bill_for, insured_pay_for
from archipelag_coordinator.testing.builders import a_job, a_user
from archipelag_coordinator.testing.fakes import START
from hypothesis import given
from hypothesis import strategies as st

PAYER, ONE, TWO = a_user().id, a_user().id, a_user().id
JOB = a_job().id
PRICE = Price(Ucredits(0), Ucredits(20), Ucredits(100))
LOTS = 10**12


def work(*parts, completed=True):
    """(owner, first, next) of each attempt; the last one ended the answer."""
    last = len(parts) - 1
    return [
        Work(owner, Epoch(i + 1), first, after, completed=completed and i == last)
        for i, (owner, first, after) in enumerate(parts)
    ]


def bill(done, *, tokens=10, items=10, reserved=LOTS, price=PRICE, shares=None):
    return bill_for(
        JOB,
        PAYER,
        price,
        shares or Shares(),
        prompt_tokens=tokens,
        output_items=items,
        work=done,
        reserved=Ucredits(reserved),
        at=START,
    )


def due_by_epoch(found):
    return {one.epoch: due for one, due in found.due}


@pytest.mark.parametrize(
    ("parts", "paid", "due"),
    [
        ([(ONE, 0, 10)], {ONE: 1_020}, {}),
        # The prompt is paid to who read it first; who went on is paid for reading it again by the insurance.
        ([(ONE, 0, 5), (TWO, 5, 10)], {ONE: 595, TWO: 425}, {2: 255}),
        ([(ONE, 0, 3), (ONE, 3, 10)], {ONE: 1_020}, {2: 221}),
        ([(PAYER, 0, 10)], {PAYER: 1_020}, {}),
        ([(ONE, 0, 10), (TWO, 10, 10)], {ONE: 1_020}, {2: 340}),
        # What was made anew is paid to both, and by the customer once.
        ([(ONE, 0, 4), (TWO, 0, 10)], {TWO: 1_020}, {1: 510}),
        ([(ONE, 0, 6), (TWO, 4, 10)], {ONE: 510, TWO: 510}, {1: 170, 2: 238}),
    ],
    ids=["one", "two", "one owner twice", "own Island", "only the end", "anew", "overlap"],
)
def test_customer_pays_once_and_each_island_for_what_it_did(parts, paid, due):
    found = bill(work(*parts))

    assert found.charged == 1_200
    assert found.charge is not None and found.charge.id == f"charge:{JOB}"
    entries = found.charge.entries
    assert entries[user_account(PAYER)] == -1_200
    assert (entries[FEES], entries[INSURANCE]) == (120, 60)
    assert {owner: entries[owner_account(owner)] for owner in paid} == paid
    assert due_by_epoch(found) == due
    assert sum(pay.amount for pay in found.charge.pays) == 1_020


def test_fixed_price_goes_by_positions_and_a_metered_one_takes_it_along():
    two = work((ONE, 0, 1), (TWO, 1, 4))

    fixed = bill(two, tokens=0, items=4, price=Price(Ucredits(1_000)))
    mixed = bill(two, tokens=0, items=4, price=Price(Ucredits(1_000), Ucredits(0), Ucredits(250)))

    assert [pay.amount for pay in fixed.charge.pays] == [213, 637]
    assert [pay.amount for pay in mixed.charge.pays] == [425, 1_275]
    assert fixed.due == mixed.due == ()


def test_answer_of_no_items_is_paid_to_who_read_the_prompt():
    found = bill(work((ONE, 0, 0)), items=0)

    assert found.charged == 200
    assert [(pay.owner_id, pay.amount) for pay in found.charge.pays] == [(ONE, 170)]


def test_never_more_than_was_reserved():
    found = bill(work((ONE, 0, 10)), reserved=1_000)

    assert found.charged == 1_000
    assert found.charge.entries[owner_account(ONE)] == 850


def test_what_was_accepted_and_not_delivered_is_paid_by_the_insurance():
    found = bill(work((ONE, 0, 7), (TWO, 7, 9), completed=False), items=5)

    assert found.charged == 10 * 20 + 5 * 100
    assert [(p.owner_id, p.amount) for p in found.charge.pays] == [(ONE, 595)]
    assert due_by_epoch(found) == {1: 170, 2: (2 * 100 + 17 * 20) * 85 // 100}


def test_pay_of_a_job_that_failed_is_what_it_had_been_had_it_succeeded():
    parts = [(ONE, 0, 5), (TWO, 5, 10)]
    succeeded, failed = bill(work(*parts)), bill(work(*parts, completed=False), items=None)

    assert (failed.charged, failed.charge) == (0, None)
    earned = due_by_epoch(succeeded)
    for pay in succeeded.charge.pays:
        earned[pay.epoch] = earned.get(pay.epoch, 0) + pay.amount
    assert due_by_epoch(failed) == earned


@pytest.mark.parametrize(
    "case",
    [
        {"done": []},
        {"done": [], "items": None},
        {"done": work((ONE, 0, 0)), "tokens": 0, "items": 0},
        {"done": work((ONE, 0, 5)), "price": Price(Ucredits(0))},
        {"done": work((ONE, 3, 3), completed=False), "items": None},
    ],
)
def test_nothing_due_is_no_transfer(case):
    found = bill(**case)

    assert (found.charged, found.charge, found.due) == (0, None, ())


def test_shares_of_nothing_are_left_out():
    found = bill(work((ONE, 0, 1)), tokens=0, items=1, price=Price(Ucredits(5)))

    assert found.charge.entries == {user_account(PAYER): -5, owner_account(ONE): 5}


@st.composite
def _jobs(draw):
    """Attempts that went on at or before where the last one ended, and how much of it was delivered."""
    parts, end = [], 0
    for _ in range(draw(st.integers(1, 4))):
        first = draw(st.integers(0, end))
        end = draw(st.integers(first, first + 40))
        parts.append((draw(st.sampled_from([ONE, TWO, PAYER])), first, end))
    price = Price(*(Ucredits(draw(st.integers(0, 999))) for _ in range(3)))
    shares = Shares(draw(st.integers(0, 5_000)), draw(st.integers(0, 5_000)))
    items = draw(st.one_of(st.none(), st.integers(0, end)))
    return work(*parts, completed=items == end), draw(st.integers(0, 99)), items, price, shares


@given(_jobs())
def test_books_of_every_bill_close_to_the_micro_credit(case):
    done, tokens, items, price, shares = case
    found = bill(done, tokens=tokens, items=items, price=price, shares=shares)

    owed = sum(due for _, due in found.due)
    assert owed >= 0 and all(due > 0 for _, due in found.due)
    if found.charge is None:
        assert found.charged == 0
        return
    entries = dict(found.charge.entries)
    assert entries.pop(user_account(PAYER)) == -found.charged
    fees, insurance = entries.pop(FEES, 0), entries.pop(INSURANCE, 0)
    assert all(amount > 0 for amount in (*entries.values(), found.charged))
    assert sum(entries.values()) + fees + insurance == found.charged
    by_owner: dict = {}
    for pay in found.charge.pays:
        assert pay.kind is PayKind.CHARGE and pay.amount > 0
        account = owner_account(pay.owner_id)
        by_owner[account] = by_owner.get(account, 0) + pay.amount
    assert by_owner == entries, "every credit of an owner is for an attempt"
    assert len({pay.epoch for pay in found.charge.pays}) == len(found.charge.pays)


@pytest.mark.parametrize(
    ("due", "limit", "paid", "owed"),
    [(850, LOTS, 850, 0), (850, 100, 100, 750), (850, 0, 0, 850), (850, -5, 0, 850)],
)
def test_insured_pay_is_bounded_and_the_rest_is_owed(due, limit, paid, owed):
    one = Work(ONE, Epoch(2), 0, 10)

    transfer, rest = insured_pay_for(JOB, one, Ucredits(due), limit=Ucredits(limit), at=START)

    if paid:
        assert transfer is not None and transfer.id == f"insured:{JOB}:2"
        assert transfer.entries == {INSURANCE: -paid, owner_account(ONE): paid}
        assert [(p.kind, p.amount) for p in transfer.pays] == [(PayKind.INSURED, paid)]
    else:
        assert transfer is None
    assert (rest.amount if rest else 0) == owed
    assert rest is None or rest.kind is PayKind.OWED
