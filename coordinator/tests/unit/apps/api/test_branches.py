"""Branches of a conversation over the API: each is read through one of its messages, and gone on with."""

from __future__ import annotations

import httpx
import pytest

from .conftest import Api
from .test_conversations import TALK, asked, begun, prompt, read, texts


async def test_any_branch_is_read_through_one_of_its_messages_and_gone_on_with(api: Api) -> None:
    async with api.client() as http:
        talk = await begun(http)
        await asked(http, talk, "First?")  # 1, answered by 2
        await api.answer("one")
        await asked(http, talk, "More?")  # 3, answered by 4
        await api.answer("two")
        again = await http.post(f"{TALK}/{talk}/messages/2/regenerate", json={})  # 5
        assert again.status_code == 201, again.text
        await api.answer("uno")

        async def through(number: object) -> httpx.Response:
            return await http.get(f"{TALK}/{talk}", params={"through": number})

        read_through = {n: texts((await through(n)).json()["data"]) for n in range(1, 6)}
        newest = texts(await read(http, talk))
        await asked(http, talk, "And then?", after=4)
        job = await api.answer("three")
        wrong = [(await through(n)).status_code for n in (6, 7, 8, 0, "x", 10**12)]

    old, new = ["First?", "one", "More?", "two"], ["First?", "uno"]
    assert newest == new
    assert read_through == {1: new, 2: old, 3: old, 4: old, 5: new}
    assert prompt(job) == [*old, "And then?"]
    assert wrong == [200, 200, 404, 422, 422, 422]


@pytest.mark.parametrize(
    ("after", "status"),
    [(1, 422), (0, 404), (99, 404), (-1, 404), ("2", 422), (True, 422), (2.5, 422), ([], 422)],
)
async def test_one_goes_on_after_an_answer_of_this_conversation(
    api: Api, after: object, status: int
) -> None:
    async with api.client() as http:
        talk = await begun(http)
        await asked(http, talk, "First?")
        await api.answer("one")

        body = {"content": "More?", "after": after}
        answer = await http.post(f"{TALK}/{talk}/messages", json=body)

        assert answer.status_code == status, answer.text
        assert texts(await read(http, talk)) == ["First?", "one"]


async def test_an_edit_takes_its_questions_place_and_says_after_nothing(api: Api) -> None:
    async with api.client() as http:
        talk = await begun(http)
        await asked(http, talk, "First?")
        await api.answer("one")

        body = {"content": "Second?", "after": 2}
        answer = await http.post(f"{TALK}/{talk}/messages/1/edit", json=body)

    assert answer.status_code == 422
