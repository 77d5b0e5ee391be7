"""A chat request, whole or not at all."""

import json

import pytest
from archipelag_coordinator.domain import chat
from archipelag_coordinator.errors import InvalidInput, TooLarge, Unsupported

HELLO = [{"role": "user", "content": "hello"}]


def parse(**body):
    return chat.parse_chat({"messages": HELLO} | body, seed=7, items_default=100, items_max=500)


def cargo_input(**body):
    return json.loads(parse(**body).cargo_input)


def test_plain_request_gets_defaults():
    parsed = parse(model="m", stream=True, temperature=None)

    assert json.loads(parsed.cargo_input) == {"messages": HELLO, "max_tokens": 100, "seed": 7}
    assert parsed.output_items_max == 100
    assert parsed.prompt_tokens_max == (5 + chat.TEMPLATE_TOKENS_PER_MESSAGE + chat.TEMPLATE_TOKENS)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_tokens": 9999}, {"max_tokens": 500}),
        ({"max_tokens": 5, "max_completion_tokens": 6}, {"max_tokens": 6}),
        ({"max_tokens": 5, "max_completion_tokens": None}, {"max_tokens": 5}),
        ({"seed": 0}, {"seed": 0}),
        ({"seed": -(2**63)}, {"seed": -(2**63)}),
        ({"temperature": 0.5, "top_k": 3}, {"temperature": 0.5, "top_k": 3}),
        ({"stop": "x"}, {"stop": ["x"]}),
        ({"stop": ["x", "y"]}, {"stop": ["x", "y"]}),
        ({"n": 1, "modalities": ["text"], "response_format": {"type": "text"}, "tools": []}, {}),
    ],
)
def test_what_is_asked_for_reaches_the_cargo(body, expected):
    sane = {"messages": HELLO, "max_tokens": 100, "seed": 7}

    assert cargo_input(**body) == sane | expected


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        ({"prompt": "p"}, [("user", "p")]),
        ({"prompt": "p", "system_prompt": "s"}, [("system", "s"), ("user", "p")]),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "a"},
                            {"type": "refusal", "refusal": "b"},
                        ],
                    }
                ]
            },
            [("user", "ab")],
        ),
    ],
)
def test_every_way_to_say_it(body, messages):
    parsed = chat.parse_chat(body, seed=1, items_default=1, items_max=1)

    said = json.loads(parsed.cargo_input)["messages"]
    assert [(m["role"], m["content"]) for m in said] == messages


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": None}, "messages"),
        ({"messages": None, "system_prompt": "s"}, "messages"),
        ({"prompt": "p"}, "messages"),
        ({"system_prompt": "p"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": HELLO * 129}, "messages"),
        ({"messages": ["hello"]}, "messages.0"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "x" * 32_769}]}, "messages.0.content"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"top_k": 1.5}, "top_k"),
        ({"seed": 2**63}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["x" * 257]}, "stop"),
        ({"stop": 7}, "stop"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_problem_is_named_by_its_field(body, field):
    with pytest.raises(InvalidInput) as refused:
        parse(**body)

    assert list(refused.value.errors) == [field]


def test_every_problem_is_named_at_once():
    with pytest.raises(InvalidInput) as refused:
        parse(temperature=9, stop=7, colour="blue")

    assert set(refused.value.errors) == {"temperature", "stop", "colour"}


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [{"type": "function"}]},
        {"functions": [{}]},
        {"audio": {"voice": "x"}},
        {"web_search_options": {"x": 1}},
        {"n": 2},
        {"logprobs": True},
        {"logit_bias": {"1": 1}},
        {"response_format": {"type": "json_object"}},
        {"modalities": ["audio"]},
        {"messages": [{"role": "assistant", "tool_calls": [{}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
    ],
)
def test_what_the_model_cannot_do_is_said(body):
    with pytest.raises(Unsupported):
        parse(**body)


def test_too_much_in_all_is_refused():
    with pytest.raises(TooLarge):
        parse(messages=[{"role": "user", "content": "x" * 30_000}] * 10)
