"""Places shown at another Coordinator: only what we made, for this account and request, while it is good, and once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from archipelag_contracts.ids import CargoDigest, UserId
from archipelag_coordinator.domain.kept_places import GRACE_S
from archipelag_coordinator.domain.lines import LineKey
from archipelag_coordinator.domain.place_tokens import SPENT_MAX, PlaceTokens
from archipelag_coordinator.testing.fakes import START
from hypothesis import given
from hypothesis import strategies as st

SECRET = b"shared by all Coordinators"
ME, OTHER = (LineKey(UserId(name), CargoDigest("sha256:chat")) for name in ("me", "other"))
ELSEWHERE = LineKey(ME.user_id, CargoDigest("sha256:images"))
AT = START + timedelta(seconds=20.125)


def test_what_one_coordinator_made_another_one_understands() -> None:
    token = PlaceTokens(SECRET).make(ME, b"asked", AT)

    assert PlaceTokens(SECRET).time_of(token, ME, b"asked", START) == AT
    assert token.isascii() and len(token) < 100


def test_a_place_is_of_no_use_to_others_nor_for_anything_else() -> None:
    tokens = PlaceTokens(SECRET)
    token = tokens.make(ME, b"asked", AT)

    assert tokens.time_of(token, OTHER, b"asked", AT) is None
    assert tokens.time_of(token, ELSEWHERE, b"asked", AT) is None
    assert tokens.time_of(token, ME, b"asked for more", AT) is None
    assert PlaceTokens(b"another network's secret").time_of(token, ME, b"asked", AT) is None


def test_parts_cannot_be_moved_from_one_field_to_the_next() -> None:
    token = PlaceTokens(SECRET).make(LineKey(UserId("a"), CargoDigest("bc")), b"d", AT)

    for user, digest, request in (("ab", "c", b"d"), ("a", "b", b"cd"), ("a\nbc", "", b"d")):
        key = LineKey(UserId(user), CargoDigest(digest))
        assert PlaceTokens(SECRET).time_of(token, key, request, AT) is None


def test_a_place_ends_when_its_grace_has_passed() -> None:
    tokens = PlaceTokens(SECRET)
    token = tokens.make(ME, b"asked", AT)
    end = AT + timedelta(seconds=GRACE_S)

    assert tokens.time_of(token, ME, b"asked", end) == AT
    assert tokens.time_of(token, ME, b"asked", end + timedelta(milliseconds=1)) is None


def test_another_time_than_the_one_that_was_told_is_a_forgery() -> None:
    tokens = PlaceTokens(SECRET)
    time, _, tag = tokens.make(ME, b"asked", AT).partition(".")

    for forged in (f"{int(time, 16) - 5000:x}.{tag}", f"-{time}.{tag}", f"0{time}.{tag}"):
        assert tokens.time_of(forged, ME, b"asked", START) is None


@pytest.mark.parametrize("end", ["", ".", "1.", "." * 5000, "é.é", "\n", "1" * 400 + ".x", "0x1.x"])
def test_what_is_no_token_is_no_place(end: str) -> None:
    assert PlaceTokens(SECRET).time_of(end, ME, b"asked", START) is None


@given(st.text(max_size=80))
def test_no_text_is_a_place_or_an_error(text: str) -> None:
    assert PlaceTokens(SECRET).time_of(text, ME, b"asked", START) is None


def test_a_place_that_was_taken_is_not_taken_again_but_a_later_one_is() -> None:
    tokens = PlaceTokens(SECRET)
    token = tokens.make(ME, b"asked", AT)
    later = tokens.make(ME, b"asked", AT + timedelta(seconds=1))

    tokens.spend(ME, b"asked", AT)

    assert tokens.time_of(token, ME, b"asked", AT) is None
    assert tokens.time_of(later, ME, b"asked", AT) == AT + timedelta(seconds=1)
    assert tokens.time_of(tokens.make(OTHER, b"asked", AT), OTHER, b"asked", AT) == AT


def test_what_was_taken_is_remembered_as_long_as_it_could_be_shown_and_no_longer() -> None:
    tokens = PlaceTokens(SECRET)
    for n in range(SPENT_MAX + 10):
        tokens.spend(ME, b"%d" % n, AT)
    assert len(tokens) == SPENT_MAX

    tokens.sweep(AT + timedelta(seconds=GRACE_S))
    assert len(tokens) == SPENT_MAX
    tokens.sweep(AT + timedelta(seconds=GRACE_S + 0.001))
    assert len(tokens) == 0
