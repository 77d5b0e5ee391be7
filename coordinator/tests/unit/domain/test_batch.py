"""A batch moves by what became of its members."""

from __future__ import annotations

import itertools

import pytest
from archipelag_coordinator.domain.batch import (
    MOVES,
    BatchStatus,
    FailMode,
    Glance,
    Member,
    MemberStatus,
)
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.errors import IllegalMove
from archipelag_coordinator.testing.builders import a_batch, a_cargo, a_key, a_user, members_of
from archipelag_coordinator.testing.fakes import START

R, F, C = BatchStatus.RUNNING, BatchStatus.FAILING, BatchStatus.CANCELLING
DONE, FAILED, CANCELLED = BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.CANCELLED
BEST, FAST = FailMode.BEST_EFFORT, FailMode.FAIL_FAST


def batch_of(words, status=R, mode=BEST, **changes):
    """Each letter an member: w waits, q and r are at work, s succeeded, f failed, c cancelled, d was dropped."""
    user = a_user()
    batch = a_batch(
        user, a_key(user), a_cargo(), total=len(words), status=status, fail_mode=mode, **changes
    )
    jobs = {
        "q": JobStatus.QUEUED,
        "r": JobStatus.RUNNING,
        "s": JobStatus.SUCCEEDED,
        "f": JobStatus.FAILED,
        "c": JobStatus.CANCELLED,
    }
    members = []
    for word, member in zip(words, members_of(batch), strict=True):
        fields = vars(member)
        if word == "d":
            fields = fields | {"status": MemberStatus.FAILED, "error": "no credit"}
        elif word != "w":
            glance = Glance(jobs[word], error="broke" if word in "fc" else "")
            fields = fields | {"status": MemberStatus.SUBMITTED, "job": glance}
        members.append(Member(**fields))
    return batch, members


@pytest.mark.parametrize(
    ("words", "status", "mode", "then"),
    [
        ("ww", R, BEST, R),
        ("wr", R, BEST, R),
        ("sq", R, BEST, R),
        ("fw", R, BEST, R),
        ("ss", R, BEST, DONE),
        ("sf", R, BEST, DONE),
        ("sd", R, BEST, DONE),
        ("ff", R, BEST, FAILED),
        ("dd", R, BEST, FAILED),
        ("cd", R, BEST, FAILED),
        ("sr", R, FAST, R),
        ("ss", R, FAST, DONE),
        ("fr", R, FAST, F),
        ("dw", R, FAST, F),
        ("cs", R, FAST, F),
        ("fr", F, FAST, F),
        ("fw", F, FAST, F),
        ("fc", F, FAST, FAILED),
        ("cr", C, BEST, C),
        ("ss", C, BEST, CANCELLED),
        ("cd", C, BEST, CANCELLED),
        ("ss", DONE, BEST, DONE),
        ("ff", FAILED, BEST, FAILED),
        ("cc", CANCELLED, BEST, CANCELLED),
    ],
)
def test_where_it_stands_follows_from_its_items(words, status, mode, then):
    ended_at = START if not MOVES[status] else None
    batch, members = batch_of(words, status, mode, ended_at=ended_at)

    moved = batch.proceed(members, START)

    assert moved.status is then
    assert (moved.ended_at is not None) == moved.finished


@pytest.mark.parametrize(
    ("words", "most", "submitted"),
    [
        ("wwww", 2, [0, 1]),
        ("rwww", 2, [1]),
        ("qrww", 2, []),
        ("sfww", 2, [2, 3]),
        ("qrrw", 2, []),
        ("wwww", 100, [0, 1, 2, 3]),
        ("ssss", 2, []),
    ],
)
def test_never_more_at_once_than_asked_for_and_in_order(words, most, submitted):
    batch, members = batch_of(words, max_parallelism=most)

    assert [member.number for member in batch.next_members(members)] == submitted


@pytest.mark.parametrize("status", [F, C, DONE, FAILED, CANCELLED])
def test_nothing_is_submitted_once_it_stops(status):
    batch, members = batch_of("ww", status)

    assert batch.next_members(members) == []


@pytest.mark.parametrize(("status", "to"), [*itertools.product(BatchStatus, BatchStatus)])
def test_only_the_tables_moves_are_made(status, to):
    batch, _ = batch_of("w", status)

    if to in MOVES[status]:
        assert batch._move(to).status is to
    else:
        with pytest.raises(IllegalMove):
            batch._move(to)


def test_what_failed_it_is_named():
    batch, members = batch_of("sf", mode=FAST)

    moved = batch.proceed(members, START)

    assert moved.error == "input 1 did not complete: broke"
    assert moved.cancel("by me").error == "by me"


def test_an_item_says_why_it_did_not_complete():
    _, members = batch_of("wqsfd")

    assert [member.said for member in members] == ["", "", "", "broke", "no credit"]
