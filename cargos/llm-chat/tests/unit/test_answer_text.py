"""Texts of items: whole characters, no part of a stop sequence, and the same from any point on."""

import random

import pytest
from archipelag_llm_chat.answer_text import AnswerText, Item


def feed(stops: list[str], pieces: list[bytes]) -> tuple[list[str], bool]:
    state = AnswerText(stops)
    texts: list[str] = []
    for token, piece in enumerate(pieces):
        texts += [item.text for item in state.add(token, piece)]
        if state.stopped:
            return texts, True
    return texts + [item.text for item in state.finish()], False


def test_a_character_in_several_tokens_arrives_whole() -> None:
    wave = "👋".encode()

    texts, _ = feed([], [b"Hi ", wave[:1], wave[1:3], wave[3:], b"!"])

    assert texts == ["Hi ", "", "", "👋", "!"]


def test_an_incomplete_character_at_the_end_is_left_out() -> None:
    texts, _ = feed([], [b"ok", "é".encode()[:1]])

    assert texts == ["ok", ""]


def test_bytes_that_are_no_character_become_replacement_characters() -> None:
    texts, _ = feed([], [b"a\xff", b"b"])

    assert "".join(texts) == "a\ufffdb"


def test_a_stop_sequence_across_tokens_is_never_delivered() -> None:
    texts, stopped = feed(["END"], [b"one ", b"E", b"N", b"D", b"two"])

    assert stopped
    assert texts == ["one ", "", "", ""]


def test_text_before_a_stop_in_the_same_token_is_delivered() -> None:
    texts, stopped = feed(["\n\n"], [b"line\n", b"\nmore"])

    assert stopped
    assert texts == ["line", ""]


def test_what_only_looked_like_a_stop_is_delivered_after_all() -> None:
    texts, stopped = feed(["END"], [b"E", b"N", b"T", b"E"])

    assert not stopped
    assert texts == ["E", "N", "T", "E"]


def test_items_are_held_while_a_stop_may_be_coming() -> None:
    state = AnswerText(["END"])

    assert state.add(0, b"x") == [Item(0, "x")]
    assert state.add(1, b"yE") == []
    assert state.add(2, b"N") == []
    assert state.add(3, b"!") == [Item(1, "yE"), Item(2, "N"), Item(3, "!")]


def test_the_earliest_of_several_stops_counts() -> None:
    texts, stopped = feed(["cd", "bc"], [b"a", b"bcd"])

    assert stopped
    assert texts == ["a", ""]


def test_a_stop_that_overlaps_itself_is_found() -> None:
    texts, stopped = feed(["aab"], [b"a", b"a", b"a", b"b"])

    assert stopped
    assert "".join(texts) == "a"


@pytest.mark.parametrize("case", range(100))
def test_nothing_is_lost_and_no_stop_is_delivered(case: int) -> None:
    chance = random.Random(case)
    text = "".join(chance.choices("abé👋", k=60)).encode()
    pieces = []
    while text:
        size = chance.randint(1, 4)
        pieces.append(text[:size])
        text = text[size:]
    stops = ["".join(chance.choices("abé", k=chance.randint(2, 5))) for _ in range(2)]

    texts, stopped = feed(stops, pieces)

    whole = b"".join(pieces).decode()
    ends = [place for stop in stops if (place := whole.find(stop)) >= 0]
    assert stopped == bool(ends)
    delivered = "".join(texts)
    assert whole.startswith(delivered)
    assert not any(stop in delivered for stop in stops)
    if not ends:
        assert delivered == whole


def test_a_long_answer_keeps_finding_stops() -> None:
    state = AnswerText(["STOP"])
    for token in range(5000):
        state.add(token, b"some words ")

    state.add(5000, b"ST")
    items = state.add(5001, b"OP")

    assert state.stopped
    assert [item.text for item in items] == ["", ""]
