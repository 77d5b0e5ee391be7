"""A conversation on a whole network: its turns go to the Island that says it holds the last one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from archipelag_contracts.pb.archipelag.v1 import job_pb2 as pb
from archipelag_embedded.fixtures import PATIENCE_S

from .conftest import Network, address, assignment_key
from .raw_island import RawIsland

TURNS = 5


@pytest.fixture
async def pair(
    network: Network, hostile: RawIsland, trap: tuple[str, str]
) -> AsyncIterator[tuple[RawIsland, RawIsland]]:
    """Two alike, on which this Cargo is warm."""
    owner = network.user("second-host@example.org", "0")
    with network.http(owner) as http:
        code = http.post("/pairing-codes").json()["data"]["code"]
    second = await (await RawIsland.enrol(address(network), code, "second")).connect()
    try:
        for island in (hostile, second):
            await island.offer(assignment_key(network), *trap)
            await island.beat()
        yield hostile, second
    finally:
        await second.close()


async def test_a_conversation_goes_to_who_says_that_it_remembers_it(
    network: Network, pair: tuple[RawIsland, RawIsland]
) -> None:
    key = network.user("talker@example.org", "100")
    messages = [{"role": "user", "content": "Tell me of islands. " * 100}]
    seen: list[tuple[RawIsland, pb.Assignment, dict[str, Any]]] = []
    async with customer(network, key) as http:
        for turn in range(TURNS):
            seen.append(await ask(http, pair, messages, cached=turn))
            island, assignment, _ = seen[-1]
            for one in pair:
                one.prefixes = list(assignment.prefixes) if one is island else []
                await one.beat()
            messages += [{"role": "assistant", "content": "Yes."}]
            messages += [{"role": "user", "content": f"And {turn}?"}]
        *_, (island, last, answer) = seen
        why = (await http.get(f"/jobs/{last.job_id}")).json()["data"]["attempts"][0]["placement"]

    assert {id(one) for one, _, _ in seen} == {id(island)}
    assert {given.cache_salt for _, given, _ in seen} == {last.cache_salt}
    assert len(last.cache_salt) == 16 and len(last.prefixes) == 2 * TURNS - 1
    assert seen[0][1].prefixes == last.prefixes[:1]
    assert "tokens of this conversation" in why
    assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": TURNS - 1}


async def test_who_wants_nothing_kept_is_given_on_without_a_word_of_it(
    network: Network, pair: tuple[RawIsland, RawIsland]
) -> None:
    key = network.user("discreet@example.org", "100")
    messages = [{"role": "user", "content": "Tell me of islands."}]
    async with customer(network, key) as http:
        _, assignment, _ = await ask(http, pair, messages, cache_prompt=False)

    assert (assignment.cache_salt, list(assignment.prefixes)) == (b"", [])


def customer(network: Network, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=str(network.http(key).base_url),
        headers={"Authorization": f"Bearer {key}"},
        timeout=PATIENCE_S,
    )


async def ask(
    http: httpx.AsyncClient,
    pair: tuple[RawIsland, RawIsland],
    messages: list[dict[str, str]],
    cached: int = 0,
    **fields: Any,
) -> tuple[RawIsland, pb.Assignment, dict[str, Any]]:
    """Who was given it, what it was told, and what the customer was answered."""
    body = {"model": "trap-model", "messages": messages, **fields}
    asking = asyncio.create_task(http.post("/chat/completions", json=body))
    waiting = {asyncio.create_task(one.assignments.get()): one for one in pair}
    done, others = await asyncio.wait(
        waiting, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED
    )
    for other in others:
        other.cancel()
    (given,) = done
    island, assignment = waiting[given], given.result()
    chunk = pb.Chunk(prompt_tokens=100, cached_tokens=cached, texts=["Yes."])
    await island.say(assignment, chunk)
    await island.report(island.report_on(assignment, ["Yes."], prompt_tokens=100))
    answer = await asking
    assert answer.status_code == 200, answer.text
    return island, assignment, answer.json()
