"""The chain of the audit log: whatever is changed, left out, added or moved, is found where it begins."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone

import pytest
from archipelag_contracts.ids import UserId
from archipelag_coordinator.domain.audit import (
    DETAIL_MAX,
    SUBJECT_MAX,
    Entry,
    Head,
    broken_at,
    follow,
)
from archipelag_coordinator.testing.fakes import START

ACTOR = UserId("usr_1")


def a_log(count: int = 5) -> list[Entry]:
    head, entries = Head(), []
    for number in range(count):
        at = START + timedelta(microseconds=number)
        entries.append(follow(head, at, ACTOR, "user.role", f"usr_{number}", "→ admin"))
        head = Head(entries[-1].number, entries[-1].hash)
    return entries


def test_a_log_follows_from_its_beginning_and_from_any_place() -> None:
    entries = a_log()

    assert broken_at(Head(), entries) is None
    assert broken_at(Head(2, entries[1].hash), entries[2:]) is None
    assert [entry.number for entry in entries] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "change",
    [
        {"at": START},
        {"actor": UserId("usr_2")},
        {"act": "user.restore"},
        {"subject": "usr_9"},
        {"detail": "→ user"},
        {"detail": ""},
        {"previous": bytes(32)},
        {"hash": bytes(32)},
        {"number": 7},
    ],
)
def test_whatever_is_changed_is_found(change: dict[str, object]) -> None:
    entries = a_log()
    entries[2] = replace(entries[2], **change)  # type: ignore[arg-type]

    assert broken_at(Head(), entries) == 3


def test_what_is_changed_and_sealed_anew_is_found_by_the_next() -> None:
    entries = a_log()
    before = Head(2, entries[1].hash)
    entries[2] = follow(before, START, ACTOR, "user.role", "usr_2", "→ user")

    assert broken_at(Head(), entries) == 4


def test_what_was_left_out_swapped_or_doubled_is_found() -> None:
    entries = a_log()

    assert broken_at(Head(), entries[1:]) == 1
    assert broken_at(Head(), [*entries[:2], *entries[3:]]) == 3
    assert broken_at(Head(), [entries[0], entries[2], entries[1], *entries[3:]]) == 2
    assert broken_at(Head(), [*entries[:2], entries[1], *entries[2:]]) == 3


def test_fields_cannot_be_shifted_into_one_another() -> None:
    one = follow(Head(), START, ACTOR, "a", "b,c", "d")
    two = follow(Head(), START, ACTOR, "a", "b", "c,d")

    assert one.hash != two.hash


def test_the_hash_is_of_the_moment_and_not_of_its_zone() -> None:
    elsewhere = START.astimezone(timezone(timedelta(hours=5)))

    assert (
        follow(Head(), elsewhere, ACTOR, "a", "b").hash
        == follow(Head(), START, ACTOR, "a", "b").hash
    )


def test_what_a_database_cannot_hold_is_not_hashed_either() -> None:
    entry = follow(Head(), START, ACTOR, "a", "x\0" * 500, "\ud800" + "y" * 9_000)

    assert entry.subject == "x" * SUBJECT_MAX
    assert entry.detail == "?" + "y" * (DETAIL_MAX - 1)
