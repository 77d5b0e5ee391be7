"""What every store must do with conversations; part of `CheckStore`."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from archipelag_contracts.ids import JobId, UserId
from archipelag_contracts.units import ZERO, Ucredits

from archipelag_coordinator.domain.conversation import (
    Conversation,
    ConversationId,
    Figures,
    Message,
    MessageStatus,
    Said,
)
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.errors import Conflict, StorageExceeded
from archipelag_coordinator.services.ports import Store, Tx
from archipelag_coordinator.testing.builders import a_customer, a_job, a_stored_cargo, an_id
from archipelag_coordinator.testing.fakes import START

MANY = 100


def a_conversation(owner: UserId, **changes: Any) -> Conversation:
    sane: dict[str, Any] = {
        "id": ConversationId(an_id("cnv")),
        "owner_id": owner,
        "created_at": START,
        "updated_at": START,
        "title": "On islands",
        "model": "small-model",
        "parameters": {"temperature": 0.5, "system_prompt": "Be brief."},
    }
    return Conversation(**sane | changes)


def a_message(conversation: Conversation, number: int, **changes: Any) -> Message:
    sane: dict[str, Any] = {
        "conversation_id": conversation.id,
        "number": number,
        "parent": number - 1,
        "said": Said.USER if number % 2 else Said.ASSISTANT,
        "text": f"message {number}",
        "status": MessageStatus.DONE,
        "created_at": START,
    }
    return Message(**sane | changes)


def an_answer(conversation: Conversation, number: int = 2, **changes: Any) -> Message:
    """Still being written."""
    return a_message(
        conversation,
        number,
        **{"status": MessageStatus.WRITING, "text": "", "model": "m"} | changes,
    )


async def a_stored(tx: Tx, owner: UserId, *messages: str, **changes: Any) -> Conversation:
    conversation = await tx.conversations.add(a_conversation(owner, **changes), most=MANY)
    await tx.conversations.say(
        [a_message(conversation, n, text=text) for n, text in enumerate(messages, 1)]
    )
    return conversation


class CheckConversations:
    async def test_a_conversation_is_its_owners_alone(self, store: Store) -> None:
        owner, other = [(await a_customer(store))[0] for _ in range(2)]
        async with store.begin() as tx:
            made = await a_stored(tx, owner.id, "hello")

            assert await tx.conversations.get(owner.id, made.id) == made
            assert await tx.conversations.lock(owner.id, made.id) == made
            assert await tx.conversations.get(other.id, made.id) is None
            assert await tx.conversations.lock(other.id, made.id) is None
            assert not await tx.conversations.remove(other.id, made.id)
            assert await tx.conversations.of_owner(other.id, limit=9, offset=0) == ([], 0)
            found = await tx.conversations.of_owner(other.id, limit=9, offset=0, words=["hello"])
            assert found == ([], 0)

    async def test_the_same_key_makes_one_conversation(self, store: Store) -> None:
        owner, other = [(await a_customer(store))[0] for _ in range(2)]
        async with store.begin() as tx:
            made = await a_stored(tx, owner.id, made_by="once")
            again = await tx.conversations.add(a_conversation(owner.id, made_by="once"), most=MANY)
            others = await tx.conversations.add(a_conversation(other.id, made_by="once"), most=MANY)

            assert again == made and others.id != made.id
            assert (await tx.conversations.of_owner(owner.id, limit=9, offset=0))[1] == 1

    async def test_one_too_many_is_refused_and_anothers_do_not_count(self, store: Store) -> None:
        owner, other = [(await a_customer(store))[0] for _ in range(2)]
        async with store.begin() as tx:
            for person in (owner, other):
                await tx.conversations.add(a_conversation(person.id), most=2)
            await tx.conversations.add(a_conversation(owner.id), most=2)
            with pytest.raises(StorageExceeded, match="2 conversations"):
                await tx.conversations.add(a_conversation(owner.id), most=2)

    async def test_the_newest_comes_first_in_pages(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        async with store.begin() as tx:
            made = [await a_stored(tx, owner.id, title=f"number {n}") for n in range(3)]
            touched = replace(made[0], updated_at=START + timedelta(seconds=1), messages=4)
            await tx.conversations.save(touched)

            first, total = await tx.conversations.of_owner(owner.id, limit=2, offset=0)
            rest, _ = await tx.conversations.of_owner(owner.id, limit=2, offset=2)

        assert total == 3 and first == [touched, made[2]] and rest == [made[1]]

    @pytest.mark.parametrize(
        ("words", "found"),
        [
            (["coral"], {"reef"}),
            (["cor"], {"reef"}),
            (["CORAL", "grow"], {"reef"}),
            (["coral", "monsoon"], set()),
            (["tides"], {"sea"}),
            (["größe"], {"sea"}),
            (["島"], {"sea"}),
            (["oral"], set()),
            (["' | 'a"], set()),
        ],
    )
    async def test_it_is_found_by_words_that_begin_so(
        self, store: Store, words: list[str], found: set[str]
    ) -> None:
        owner, _, _ = await a_customer(store)
        async with store.begin() as tx:
            await a_stored(tx, owner.id, "How do corals grow?", "Slowly.", title="reef")
            await a_stored(tx, owner.id, "Die Größe der Inseln", "島 is island", title="sea tides")

            hits, total = await tx.conversations.of_owner(owner.id, limit=9, offset=0, words=words)

        assert {c.title.split()[0] for c in hits} == found and total == len(found)

    async def test_messages_come_back_as_they_were_said(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        async with store.begin() as tx:
            conversation = await a_stored(tx, owner.id)
            figures = Figures("reef", 120, 7, 31.5, Ucredits(700), 2, "stop")
            said = [
                a_message(conversation, 1, text="<b>&\n" + "x" * 40_000, idempotency_key="k"),
                an_answer(conversation, 2),
                a_message(conversation, 4, parent=0, figures=figures, error="why"),
            ]
            await tx.conversations.say(said)

            assert await tx.conversations.messages(conversation.id) == said

    async def test_a_number_is_given_once(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        async with store.begin() as tx:
            conversation = await a_stored(tx, owner.id, "one")
            with pytest.raises(Conflict, match="message 1"):
                await tx.conversations.say([a_message(conversation, 1, text="two")])

            kept = await tx.conversations.messages(conversation.id)
            assert [m.text for m in kept] == ["one"]

    async def test_an_answer_has_one_job_and_one_end(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        async with store.begin() as tx:
            conversation = await a_stored(tx, owner.id, "one")
            answer = an_answer(conversation)
            await tx.conversations.say([answer])
            first, second = JobId(an_id("job")), JobId(an_id("job"))

            assert await tx.conversations.send(answer, first)
            assert not await tx.conversations.send(answer, second)
            ended = answer.settle(MessageStatus.DONE, "Hello", Figures(tokens=1))
            assert await tx.conversations.settle(ended)
            late = answer.settle(MessageStatus.FAILED, "", Figures(), "late")
            assert not await tx.conversations.settle(late)

            assert (await tx.conversations.messages(conversation.id))[1] == replace(
                ended, job_id=first
            )

    async def test_an_answer_whose_job_has_ended_is_unsettled_until_it_is_kept(
        self, store: Store
    ) -> None:
        user, key, _ = await a_customer(store)
        cargo = await a_stored_cargo(store)
        async with store.begin() as tx:
            talks = [await a_stored(tx, user.id, "one") for _ in range(3)]
            ended = a_job(user, key=key, cargo=cargo, status=JobStatus.FAILED, reserved=ZERO)
            runs = a_job(user, key=key, cargo=cargo, reserved=ZERO)
            for job in (ended, runs):
                await tx.jobs.add(job)
            for talk in talks:
                await tx.conversations.say([an_answer(talk)])
            await tx.conversations.send(an_answer(talks[0]), ended.id)
            await tx.conversations.send(an_answer(talks[1]), runs.id)

            assert await tx.conversations.unsettled(9) == [(user.id, talks[0].id)]
            failed = an_answer(talks[0]).settle(MessageStatus.FAILED, "", Figures())
            await tx.conversations.settle(failed)
            assert await tx.conversations.unsettled(9) == []

    async def test_what_was_not_sent_can_be_taken_back_whole(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        async with store.begin() as tx:
            conversation = await a_stored(tx, owner.id, "one")
            await tx.conversations.say([an_answer(conversation)])
            assert await tx.conversations.take_back(conversation.id, [1, 2]) == 2
            assert await tx.conversations.messages(conversation.id) == []

            await tx.conversations.say([a_message(conversation, 1), an_answer(conversation)])
            await tx.conversations.send(an_answer(conversation), JobId(an_id("job")))
            assert await tx.conversations.take_back(conversation.id, [1, 2]) == 0
            assert len(await tx.conversations.messages(conversation.id)) == 2

    async def test_deleting_takes_the_messages_along(self, store: Store) -> None:
        owner, _, _ = await a_customer(store)
        async with store.begin() as tx:
            gone, stays = [await a_stored(tx, owner.id, "coral") for _ in range(2)]
            assert await tx.conversations.remove(owner.id, gone.id)

            assert await tx.conversations.messages(gone.id) == []
            assert await tx.conversations.get(owner.id, gone.id) is None
            assert len(await tx.conversations.messages(stays.id)) == 1
            found = await tx.conversations.of_owner(owner.id, limit=9, offset=0, words=["coral"])
            assert found == ([stays], 1)
