"""Items in order, each once, and what is refused."""

import pytest
from archipelag_contracts.ids import Epoch
from archipelag_coordinator.domain.answer import Answer, Ending
from archipelag_coordinator.domain.answers import Answers
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.items import Items
from archipelag_coordinator.testing.builders import a_job

JOB = a_job().id
DONE = Ending(Cause.COMPLETED, "stop")


def an_answer(items_max=10, size_bytes_max=100):
    answer = Answer(JOB, items_max=items_max, size_bytes_max=size_bytes_max, now=0.0)
    answer.begin(Epoch(1), 0.0)
    return answer


@pytest.mark.parametrize(
    ("first", "texts", "have", "refused", "wrong"),
    [
        (2, ["c"], "abc", 0, None),
        (0, ["a", "b", "c"], "abc", 2, None),
        (0, ["a"], "ab", 1, None),
        (2, [], "ab", 0, None),
        (3, ["d"], "ab", 0, "gap"),
        (2, ["x"] * 9, "ab", 0, "more output"),
        (2, ["x" * 99], "ab", 0, "more output"),
    ],
)
def test_exactly_the_next_position_is_accepted(first, texts, have, refused, wrong):
    answer = an_answer()
    answer.accept(0, ["a", "b"], [1, 2], 1.0)

    problem = answer.accept(first, texts, [], 2.0)

    assert "".join(answer.texts) == have and answer.next == len(have)
    assert answer.refused == refused
    assert (problem is None) if wrong is None else wrong in problem
    assert (answer.first_item_at, answer.heard_at) == (1.0, 2.0)


def test_tokens_stand_beside_their_texts():
    answer = an_answer()

    assert "as many tokens" in answer.accept(0, ["a", "b"], [1], 0.0)
    assert answer.accept(0, ["a", "b"], [1, 2], 0.0) is None
    assert answer.accept(1, ["b", "c"], [2, 3], 0.0) is None
    assert answer.tokens == [1, 2, 3]


def test_nothing_comes_after_the_end():
    answer, settled = an_answer(), an_answer()
    answer.end_attempt(DONE)
    settled.finish(DONE)

    assert (
        answer.accept(0, ["a"], [], 0.0)
        == settled.accept(0, ["a"], [], 0.0)
        == "items after the end"
    )


def test_next_attempt_carries_on():
    answer = an_answer()
    answer.accept(0, ["a"], [], 0.0)
    answer.end_attempt(DONE)

    answer.begin(Epoch(2), 5.0)

    assert answer.attempt_end is None and answer.heard_at == 5.0
    assert answer.accept(1, ["b"], [], 6.0) is None
    with pytest.raises(AssertionError):
        answer.begin(Epoch(2), 7.0)


def test_first_word_on_the_end_stays():
    answer = an_answer()
    answer.finish(DONE)

    answer.finish(Ending(Cause.CANCELLED))

    assert answer.final == DONE


def test_listeners_hear_of_everything_that_readers_wait_for():
    answer, heard = an_answer(), []
    answer.listeners.add(lambda: heard.append(answer.next))

    answer.wait(("nobody",))
    answer.wait(("nobody",))
    answer.accepted(1.0)
    answer.accept(0, ["a"], [], 1.0)
    answer.accept(0, ["a"], [], 1.0)
    answer.end_attempt(DONE)
    answer.finish(DONE)

    assert heard == [0, 0, 1, 1, 1]
    assert answer.waiting == () and not answer.running


def test_cutting_back_forgets_what_nobody_was_given():
    answer = an_answer()
    answer.accept(0, ["a", "bc", "d"], [1, 2, 3], 0.0)
    answer.taken = answer.delivered = 1
    answer.cut_back(3)
    answer.cut_back(1)

    assert (answer.texts, answer.tokens, answer.size_bytes, answer.stored) == (["a"], [1], 1, 1)
    assert answer.first_item_at == 0.0
    with pytest.raises(AssertionError):
        answer.cut_back(0)


def test_an_answer_that_is_cut_back_to_nothing_has_not_begun():
    answer = an_answer()
    answer.accept(0, ["a"], [], 0.0)

    answer.cut_back(0)

    assert (answer.next, answer.first_item_at, answer.prompt_tokens) == (0, None, 0)


def test_items_known_from_elsewhere_are_taken_over_from_where_the_answer_ends():
    answer = an_answer()
    answer.accept(0, ["a"], [1], 0.0)

    answer.load(Items(0, ("a", "b", "c"), (1, 2, 3)), stored=True)
    answer.load(Items(0, ("a",), (1,)))

    assert (answer.texts, answer.tokens) == (["a", "b", "c"], [1, 2, 3])
    assert (answer.size_bytes, answer.stored) == (3, 3)


def test_of_an_answer_that_was_relayed_elsewhere_everything_may_have_been_handed_out():
    answer = an_answer()
    answer.accept(0, ["a", "b"], [], 0.0)
    before = answer.handed_out

    answer.recalled = True

    assert (before, answer.handed_out) == (0, 2)


def test_what_runs_on_unread_counts_as_delivered_when_it_can_be_read_later():
    answer = an_answer()
    answer.accept(0, ["a", "b"], [], 0.0)
    before = answer.mark

    answer.goes_on_unread = True

    assert (before, answer.mark) == (0, 2)


def test_answers_are_kept_by_job():
    answers = Answers()
    limits = {"items_max": 1, "size_bytes_max": 1, "now": 0.0}

    first = answers.open(JOB, **limits)

    assert answers.open(JOB, **limits) is first is answers.get(JOB)
    assert answers.all() == [first] and len(answers) == 1
    answers.drop(JOB)
    answers.drop(JOB)
    assert answers.get(JOB) is None
