"""The main job, end to end: a real model's answer through the Coordinator's OpenAI-shaped API, paid from the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import openai
import pytest

from .conftest import CHAT_MODEL, Network

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]


@pytest.fixture
def client(network: Network) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=network.openai_url, api_key=network.api_key, max_retries=0
    ) as client:
        yield client


def balance(network: Network) -> Decimal:
    with network.http() as http:
        return Decimal(str(http.get("/account").json()["data"]["credits"]))


@pytest.mark.real_model
def test_openai_client_streams_sensible_english(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=CHAT_MODEL,
        messages=QUESTION,
        stream=True,
        max_tokens=40,
        temperature=0,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)

    pieces = [
        c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content
    ]
    ends = [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]
    assert "Paris" in "".join(pieces)
    assert len(pieces) > 3, "the answer came in one piece: it was not streamed"
    assert ends in (["stop"], ["length"])
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens >= len(pieces)


@pytest.mark.real_model
def test_the_same_seed_gives_the_same_answer_streamed_or_not(client: openai.OpenAI) -> None:
    ask = {
        "model": CHAT_MODEL,
        "messages": QUESTION,
        "max_tokens": 24,
        "temperature": 0.8,
        "seed": 7,
    }

    whole = client.chat.completions.create(**ask)
    streamed = client.chat.completions.create(**ask, stream=True)
    text = "".join(c.choices[0].delta.content or "" for c in streamed if c.choices)

    assert whole.choices[0].message.content == text
    assert whole.usage is not None and whole.usage.completion_tokens <= 24


@pytest.mark.real_model
def test_the_price_is_prompt_once_and_output_once(network: Network, client: openai.OpenAI) -> None:
    before = balance(network)

    answer = client.chat.completions.create(
        model=CHAT_MODEL, messages=QUESTION, max_tokens=10, temperature=0
    )

    assert answer.usage is not None
    owed = 20 * answer.usage.prompt_tokens + 100 * answer.usage.completion_tokens
    assert before - balance(network) == Decimal(owed) / 1_000_000


@pytest.mark.real_model
def test_the_same_idempotency_key_gives_the_same_answer_and_one_charge(network: Network) -> None:
    body = {"model": CHAT_MODEL, "messages": QUESTION, "max_tokens": 12, "temperature": 0.9}
    headers = {"Idempotency-Key": "acceptance-once"}
    before = balance(network)
    with network.http() as http:
        first = http.post("/chat/completions", json=body, headers=headers)
        after_first = balance(network)
        second = http.post("/chat/completions", json=body, headers=headers)
        other = http.post("/chat/completions", json=body | {"seed": 1}, headers=headers)

    assert first.status_code == second.status_code == 200
    assert first.json()["choices"] == second.json()["choices"]
    assert first.json()["id"] == second.json()["id"]
    assert balance(network) == after_first < before
    assert other.status_code == 409, (
        "another request under the same key must not be answered by the first"
    )


@pytest.mark.real_model
def test_models_list_names_the_model(client: openai.OpenAI) -> None:
    assert CHAT_MODEL in [model.id for model in client.models.list()]


def test_a_job_can_be_made_read_and_its_output_fetched(network: Network) -> None:
    with network.http() as http:
        made = http.post("/jobs", json={"workload": "echo", "input": {"text": "one two three"}})
        job = made.json()["data"]
        with http.stream("GET", f"/jobs/{job['id']}/stream") as stream:
            lines = [line for line in stream.iter_lines() if line.startswith("data:")]
        read = http.get(f"/jobs/{job['id']}").json()["data"]
        output = http.get(f"/jobs/{job['id']}/output")
        listed = http.get("/jobs", params={"limit": 1}).json()

    assert made.status_code == 201
    assert '"done"' in lines[-1]
    assert read["status"] == "completed"
    assert read["attempts"][0]["epoch"] == 1
    assert "one two three" in output.text
    assert listed["data"][0]["id"] == job["id"]
    assert listed["meta"]["limit"] == 1


@pytest.mark.real_model
def test_a_conversation_is_begun_from_where_it_was_and_a_strangers_from_nothing(
    network: Network,
) -> None:
    """The same question by somebody else is read anew, and answered with the same words."""
    ours, theirs = (network.user(f"{who}-remembers@example.org", "10") for who in ("we", "they"))
    turns = [
        {"role": "system", "content": "You answer in one short sentence. " * 8},
        *QUESTION,
    ]

    def asked(key: str, **more: object) -> tuple[str, int]:
        with openai.OpenAI(base_url=network.openai_url, api_key=key, max_retries=0) as client:
            answer = client.chat.completions.create(
                model=CHAT_MODEL, messages=turns, max_tokens=12, temperature=0, extra_body=more
            )
        usage = answer.usage
        assert usage is not None and usage.prompt_tokens_details is not None
        cached = usage.prompt_tokens_details.cached_tokens
        assert cached is not None and cached < usage.prompt_tokens
        return answer.choices[0].message.content or "", cached

    first, before = asked(ours)
    turns += [
        {"role": "assistant", "content": first},
        {"role": "user", "content": "And of Italy?"},
    ]
    second, kept = asked(ours)
    strangers, guessed = asked(theirs)
    unkept, declined = asked(ours, cache_prompt=False)

    assert before == 0 and kept > 50
    assert (guessed, declined) == (0, 0)
    assert second == strangers == unkept
