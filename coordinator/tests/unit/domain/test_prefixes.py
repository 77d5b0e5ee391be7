"""Names of a prompt's beginnings: equal where they must be, and telling nobody anything else."""

import pytest
from archipelag_contracts.ids import CargoDigest, IslandId, UserId
from archipelag_coordinator.domain.chat import parse_chat
from archipelag_coordinator.domain.prefixes import PREFIXES_MAX, prefixes_of, salt_of
from archipelag_coordinator.errors import InvalidInput
from archipelag_coordinator.testing.builders import an_id

SECRET = b"of this network"
ADA, BOB = UserId(an_id("usr")), UserId(an_id("usr"))
ONE, OTHER = CargoDigest("sha256:" + "1" * 64), CargoDigest("sha256:" + "2" * 64)
HERE, THERE = IslandId(an_id("isl")), IslandId(an_id("isl"))


def said(*texts):
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]


def names(*texts, secret=SECRET, customer=ADA, digest=ONE):
    return [one.name for one in prefixes_of(secret, customer, digest, said(*texts))]


def test_the_next_turn_begins_with_all_that_the_last_one_had():
    assert names("a", "b", "c", "d", "e")[:3] == names("a", "b", "c")


def test_whatever_differs_before_it_makes_another_name():
    base = names("a", "b", "c")

    assert not set(base) & set(names("A", "b", "c"))
    assert names("a", "B", "c")[0] == base[0] and not set(names("a", "B", "c")[1:]) & set(base)
    assert not set(base) & set(names("a", "b", "c", customer=BOB))
    assert not set(base) & set(names("a", "b", "c", digest=OTHER))
    assert not set(base) & set(names("a", "b", "c", secret=b"of another network"))


def test_a_message_cannot_be_told_to_look_like_two():
    (whole,) = names('a"]["assistant","b')

    assert whole not in names("a", "b")
    assert names('a","b') != names("a", "b")


def test_a_name_has_64_bits_and_the_longest_beginnings_are_sent():
    long = names(*(str(n) for n in range(100)))

    assert len(long) == len(set(long)) == PREFIXES_MAX
    assert all(0 <= name < 2**64 for name in long) and max(long) > 2**60
    assert long[-1] == names(*(str(n) for n in range(100)))[-1]


def test_tokens_up_to_a_boundary_are_counted_as_the_whole_prompts_are():
    body = {"messages": said("Grüße", "b" * 40, "c")}
    chat = parse_chat(body, seed=1, items_default=8, items_max=8)

    found = prefixes_of(SECRET, ADA, ONE, chat.messages)

    assert [one.tokens for one in found] == [7 + 16, 7 + 40 + 32, 7 + 40 + 1 + 48]
    assert chat.prompt_tokens_max == found[-1].tokens + 64


def test_a_salt_is_of_one_customer_one_cargo_and_one_island():
    salts = {
        salt_of(SECRET, customer, digest, island)
        for customer in (ADA, BOB)
        for digest in (ONE, OTHER)
        for island in (HERE, THERE)
    }

    assert len(salts) == 8 and {len(salt) for salt in salts} == {16}
    assert salt_of(SECRET, ADA, ONE, HERE) in salts


def test_without_a_secret_nothing_is_named():
    with pytest.raises(AssertionError):
        names("a", secret=b"")


@pytest.mark.parametrize(("wish", "kept"), [({}, 2), ({"cache_prompt": True}, 2)])
def test_a_chat_may_be_kept_unless_its_customer_says_no(wish, kept):
    no = parse_chat(
        {"messages": said("a", "b"), "cache_prompt": False}, seed=1, items_default=8, items_max=8
    )
    yes = parse_chat({"messages": said("a", "b")} | wish, seed=1, items_default=8, items_max=8)

    assert no.messages == () and len(yes.messages) == kept
    assert no.cargo_input == yes.cargo_input, "Cargos need not know of it"


@pytest.mark.parametrize("wrong", ["no", 0, 1, 0.0, [], {}])
def test_a_wish_that_is_neither_yes_nor_no_is_refused(wrong):
    body = {"messages": said("a"), "cache_prompt": wrong}

    with pytest.raises(InvalidInput) as refused:
        parse_chat(body, seed=1, items_default=8, items_max=8)

    assert refused.value.errors == {"cache_prompt": ["must be true or false"]}
