"""Turns: a long line of one account keeps nobody else waiting, and priority is an account's own affair."""

from __future__ import annotations

from datetime import timedelta

from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.fair import in_turn
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.domain.user import User
from archipelag_coordinator.testing.builders import a_cargo, a_job, a_user
from archipelag_coordinator.testing.fakes import START

CARGO = a_cargo()


def line(
    user: User, count: int, *, after_s: int = 0, cargo: Cargo = CARGO, **changes: object
) -> list[Job]:
    return [
        a_job(user, cargo=cargo, created_at=START + timedelta(seconds=after_s + n), **changes)
        for n in range(count)
    ]


def test_whoever_comes_after_a_thousand_of_another_is_second() -> None:
    many, late = line(a_user(), 1000), line(a_user(), 2, after_s=5000)

    found = in_turn([*many, *late])

    assert found[:4] == [many[0], late[0], many[1], late[1]]
    assert found[4:] == many[2:]


def test_what_runs_has_had_its_turn() -> None:
    rich, poor = a_user(), a_user()
    running = line(rich, 3, status=JobStatus.RUNNING)
    waiting, others = line(rich, 2), line(poor, 4, after_s=100)

    found = in_turn([*running, *waiting, *others])

    assert found == [*others[:3], waiting[0], others[3], waiting[1]]


def test_priority_orders_ones_own_line_and_no_other() -> None:
    pushy, calm = a_user(), a_user()
    normal, urgent = line(pushy, 2), line(pushy, 1, after_s=50, priority=10)
    others = line(calm, 1, after_s=10)

    found = in_turn([*normal, *urgent, *others])

    assert found == [others[0], urgent[0], normal[0], normal[1]]


def test_a_cargo_that_nobody_offers_keeps_no_other_waiting() -> None:
    user = a_user()
    stuck, fine = (
        line(user, 200),
        line(user, 1, after_s=900, cargo=a_cargo(slug="hash")),
    )

    assert in_turn([*stuck, *fine])[:2] == [stuck[0], fine[0]]
