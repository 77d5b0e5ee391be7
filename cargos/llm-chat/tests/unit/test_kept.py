"""What is kept of ended runs, and who gets it: time, slots and tokens are passed in."""

import pytest
from archipelag_llm_chat.kept import RUNS_TOLD_MAX, Kept, KeptSlots, Place

MINE, OTHERS = b"m" * 32, b"o" * 32
KEPT_S = 600.0
FREE = range(4)
CHAT = tuple(range(100, 140))


def slots(**kept: Kept) -> KeptSlots:
    """`slot2=…` is kept in slot 2."""
    made = KeptSlots(KEPT_S)
    for name, one in kept.items():
        assert made.keep(int(name.removeprefix("slot")), one)
    return made


def kept(
    tokens: tuple[int, ...] = CHAT,
    *,
    salt: bytes = MINE,
    ended_s: float = 0.0,
    prompt: int = 30,
    run_id: str = "run",
) -> Kept:
    return Kept(run_id, salt, tokens, prompt, ended_s)


def test_the_next_turn_begins_where_the_last_one_ended() -> None:
    held = slots(slot1=kept(CHAT[:20]), slot2=kept(CHAT))

    assert held.place(FREE, MINE, (*CHAT, 1, 2, 3), now=1) == Place(2, len(CHAT))
    assert held.place(FREE, MINE, (*CHAT, 1, 2, 3), now=1) == Place(1, 20), "2 is given away"


def test_an_edited_message_ends_what_is_shared() -> None:
    edited = (*CHAT[:33], 7, *CHAT[34:])

    assert slots(slot3=kept()).place(FREE, MINE, edited, now=1) == Place(3, 33)


@pytest.mark.parametrize("longer", [0, 1])
def test_the_last_token_is_always_read(longer: int) -> None:
    held = slots(slot0=kept(CHAT[: 10 + longer]))

    assert held.place(FREE, MINE, CHAT[:10], now=1) == Place(0, 9)


@pytest.mark.parametrize("salt", [OTHERS, MINE[:31], MINE + b"m", b""])
def test_another_salt_shares_nothing(salt: bytes) -> None:
    assert slots(slot0=kept()).place(FREE, salt, (*CHAT, 1), now=1) == Place(1, 0)
    assert slots(slot0=kept()).place([0], salt, (*CHAT, 1), now=1) == Place(0, 0)


def test_without_a_salt_nothing_is_kept() -> None:
    held = KeptSlots(KEPT_S)

    assert not held.keep(0, kept(salt=b""))
    assert not held.keep(0, kept(()))
    assert held.place(FREE, b"", (*CHAT, 1), now=1) == Place(0, 0)
    assert held.runs(1) == [] and held.next_old_s(1) is None and held.cells(0) == 0


def test_nothing_is_kept_where_it_is_switched_off() -> None:
    assert not KeptSlots(0).keep(0, kept())


def test_a_longer_conversation_is_not_given_up_for_a_common_greeting() -> None:
    other = (*CHAT[:12], *range(500, 530))

    assert slots(slot0=kept()).place(FREE, MINE, other, now=1) == Place(1, 0)
    assert slots(slot0=kept()).place([0], MINE, other, now=1) == Place(0, 12), "it is lost anyhow"


def test_with_nothing_bare_the_one_that_waited_longest_goes() -> None:
    held = slots(slot0=kept(ended_s=5, salt=OTHERS), slot1=kept(ended_s=3), slot2=kept(ended_s=4))

    assert held.place([0, 1, 2], MINE, (1, 2, 3), now=9) == Place(1, 0)
    assert held.cells(1) == 0 and held.cells(2) == len(CHAT)


def test_what_is_old_is_shared_with_nobody_and_dropped_once() -> None:
    held = slots(slot0=kept(ended_s=0, run_id="old"), slot1=kept(ended_s=60, run_id="new"))

    assert held.next_old_s(now=10) == KEPT_S - 10
    assert held.take_old(now=KEPT_S - 1) == []
    assert held.place([0], MINE, (*CHAT, 1), now=KEPT_S) == Place(0, 0)
    assert held.runs(now=KEPT_S) == ["new"]
    assert held.take_old(now=KEPT_S + 60) == [1] and held.take_old(now=KEPT_S + 60) == []


def test_runs_are_told_newest_first_and_only_where_all_was_read() -> None:
    held = KeptSlots(KEPT_S)
    for n in range(RUNS_TOLD_MAX + 5):
        assert held.keep(n, kept(ended_s=n, run_id=f"run{n}"))
    assert held.keep(90, kept(CHAT[:29], ended_s=90, run_id="cancelled while it read"))

    told = held.runs(now=99)

    assert told == [f"run{n}" for n in range(RUNS_TOLD_MAX + 4, 4, -1)]
