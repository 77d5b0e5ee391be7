"""Waits: how long a job waits grows with the line, is never negative, and nobody's long line is another's."""

from __future__ import annotations

from datetime import timedelta

import pytest
from archipelag_contracts.ids import CargoDigest, UserId
from archipelag_coordinator.domain.lines import Ahead, Kept, Line, LineKey, Lines
from archipelag_coordinator.domain.slot_time import KEPT, SlotTimes
from archipelag_coordinator.domain.waits import Rooms, Wait, expected
from archipelag_coordinator.testing.fakes import START
from hypothesis import given
from hypothesis import strategies as st

CHAT, IMAGES = CargoDigest("sha256:chat"), CargoDigest("sha256:images")
ME, OTHER, THIRD = (LineKey(UserId(name), CHAT) for name in ("me", "other", "third"))
COUNTS = st.integers(0, 1000)


def of(*lines: Line) -> Lines:
    made = Lines()
    made.load(lines)
    return made


def rooms(slots: int, busy: int, *, chat_only: int = 0) -> Rooms:
    """An Island that runs both, and one that runs chats only and is idle."""
    made = Rooms()
    made.add({CHAT: slots, IMAGES: slots}, busy)
    made.add({CHAT: chat_only}, 0)
    return made


def held(chat: float = 4.0, images: float = 20.0) -> dict[str, float]:
    return {CHAT: chat, IMAGES: images}


@pytest.mark.parametrize(
    ("mine", "others", "ahead"),
    [
        (Line(ME, 0, 0), [Line(OTHER, 10_000, 4)], Ahead(0, {})),
        (Line(ME, 0, 0), [Line(OTHER, 10_000, 0)], Ahead(0, {CHAT: 1})),
        (Line(ME, 100, 2), [Line(OTHER, 10_000, 2)], Ahead(100, {CHAT: 101})),
        (Line(ME, 100, 2), [Line(OTHER, 7, 2)], Ahead(100, {CHAT: 7})),
        (Line(ME, 0, 1), [Line(OTHER, 5, 0), Line(THIRD, 1, 1)], Ahead(0, {CHAT: 3})),
    ],
)
def test_a_long_line_counts_for_anothers_job_as_far_as_its_turn(
    mine: Line, others: list[Line], ahead: Ahead
) -> None:
    assert of(mine, *others).ahead_of(ME) == ahead


def test_of_two_first_ones_the_elder_is_first() -> None:
    lines = of(Line(OTHER, 1, 0, START), Line(ME, 1, 0, START + timedelta(seconds=1)))

    elder = lines.ahead_of(OTHER, before=0, since=START)
    younger = lines.ahead_of(ME, before=0, since=START + timedelta(seconds=1))

    assert (elder, younger) == (Ahead(0, {}), Ahead(0, {CHAT: 1}))


def test_a_place_that_is_kept_counts_as_if_somebody_stood_there() -> None:
    lines = of(Line(OTHER, 0, 1))

    for key, places in ((ME, 3), (OTHER, 2), (THIRD, 50)):
        lines.keep(key, Kept.DUE, places)

    assert lines.ahead_of(ME, kept=Kept.DUE) == Ahead(3, {CHAT: 2 + 4})
    assert lines.ahead_of(ME, kept=Kept.TOLD) == lines.ahead_of(ME) == Ahead(0, {})


def test_what_joined_and_began_here_counts_at_once() -> None:
    lines = of()
    lines.joined(OTHER, START)
    lines.joined(OTHER, START + timedelta(seconds=5))
    assert lines.get(OTHER) == Line(OTHER, 2, 0, START)

    lines.began(OTHER, waited=True)
    lines.began(OTHER, waited=False)
    lines.let_go(OTHER)

    assert lines.get(OTHER) == Line(OTHER, 1, 1, START) and lines.waits()


def test_a_wait_is_the_slots_that_must_end_over_those_that_end_in_a_second() -> None:
    full = expected(CHAT, Ahead(3, {}), rooms(8, 8), held().get)
    some_free = expected(CHAT, Ahead(3, {}), rooms(8, 8, chat_only=2), held().get)
    free = expected(CHAT, Ahead(3, {}), rooms(8, 8, chat_only=4), held().get)

    assert full == Wait(3, 4 * 4.0 / 8)
    assert some_free == Wait(3, 2 * 4.0 / 10)
    assert free == Wait(3, 0.0)


def test_another_cargo_counts_by_its_time_and_by_the_slots_that_it_shares() -> None:
    # Half of the slots that images get are on Islands that run chats, too.
    both = rooms(4, 4)
    both.add({IMAGES: 4}, 4)

    found = expected(CHAT, Ahead(1, {IMAGES: 4}), both, held().get)

    assert found == Wait(3, (4.0 + 4.0 + 2 * 20.0) / 4)


@given(own=COUNTS, others=COUNTS, slots=st.integers(0, 20), busy=st.integers(0, 40))
def test_no_fleet_and_no_line_gives_a_negative_wait_or_an_error(
    own: int, others: int, slots: int, busy: int
) -> None:
    found = expected(CHAT, Ahead(own, {IMAGES: others}), rooms(slots, busy), held().get)

    assert found.ahead >= own
    assert (found.seconds is None) == (slots == 0)
    assert found.seconds is None or found.seconds >= 0


@given(own=COUNTS, others=COUNTS, more=COUNTS, slots=st.integers(1, 20), busy=st.integers(0, 40))
def test_a_longer_line_never_waits_less(
    own: int, others: int, more: int, slots: int, busy: int
) -> None:
    def wait(own: int, others: int) -> float:
        ahead = Ahead(own, {IMAGES: others})
        found = expected(CHAT, ahead, rooms(slots, busy, chat_only=3), held().get).seconds
        assert found is not None
        return found

    assert wait(own, others) <= wait(own + more, others) + 1e-9
    assert wait(own, others) <= wait(own, others + more) + 1e-9


@given(queued=COUNTS, running=COUNTS, mine=st.integers(0, 50), runs=st.integers(0, 10))
def test_whatever_another_account_sends_it_has_no_more_turns_than_one_has_oneself(
    queued: int, running: int, mine: int, runs: int
) -> None:
    lines = of(Line(ME, mine, runs), Line(OTHER, queued, running))
    lines.keep(OTHER, Kept.TOLD, 5000)

    ahead = lines.ahead_of(ME, kept=Kept.TOLD)

    assert ahead.own == mine
    assert 0 <= ahead.others.get(CHAT, 0) <= mine + runs + 1


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    assert expected(CHAT, Ahead(2, {}), rooms(4, 4), {}.get) == Wait(2, None)
    assert expected(CHAT, Ahead(2, {}), Rooms(), held().get) == Wait(2, None)


def test_slot_times_follow_what_was_seen_last() -> None:
    times = SlotTimes()
    assert times.mean_s(CHAT) is None and times.quick_s(CHAT) == 0.0

    times.remember([(CHAT, 100.0)] * 3)
    for n in range(KEPT):
        times.learn(CHAT, 2.0 if n % 2 else 4.0)
    for nonsense in (-1.0, float("nan"), float("inf")):
        times.learn(CHAT, nonsense)

    assert times.mean_s(CHAT) == 3.0
    assert times.quick_s(CHAT) == 2.0
