"""What a conversation is, which branch of it is shown, and what of it a model is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from archipelag_coordinator.domain import conversation as noun
from archipelag_coordinator.domain.chat import MESSAGE_BYTES_MAX, MESSAGES_MAX, parse_chat
from archipelag_coordinator.domain.context import request_of
from archipelag_coordinator.domain.conversation import (
    Conversation,
    Figures,
    Message,
    MessageStatus,
    checked_parameters,
    checked_title,
    conversation_id,
    first_words,
    path_to,
    shown,
)
from archipelag_coordinator.errors import Conflict, InvalidInput, NotFound, TooLarge
from archipelag_coordinator.testing.builders import a_user
from archipelag_coordinator.testing.check_conversations import a_conversation, a_message
from archipelag_coordinator.testing.fakes import START


@pytest.fixture
def talk() -> Conversation:
    return a_conversation(a_user().id, title="", parameters={})


def said(talk: Conversation, *texts: str) -> list[Message]:
    return [a_message(talk, number, text=text) for number, text in enumerate(texts, 1)]


def told(path: list[Message], **parameters: Any) -> list[str]:
    context = parameters.pop("context_tokens", 100_000)
    request = request_of(path, parameters, context_tokens=context, answer_tokens=100)
    return [one["content"] for one in request["messages"]]


def test_a_question_names_the_conversation_and_awaits_its_answer(talk: Conversation) -> None:
    grown, question, answer = talk.ask("How do corals\n grow?", 0, START, "key")

    assert grown.title == "How do corals grow?"
    assert (question.number, question.parent, answer.number, answer.parent) == (1, 0, 2, 1)
    assert question.idempotency_key == "key" and answer.idempotency_key is None
    assert answer.status is MessageStatus.WRITING and answer.model == "small-model"
    assert (grown.messages, grown.size_bytes) == (2, len("How do corals\n grow?"))
    assert grown.ask("And then?", 2, START, None)[0].title == "How do corals grow?"


def test_the_newest_branch_is_shown_from_its_first_question_on(talk: Conversation) -> None:
    messages = [
        *said(talk, "q1", "a1", "q2", "a2"),
        a_message(talk, 5, parent=2, text="q2 edited"),
        a_message(talk, 6, parent=5, text="a2 of that"),
    ]

    assert [m.text for m in shown(messages)] == ["q1", "a1", "q2 edited", "a2 of that"]
    assert [m.text for m in path_to(messages, 4)] == ["q1", "a1", "q2", "a2"]
    assert shown([]) == [] and path_to(messages, 0) == []


def test_bounds_hold_for_all_branches_together(talk: Conversation) -> None:
    full = replace(talk, messages=noun.STORED_MESSAGES_MAX - 1)
    heavy = replace(talk, size_bytes=noun.STORED_BYTES_MAX - 4)

    with pytest.raises(Conflict, match="begin another"):
        full.ask("hello", 0, START, None)
    with pytest.raises(TooLarge):
        heavy.ask("hello", 0, START, None)
    assert full.ask_again(a_message(talk, 1), START, None)[0].messages == full.messages + 1
    assert heavy.ask("hell", 0, START, None)[0].size_bytes == noun.STORED_BYTES_MAX


@pytest.mark.parametrize("text", ["", "  \n", None, 7, "x" * (MESSAGE_BYTES_MAX + 1), "\ud800"])
def test_what_is_no_question_is_refused_by_name(talk: Conversation, text: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        talk.ask(text, 0, START, None)

    assert list(refused.value.errors) == ["content"]


@pytest.mark.parametrize("title", ["", " ", None, 7, "x" * 121, "\u202e"])
def test_what_is_no_title_is_refused(title: Any) -> None:
    with pytest.raises(InvalidInput, match="title"):
        checked_title(title)


def test_a_title_is_one_line_that_turns_nothing_around() -> None:
    assert checked_title(" a\n\tb \u202ec\x1b[31m") == "a b c [31m"
    assert first_words("word " * 40) == "word " * 11 + "word…"
    assert first_words("x" * 200) == "x" * 60 + "…"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ([], "parameters"),
        ({"temperature": 3}, "parameters.temperature"),
        ({"seed": 1.5}, "parameters.seed"),
        ({"messages": []}, "parameters.messages"),
        ({"stream": True}, "parameters.stream"),
        ({"system_prompt": 1}, "parameters.system_prompt"),
        ({"system_prompt": "x" * 40_000}, "parameters.system_prompt"),
    ],
)
def test_parameters_are_checked_one_by_one(given: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        checked_parameters(given)

    assert list(refused.value.errors) == [field]


def test_parameters_that_are_null_are_none() -> None:
    assert checked_parameters({"seed": None, "temperature": 0}) == {"temperature": 0}


@pytest.mark.parametrize("text", ["", "cnv_", "cnv_" + "x" * 25, "job_" + "0" * 26, "cnv_../etc"])
def test_what_is_no_id_names_nothing(text: str) -> None:
    with pytest.raises(NotFound):
        conversation_id(text)


def test_an_answer_ends_once(talk: Conversation) -> None:
    _, _, answer = talk.ask("hello", 0, START, None)
    done = answer.settle(MessageStatus.DONE, "Hi", Figures(tokens=1))

    assert done.settle(MessageStatus.FAILED, "", Figures(), "late") == done
    assert answer.is_unsent(START + timedelta(minutes=5)) and not answer.is_unsent(START)


def test_a_model_is_told_all_that_fits_and_the_system_prompt_first(talk: Conversation) -> None:
    path = said(talk, "q1", "a1", "q2", "a2", "q3")

    assert told(path, system_prompt="Be brief.") == ["Be brief.", "q1", "a1", "q2", "a2", "q3"]
    request = request_of(path, {"seed": 7}, context_tokens=9000, answer_tokens=9)
    assert request["seed"] == 7 and "system_prompt" not in request
    assert [m["role"] for m in request["messages"]] == ["user", "assistant"] * 2 + ["user"]


def test_what_does_not_fit_is_cut_from_the_front_pair_by_pair(talk: Conversation) -> None:
    path = said(talk, "q1" * 300, "a1" * 300, "q2" * 300, "a2" * 300, "q3")

    assert [one[:2] for one in told(path, context_tokens=700)] == ["q2", "a2", "q3"]
    assert [one[:2] for one in told(path, context_tokens=120)] == ["q3"]
    assert [one[:2] for one in told(path, context_tokens=2000)] == ["q1", "a1", "q2", "a2", "q3"]


def test_a_question_without_an_answer_is_left_out(talk: Conversation) -> None:
    path = said(talk, "q1", "", "q2", "a2", "q3")

    assert told(path) == ["q2", "a2", "q3"]


def test_whatever_was_said_the_request_is_one_that_the_api_takes(talk: Conversation) -> None:
    longest = "é" * (MESSAGE_BYTES_MAX // 2)
    much = [longest if number % 2 else longest + "and more" for number in range(1, 40)]
    many = ["x"] * 401

    for texts, system in ((much, longest), (many, ""), (many, "Be brief.")):
        parameters = {"system_prompt": system} if system else {}
        request = request_of(
            said(talk, *texts), parameters, context_tokens=10**7, answer_tokens=100
        )
        parse_chat(request, seed=1, items_default=9, items_max=9)
        assert 5 < len(request["messages"]) <= MESSAGES_MAX
        assert request["messages"][-1]["content"] == texts[-1]
