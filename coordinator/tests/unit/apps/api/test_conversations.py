"""Conversations over the API: kept whatever happens to the page, asked once, charged as any chat, one's own alone."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from archipelag_contracts.ids import JobId
from archipelag_coordinator.domain import conversation as noun
from archipelag_coordinator.domain.attempt import Cause, Usage
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.errors import Conflict
from archipelag_coordinator.services import conversations, converse
from archipelag_coordinator.testing.builders import an_id

from .conftest import Api

TALK = "/conversations"


async def begun(http: httpx.AsyncClient, **body: Any) -> str:
    made = await http.post(TALK, json={"model": "small-model"} | body)
    assert made.status_code == 201, made.text
    return str(made.json()["data"]["id"])


async def asked(http: httpx.AsyncClient, talk: str, text: str, **body: Any) -> dict[str, Any]:
    answer = await http.post(f"{TALK}/{talk}/messages", json={"content": text} | body)
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()["data"]
    return told


async def read(http: httpx.AsyncClient, talk: str) -> dict[str, Any]:
    answer = await http.get(f"{TALK}/{talk}")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()["data"]
    return told


def texts(told: dict[str, Any]) -> list[str]:
    return [message["content"] for message in told["messages"]]


def prompt(job: Job) -> list[str]:
    return [message["content"] for message in json.loads(job.input)["messages"]]


async def test_a_question_is_answered_though_nobody_reads_and_its_answer_is_kept(api: Api) -> None:
    before = await api.scene.balance()
    async with api.client() as http:
        talk = await begun(http)
        told = await asked(http, talk, "How do corals grow?")
        waiting = await read(http, talk)
        api.scene.clock.advance(2)
        job = await api.answer("Slow", "ly.")
        answered = await read(http, talk)

    assert told["answer"]["job_id"] == job.id and told["answer"]["status"] == "writing"
    assert job.goes_on_unread and job.interactive
    assert [m["status"] for m in waiting["messages"]] == ["done", "writing"]
    assert waiting["messages"][1]["figures"] is None
    assert answered["title"] == "How do corals grow?"
    assert texts(answered) == ["How do corals grow?", "Slowly."]
    figures = answered["messages"][1]["figures"]
    assert figures["island"] == "reef" and figures["credits_used"] == "0.0003"
    assert (figures["tokens"], figures["attempts"], figures["finish_reason"]) == (2, 1, "stop")
    assert figures["first_token_ms"] == 2000
    assert before - await api.scene.balance() == 5 * 20 + 2 * 100


async def test_what_was_said_goes_along_and_the_parameters_too(api: Api) -> None:
    async with api.client() as http:
        talk = await begun(http, parameters={"system_prompt": "Be brief.", "temperature": 0.5})
        await asked(http, talk, "first")
        await api.answer("one")
        await asked(http, talk, "second", parameters={"seed": 11, "max_tokens": 5})
        job = await api.assigned(2)
        kept = (await read(http, talk))["parameters"]

    assert prompt(job) == ["first", "one", "second"]
    given = json.loads(job.input)
    assert (given["seed"], given["max_tokens"]) == (11, 5) and "temperature" not in given
    assert kept == {"seed": 11, "max_tokens": 5}


async def test_a_double_click_asks_once(api: Api) -> None:
    async with api.client() as http:
        talk = await begun(http)
        url, key = f"{TALK}/{talk}/messages", {"Idempotency-Key": "click-1"}
        both = await asyncio.gather(
            *(http.post(url, json={"content": "hello"}, headers=key) for _ in range(2))
        )
        later = await http.post(url, json={"content": "hello"}, headers=key)
        other = await http.post(url, json={"content": "else"}, headers=key)

    assert [answer.status_code for answer in (*both, later)] == [201] * 3
    assert len({answer.json()["data"]["answer"]["job_id"] for answer in (*both, later)}) == 1
    assert other.status_code == 409
    assert other.json()["error"]["code"] == "idempotency_mismatch"
    assert await api.jobs() == 1


@pytest.mark.parametrize("act", ["messages/2/regenerate", "messages/1/edit"])
async def test_another_branch_is_begun_once_under_a_key(api: Api, act: str) -> None:
    body = {} if act.endswith("regenerate") else {"content": "else"}
    async with api.client() as http:
        talk = await begun(http)
        await asked(http, talk, "first")
        await api.answer("one")
        made = [
            await http.post(f"{TALK}/{talk}/{act}", json=body, headers={"Idempotency-Key": "k"})
            for _ in range(2)
        ]
        other = await http.post(
            f"{TALK}/{talk}/messages", json={"content": "third"}, headers={"Idempotency-Key": "k"}
        )

    assert [one.status_code for one in made] == [201, 201]
    assert len({one.json()["data"]["answer"]["job_id"] for one in made}) == 1
    assert other.json()["error"]["code"] == "idempotency_mismatch"
    assert await api.jobs() == 2


async def test_model_and_parameters_are_chosen_for_what_follows(api: Api) -> None:
    wanted = {"model": "llm-chat", "parameters": {"seed": 3, "system_prompt": "Be brief."}}
    async with api.client() as http:
        talk = (await http.post(TALK, json={})).json()["data"]["id"]
        nameless = await http.post(f"{TALK}/{talk}/messages", json={"content": "x"})
        changed = await http.patch(f"{TALK}/{talk}", json=wanted)
        wrong = await http.patch(f"{TALK}/{talk}", json={"parameters": {"seed": "x"}})
        await asked(http, talk, "first")
        job = await api.assigned()
        nothing = (await http.get(TALK, params={"search": " -!- "})).json()["meta"]["total"]

    assert list(nameless.json()["errors"]) == ["model"]
    assert changed.json()["data"]["parameters"] == wanted["parameters"]
    assert changed.json()["data"]["model"] == "llm-chat"
    assert list(wrong.json()["errors"]) == ["parameters.seed"]
    assert prompt(job) == ["Be brief.", "first"] and json.loads(job.input)["seed"] == 3
    assert nothing == 0


async def test_a_conversation_is_begun_once_under_a_key(api: Api) -> None:
    async with api.client() as http:
        key = {"Idempotency-Key": "begin-1"}
        made = [await http.post(TALK, json={}, headers=key) for _ in range(2)]
        total = (await http.get(TALK)).json()["meta"]["total"]

    assert len({one.json()["data"]["id"] for one in made}) == 1 and total == 1


async def test_who_died_between_question_and_job_is_joined_by_asking_again(api: Api) -> None:
    wish = converse.Wish(content="hello", key="k")
    async with api.client() as http:
        talk = noun.conversation_id(await begun(http))
        await converse.say(api.scene.world, api.scene.user.id, talk, wish)
        url, key = f"{TALK}/{talk}/messages", {"Idempotency-Key": "k"}
        again = await http.post(url, json={"content": "hello"}, headers=key)

    assert again.status_code == 201 and again.json()["data"]["answer"]["number"] == 2
    assert await api.jobs() == 1


async def test_a_question_that_never_got_a_job_says_so_after_a_while(api: Api) -> None:
    async with api.client() as http:
        talk = noun.conversation_id(await begun(http))
        await converse.say(api.scene.world, api.scene.user.id, talk, converse.Wish(content="hello"))
        early = await read(http, talk)
        api.scene.clock.advance(noun.UNSENT_S + 1)
        late = await read(http, talk)
        await asked(http, talk, "again")

    assert early["messages"][1]["status"] == "writing"
    assert late["messages"][1]["status"] == "failed"
    assert "not sent on" in late["messages"][1]["error"]


async def test_another_question_waits_for_the_answer(api: Api) -> None:
    async with api.client() as http:
        talk = await begun(http)
        await asked(http, talk, "first")
        early = await http.post(f"{TALK}/{talk}/messages", json={"content": "second"})
        await api.answer("one")
        await asked(http, talk, "second")

    assert early.status_code == 409 and "still being written" in early.json()["error"]["message"]


async def test_regenerate_and_edit_make_branches_and_the_newest_is_shown(api: Api) -> None:
    async with api.client() as http:
        talk = await begun(http)
        await asked(http, talk, "first")
        await api.answer("one")
        again = await http.post(f"{TALK}/{talk}/messages/2/regenerate")
        await api.assigned(2)
        job = await api.answer("uno")
        after_again = await read(http, talk)
        edited = await http.post(f"{TALK}/{talk}/messages/1/edit", json={"content": "First!"})
        await api.assigned(3)
        await api.answer("eins")
        after_edit = await read(http, talk)
        whole = (await http.get(f"{TALK}/{talk}/export")).json()["data"]

    assert again.status_code == edited.status_code == 201
    assert prompt(job) == ["first"]
    assert texts(after_again) == ["first", "uno"]
    assert after_again["messages"][1]["versions"] == [2, 3]
    assert texts(after_edit) == ["First!", "eins"]
    assert after_edit["messages"][0]["versions"] == [1, 4]
    assert texts(whole) == ["first", "one", "uno", "First!", "eins"]


async def test_an_answer_cannot_be_edited_nor_a_message_that_is_not_there(api: Api) -> None:
    async with api.client() as http:
        talk = await begun(http)
        await asked(http, talk, "first")
        url = f"{TALK}/{talk}/messages"
        answer = await http.post(f"{url}/2/edit", json={"content": "x"})
        missing = [
            (await http.post(f"{url}/{number}/regenerate", json={})).status_code
            for number in ("0", "3", "-1", "x", "9" * 30, "²")
        ]

    assert answer.status_code == 422 and missing == [404] * 6
    assert await api.jobs() == 1


async def test_a_stopped_answer_is_kept_as_far_as_it_was_delivered(api: Api) -> None:
    async with api.client() as http:
        talk = await begun(http)
        told = await asked(http, talk, "first")
        job = await api.assigned()
        api.scene.stream(job, "Sto", "p")
        await http.delete(f"/jobs/{told['answer']['job_id']}")
        kept = await read(http, talk)
        await asked(http, talk, "second")
        job = await api.assigned(2)

    assert kept["messages"][1]["status"] == "cancelled"
    assert texts(kept)[1] == "Stop"
    assert prompt(job) == ["first", "Stop", "second"]


async def test_a_failed_answer_says_why_and_is_left_out_of_what_follows(api: Api) -> None:
    async with api.client() as http:
        talk = await begun(http)
        await asked(http, talk, "first")
        await api.fail(Cause.CARGO_FAILED, "it broke <b>")
        kept = await read(http, talk)
        await asked(http, talk, "second")
        job = await api.assigned(2)

    assert kept["messages"][1]["status"] == "failed"
    assert kept["messages"][1]["error"] == "it broke <b>"
    assert kept["messages"][1]["figures"]["credits_used"] == "0"
    assert prompt(job) == ["second"]


@pytest.mark.parametrize("act", ["messages", "messages/2/regenerate", "messages/1/edit"])
async def test_too_little_credit_is_402_and_nothing_was_asked(api: Api, act: str) -> None:
    poor = await api.another_key(budget=10)
    async with api.client() as http:
        talk = await begun(http)
        await asked(http, talk, "first")
        await api.answer("one")
        before = await read(http, talk)
    async with api.client(poor) as http:
        body = {} if act.endswith("regenerate") else {"content": "second"}
        refused = await http.post(f"{TALK}/{talk}/{act}", json=body)
    async with api.client() as http:
        after = await read(http, talk)
        told = await asked(http, talk, "third")

    error = refused.json()["error"]
    assert refused.status_code == 402 and error["code"] == "budget_exceeded"
    assert error["required"] and error["available"] == "0.00001"
    assert texts(after) == texts(before) and after["title"] == before["title"]
    assert told["message"]["number"] == 3


async def test_a_first_question_that_was_refused_leaves_no_name(api: Api) -> None:
    poor = await api.another_key(budget=10)
    async with api.client(poor) as http:
        talk = await begun(http)
        refused = await http.post(f"{TALK}/{talk}/messages", json={"content": "secret"})
        after = await read(http, talk)

    assert refused.status_code == 402
    assert (after["title"], after["messages"]) == ("", [])


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "content"),
        ({"content": " "}, 422, "content"),
        ({"content": ["x"]}, 422, "content"),
        ({"content": "x", "model": 7}, 422, "model"),
        ({"content": "x", "model": "none"}, 404, None),
        ({"content": "x", "parameters": {"temperature": "hot"}}, 422, "parameters.temperature"),
        ({"content": "x", "parameters": {"tools": []}}, 422, "parameters.tools"),
        ({"content": "x", "role": "system"}, 422, "role"),
        ({"content": "x" * 40_000}, 422, "content"),
    ],
)
async def test_bad_questions_are_refused_by_name_and_leave_no_trace(
    api: Api, body: dict[str, Any], status: int, field: str | None
) -> None:
    async with api.client() as http:
        talk = await begun(http)
        refused = await http.post(f"{TALK}/{talk}/messages", json=body)
        after = await read(http, talk)

    assert refused.status_code == status
    assert field is None or list(refused.json()["errors"]) == [field]
    assert after["messages"] == [] and await api.jobs() == 0


async def test_a_model_that_does_not_chat_is_none(api: Api) -> None:
    cargo = replace(api.scene.cargo, manifest=replace(api.scene.cargo.manifest, kind="embeddings"))
    api.scene.world.catalogue.load([cargo])
    async with api.client() as http:
        talk = await begun(http)
        refused = await http.post(f"{TALK}/{talk}/messages", json={"content": "x"})

    assert refused.status_code == 404 and "chat model" in refused.json()["error"]["message"]


async def test_listed_newest_first_found_by_words_renamed_and_deleted(api: Api) -> None:
    async with api.client() as http:
        first = await begun(http, title="On corals")
        api.scene.clock.advance(1)
        second = await begun(http)
        await asked(http, second, "What of the tides?")
        await api.answer("Monsoon.")
        await read(http, second)
        listed = [one["id"] for one in (await http.get(TALK)).json()["data"]]
        found = {}
        for word in ("corals", "tid", "monsoon", "nothing", "'; DROP", "tid' | 'corals"):
            answer = await http.get(TALK, params={"search": word})
            found[word] = [one["id"] for one in answer.json()["data"]]
        renamed = await http.patch(f"{TALK}/{first}", json={"title": "On reefs"})
        gone = await http.delete(f"{TALK}/{first}")
        after = await http.get(f"{TALK}/{first}")

    assert listed == [second, first]
    assert found["corals"] == [first] and found["tid"] == found["monsoon"] == [second]
    assert found["nothing"] == found["'; DROP"] == found["tid' | 'corals"] == []
    assert renamed.json()["data"]["title"] == "On reefs"
    assert gone.json()["data"] == {"id": first, "deleted": True} and after.status_code == 404


async def test_an_answer_that_nobody_came_back_for_is_kept_and_found(api: Api) -> None:
    async with api.client() as http:
        talk = await begun(http)
        await asked(http, talk, "first")
        await api.answer("Monsoon.")
        before = (await http.get(TALK, params={"search": "monsoon"})).json()["meta"]["total"]
        kept = await conversations.keep_answers(api.scene.world, 10)
        after = (await http.get(TALK, params={"search": "monsoon"})).json()["meta"]["total"]

    assert (before, kept, after) == (0, 1, 1)
    assert await conversations.keep_answers(api.scene.world, 10) == 0


async def test_an_answer_whose_job_is_gone_says_so(api: Api) -> None:
    async with api.client() as http:
        talk = await begun(http)
        told = await asked(http, talk, "first")
        api.scene.store._state.jobs.remove(told["answer"]["job_id"])
        kept = await read(http, talk)

    assert kept["messages"][1]["status"] == "failed"
    assert "not known any more" in kept["messages"][1]["error"]


async def test_what_only_the_coordinator_knew_is_left_open_when_it_is_gone(api: Api) -> None:
    async with api.client() as http:
        talk = await begun(http)
        await asked(http, talk, "first")
        usage = Usage(prompt_tokens=5, output_items=3, wall_ms=500)
        job = await api.answer("a", "b", "c", usage=usage)
        api.scene.world.answers.drop(job.id)
        figures = (await read(http, talk))["messages"][1]["figures"]

    assert figures["first_token_ms"] is None and figures["tokens_per_s"] == 4.0
    assert figures["island"] == "reef"


async def test_a_question_that_was_taken_back_gets_no_job(api: Api) -> None:
    world, owner = api.scene.world, api.scene.user.id
    async with api.client() as http:
        talk = noun.conversation_id(await begun(http))
    asking = await converse.say(world, owner, talk, converse.Wish(content="hello"))
    await converse.take_back(world, asking)
    await converse.take_back(world, asking)

    with pytest.raises(Conflict, match="taken back"):
        await converse.send(world, asking, JobId(an_id("job")))


async def test_deleting_stops_the_answer_that_is_being_written(api: Api) -> None:
    async with api.client() as http:
        talk = await begun(http)
        told = await asked(http, talk, "first")
        await api.assigned()
        await http.delete(f"{TALK}/{talk}")
        job = (await http.get(f"/jobs/{told['answer']['job_id']}")).json()["data"]

    assert job["status"] == "cancelled"


async def test_one_too_many_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "CONVERSATIONS_MAX", 1)
    async with api.client() as http:
        await begun(http)
        refused = await http.post(TALK, json={})

    assert refused.status_code == 413
    assert refused.json()["error"]["code"] == "storage_exceeded"


async def test_as_markdown_it_is_a_file_to_keep(api: Api) -> None:
    async with api.client() as http:
        talk = await begun(http)
        await asked(http, talk, "first")
        await api.answer("**one**")
        answer = await http.get(f"{TALK}/{talk}/export?format=markdown")
        odd = await http.get(f"{TALK}/{talk}/export?format=html")

    assert answer.headers["content-type"].startswith("text/markdown")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.text == "# first\n\n## You\n\nfirst\n\n## small-model\n\n**one**\n"
    assert odd.status_code == 422


async def test_the_stream_of_the_answer_goes_on_after_what_was_read(api: Api) -> None:
    async with api.client() as http:
        talk = await begun(http)
        told = await asked(http, talk, "first")
        await api.answer("a", "b", "c")
        stream = await http.get(
            f"/jobs/{told['answer']['job_id']}/stream", headers={"Last-Event-ID": "2"}
        )

    tokens = [line for line in stream.text.split("\n") if '"token"' in line]
    assert tokens == ['data: {"type":"token","content":"c"}']
