"""One usage row an attempt; what it says of its Island."""

from dataclasses import replace
from datetime import timedelta

import pytest
from archipelag_contracts.ids import Epoch, Position
from archipelag_coordinator.domain.attempt import HOST_CAUSES, Cause, Usage
from archipelag_coordinator.domain.karma import (
    COSTS_MS,
    POINT_MS,
    REFUSED_LATE_MS,
    NoteKind,
    Tally,
    Tier,
    fold,
    note_of,
)
from archipelag_coordinator.domain.settlement import paid_attempts, prompt_tokens_of
from archipelag_coordinator.domain.usage import UNPAID, tiles, usage_row
from archipelag_coordinator.testing.builders import a_job, a_user, an_attempt, an_island
from archipelag_coordinator.testing.fakes import START
from hypothesis import given
from hypothesis import strategies as st

OWNER = a_user().id
HOUR = timedelta(hours=1)


def ended(cause=Cause.COMPLETED, *, first=0, after=0, tokens=7, took=HOUR, epoch=1):
    attempt = replace(
        an_attempt(a_job(), an_island(), epoch=Epoch(epoch)),
        first_position=Position(first),
        next_position=Position(first),
    )
    now = START + took
    if cause is Cause.REFUSED:
        return attempt.refuse(now, "no slot")
    if cause is Cause.LEASE_LOST:
        return attempt.lose(now, "silent", Position(after), Usage(prompt_tokens=tokens))
    return attempt.fail(now, cause, "", Position(after), Usage(prompt_tokens=tokens))


def note(cause, **of):
    return note_of(usage_row(ended(cause, **of), OWNER))


def test_row_says_what_was_accepted_read_and_how_long_it_took():
    row = usage_row(ended(first=5, after=9, tokens=7), OWNER)

    assert (row.first_position, row.next_position, row.positions) == (5, 9, 4)
    assert (row.prompt_tokens, row.reread_tokens, row.wall_ms) == (7, 12, 3_600_000)
    assert (row.owner_id, row.cause) == (OWNER, Cause.COMPLETED)


@pytest.mark.parametrize(
    ("of", "reread"),
    [
        ({"first": 0, "after": 9}, 0),
        ({"first": 5, "after": 5}, 12),
        ({"first": 5, "after": 5, "cause": Cause.LEASE_LOST}, 0),
        ({"first": 5, "after": 6, "cause": Cause.LEASE_LOST}, 12),
        ({"first": 5, "after": 9, "cause": Cause.BAD_OUTPUT}, 0),
        ({"first": 5, "cause": Cause.REFUSED}, 0),
    ],
)
def test_who_read_again_must_show_that_it_did(of, reread):
    assert usage_row(ended(**of), OWNER).reread_tokens == reread


@pytest.mark.parametrize(
    ("rows", "items", "stands"),
    [
        ([(0, 5), (5, 9)], 9, [range(5), range(5, 9)]),
        ([(0, 5), (0, 9)], 9, [range(0), range(9)]),
        ([(0, 6), (4, 9)], 9, [range(4), range(4, 9)]),
        ([(0, 9)], 4, [range(4)]),
        ([(0, 5), (5, 9)], 3, [range(3), range(5, 5)]),
        ([(0, 5), (0, 0), (5, 9)], 9, [range(5), range(0), range(5, 9)]),
        ([], 3, []),
    ],
)
def test_positions_that_stand(rows, items, stands):
    assert tiles(rows, items) == stands


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=6), st.integers(0, 60))
def test_no_position_stands_twice_nor_beyond_the_answer(raw, items):
    rows = [(first, first + count) for first, count in raw]

    stands = [position for tile in tiles(rows, items) for position in tile]

    assert len(stands) == len(set(stands))
    assert all(position < items for position in stands)


def test_broken_protocol_and_refusal_are_not_paid():
    attempts = [ended(cause, after=0 if cause is Cause.REFUSED else 3) for cause in Cause]

    assert {a.cause for a in paid_attempts(attempts)} == set(Cause) - UNPAID


def test_prompt_is_as_long_as_the_most_modest_island_says():
    said = [ended(tokens=tokens) for tokens in (0, 90, 7, 10**9)]

    assert prompt_tokens_of(said, 100) == 7
    assert prompt_tokens_of(said[-1:], 100) == 100
    assert prompt_tokens_of(said[:1], 100) == 0


NOT_THE_HOSTS = set(Cause) - HOST_CAUSES - {Cause.COMPLETED, Cause.CANCELLED, Cause.REFUSED}


@pytest.mark.parametrize("cause", sorted(NOT_THE_HOSTS))
def test_what_the_host_did_not_cause_says_nothing_of_it(cause):
    assert note(cause, after=3) is None


@pytest.mark.parametrize("cause", sorted(HOST_CAUSES))
def test_what_the_host_caused_is_held_against_it(cause):
    held = note(cause)

    assert held is not None and held.points_ms == -COSTS_MS[held.kind] < 0
    assert held.kind.value == cause.value


def test_good_work_counts_by_its_time_also_where_the_customer_changed_their_mind():
    assert note(Cause.COMPLETED).points_ms == POINT_MS
    assert note(Cause.CANCELLED, after=1).points_ms == POINT_MS
    assert note(Cause.CANCELLED) is None


def test_refusing_at_once_is_no_fault_and_late_is():
    late = timedelta(milliseconds=REFUSED_LATE_MS)

    assert note(Cause.REFUSED, took=late - timedelta(milliseconds=1)) is None
    assert note(Cause.REFUSED, took=late).kind is NoteKind.REFUSED_LATE


def test_an_island_that_could_not_be_reached_is_not_blamed():
    unreached = an_attempt(a_job(), an_island()).refuse(START + HOUR, "timeout", answered=False)

    assert note_of(usage_row(unreached, OWNER)) is None


@pytest.mark.parametrize(
    ("points_ms", "tier", "payout"),
    [
        (-1, Tier.RESTRICTED, False),
        (0, Tier.NEW, False),
        (POINT_MS, Tier.KNOWN, False),
        (10 * POINT_MS - 1, Tier.KNOWN, False),
        (10 * POINT_MS, Tier.TRUSTED, True),
    ],
)
def test_tiers(points_ms, tier, payout):
    karma = fold([Tally(NoteKind.GOOD_WORK, 1, points_ms)] if points_ms else [])

    assert (karma.tier, karma.payout_open) == (tier, payout)


@given(
    st.lists(
        st.builds(Tally, st.sampled_from(NoteKind), st.integers(1, 9), st.integers(-99, 99))
    ).flatmap(lambda tallies: st.tuples(st.just(tallies), st.permutations(tallies)))
)
def test_the_order_of_notes_does_not_matter(both):
    tallies, shuffled = both

    assert fold(tallies) == fold(shuffled)
    assert fold(tallies).points_ms == sum(tally.points_ms for tally in tallies)
