"""OpenAI's own client for Python: its classes for what goes wrong, its retries, and options of its streams."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Any

import openai
import pytest
from archipelag_contracts.pb.archipelag.v1 import common_pb2 as common
from archipelag_contracts.pb.archipelag.v1 import job_pb2 as pb
from archipelag_embedded.fixtures import PATIENCE_S

from tests.acceptance.conftest import CHAT_MODEL, Network, assignment_key, second_coordinator
from tests.acceptance.raw_island import RawIsland

HELLO: list[Any] = [{"role": "user", "content": "Hi"}]
TOOL: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
IMAGE: Any = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}

Ask = Callable[[openai.OpenAI], Any]


def chat(**changes: Any) -> Ask:
    asked = {"model": CHAT_MODEL, "messages": HELLO, "max_tokens": 2, **changes}
    return lambda client: client.chat.completions.create(**asked)


WRONG: dict[str, tuple[Ask, type[openai.APIStatusError], int, str, str | None]] = {
    "tools": (chat(tools=[TOOL]), openai.BadRequestError, 400, "unsupported", "tools"),
    "several choices": (chat(n=2), openai.BadRequestError, 400, "unsupported", "n"),
    "JSON only": (
        chat(response_format={"type": "json_object"}),
        openai.BadRequestError,
        400,
        "unsupported",
        "response_format",
    ),
    "a picture to look at": (
        chat(messages=[{"role": "user", "content": [IMAGE]}]),
        openai.BadRequestError,
        400,
        "unsupported",
        "messages.0.content",
    ),
    "unknown model": (chat(model="gpt-17"), openai.NotFoundError, 404, "not_found", "workload"),
    "too hot": (
        chat(temperature=9),
        openai.UnprocessableEntityError,
        422,
        "invalid_input",
        "temperature",
    ),
    "no messages": (
        chat(messages=[]),
        openai.UnprocessableEntityError,
        422,
        "invalid_input",
        "messages",
    ),
    "unknown file": (
        lambda client: client.files.retrieve("file_none"),
        openai.NotFoundError,
        404,
        "not_found",
        None,
    ),
    "no such model to read": (
        lambda client: client.models.retrieve("gpt-17"),
        openai.NotFoundError,
        404,
        "not_found",
        None,
    ),
    "embeddings of tokens": (
        lambda client: client.embeddings.create(model="all-minilm-l6-v2", input=[[1, 2]]),
        openai.BadRequestError,
        400,
        "unsupported",
        "input",
    ),
}


@pytest.fixture(scope="module")
def client(network: Network) -> Iterator[openai.OpenAI]:
    key = network.user("errors@example.org", "10", rate=1000)
    with openai.OpenAI(base_url=network.openai_url, api_key=key, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_has_the_class_that_the_client_knows_it_by(
    client: openai.OpenAI, what: str
) -> None:
    ask, kind, status, code, param = WRONG[what]

    with pytest.raises(openai.APIStatusError) as caught:
        ask(client)

    error = caught.value
    assert (type(error), error.status_code, error.code) == (kind, status, code)
    assert param is None or error.param == param
    assert error.message and error.request_id


def test_keys_that_do_not_hold_or_cannot_pay(network: Network) -> None:
    poor = network.user("poor-client@example.org", "0")
    hasty = network.user("hasty-client@example.org", "1", rate=1)
    with network.http(network.user("reader@example.org", "1")) as http:
        made = http.post("/api-keys", json={"name": "reads", "scopes": ["read"]})
        reading = made.json()["key"]

    def failed(key: str) -> openai.APIStatusError:
        client = openai.OpenAI(base_url=network.openai_url, api_key=key, max_retries=0)
        with client, pytest.raises(openai.APIStatusError) as caught:
            chat()(client)
        return caught.value

    wrong, broke, forbidden = failed("ak_wrong"), failed(poor), failed(reading)
    with network.http(hasty) as http:
        while http.get("/account").status_code != 429:
            pass
    limited = failed(hasty)

    assert (type(wrong), wrong.code) == (openai.AuthenticationError, "invalid_api_key")
    # The client has no class of its own for 402.
    assert (broke.status_code, broke.code) == (402, "insufficient_credits")
    assert isinstance(broke.body, dict)
    assert Decimal(broke.body["required"]) > Decimal(broke.body["available"]) == 0
    assert (type(forbidden), forbidden.code) == (openai.PermissionDeniedError, "not_permitted")
    assert (type(limited), limited.code) == (openai.RateLimitError, "rate_limited")
    assert int(limited.response.headers["retry-after"]) > 0


def test_nobody_who_can_take_it_is_a_503_with_the_reasons(
    network: Network, trap: tuple[str, str], client: openai.OpenAI
) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="trap-model", messages=HELLO)

    error = caught.value
    assert (error.status_code, error.code) == (503, "no_capacity")
    assert isinstance(error.body, dict) and error.body["reasons"]
    assert int(error.response.headers["retry-after"]) > 0


@pytest.mark.real_model
def test_usage_comes_last_where_it_is_asked_for_and_only_there(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": CHAT_MODEL, "messages": HELLO, "max_tokens": 4}
    plain = list(client.chat.completions.create(**asked, stream=True))
    options: Any = {"include_usage": True}
    told = list(client.chat.completions.create(**asked, stream=True, stream_options=options))

    assert all(chunk.usage is None and len(chunk.choices) == 1 for chunk in plain)
    assert told[-1].choices == [] and told[-1].usage is not None
    assert all(chunk.usage is None for chunk in told[:-1])


@pytest.mark.real_model
def test_what_changes_nothing_is_taken_note_of(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=CHAT_MODEL,
        messages=[{"role": "user", "content": "Hi", "name": "somebody"}],
        max_completion_tokens=2,
        user="somebody",
        metadata={"trace": "1"},
        store=False,
        service_tier="auto",
        reasoning_effort="low",
        parallel_tool_calls=False,
        tool_choice="none",
        safety_identifier="somebody",
        prompt_cache_key="somebody",
        response_format={"type": "text"},
        modalities=["text"],
        logprobs=False,
        n=1,
    )

    assert answer.usage is not None and answer.usage.completion_tokens <= 2


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_the_retry_of_a_client_is_one_job_and_one_charge(
    network: Network, hostile: RawIsland, trap: tuple[str, str], streamed: bool
) -> None:
    await hostile.offer(assignment_key(network), *trap)
    key = await asyncio.to_thread(network.user, f"retries-{streamed}@example.org", "10")
    sent: asyncio.Queue[str] = asyncio.Queue()

    async def note(request: Any) -> None:
        await sent.put(request.headers["x-stainless-retry-count"])

    # A grace that outlives the client's wait before its retry, however busy this machine is.
    with second_coordinator(
        network, ARCHIPELAG_POLICY_READER_GRACE_S="30", ARCHIPELAG_POLICY_STREAM_SILENCE_S="30"
    ) as second:
        async with (
            openai.DefaultAsyncHttpxClient(event_hooks={"request": [note]}) as http,
            openai.AsyncOpenAI(
                base_url=f"{second.base}/v1",
                api_key=key,
                http_client=http,
                timeout=2,
                max_retries=5,
            ) as client,
        ):
            asking = asyncio.create_task(_text(client, streamed))
            first = await asyncio.wait_for(sent.get(), PATIENCE_S)
            assignment = await asyncio.wait_for(hostile.assignments.get(), PATIENCE_S)
            again = await asyncio.wait_for(sent.get(), PATIENCE_S)
            end = pb.End(cause=common.CAUSE_COMPLETED, finish_reason="stop", next=2)
            chunk = pb.Chunk(texts=["one ", "two"], prompt_tokens=2)
            await hostile.say(assignment, chunk)
            await hostile.say(assignment, pb.Chunk(first=2, end=end))
            report = hostile.report_on(assignment, ["one ", "two"], prompt_tokens=2)
            await hostile.report(report)
            text = await asyncio.wait_for(asking, PATIENCE_S)
        with network.http(key) as check:
            jobs = check.get("/jobs").json()["meta"]["total"]
            left = Decimal(str(check.get("/account").json()["data"]["credits"]))

    assert (first, again, text, jobs) == ("0", "1", "one two", 1)
    assert left == 10 - Decimal(2 * 20 + 2 * 100) / 1_000_000


async def _text(client: openai.AsyncOpenAI, streamed: bool) -> str:
    asked: dict[str, Any] = {"model": "trap-model", "messages": HELLO, "temperature": 0.9}
    if not streamed:
        answer: Awaitable[Any] = client.chat.completions.create(**asked)
        return str((await answer).choices[0].message.content)
    stream = await client.chat.completions.create(**asked, stream=True)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
