"""Asks within a conversation: the question is kept first, then the job is made from all that was said before it.

A door calls one of `say`, `edit` and `regenerate`, submits the request that it gets, and then `send`s or `take_back`s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from archipelag_contracts.ids import JobId, UserId

from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.context import request_of
from archipelag_coordinator.domain.conversation import (
    Conversation,
    ConversationId,
    Message,
    MessageStatus,
    Said,
    checked_model,
    checked_parameters,
    first_words,
    path_to,
    shown,
)
from archipelag_coordinator.errors import (
    Conflict,
    IdempotencyMismatch,
    InvalidInput,
    NotFound,
)
from archipelag_coordinator.services.kept import locked, messages_of
from archipelag_coordinator.services.ports import Tx
from archipelag_coordinator.services.world import World


@dataclass(frozen=True)
class Wish:
    """What is asked for: `content` is None where the same question is asked again; `key` tells a repeated request."""

    content: Any = None
    model: Any = None
    parameters: Any = None
    key: str | None = None
    after: Any = None
    """The number of the answer that is gone on with; None: the newest branch's."""


@dataclass(frozen=True)
class Asking:
    """A question and its awaited answer, both kept; `request` is the chat request that answers it."""

    conversation: Conversation
    question: Message
    answer: Message
    request: Mapping[str, Any]
    new: tuple[int, ...]
    """The numbers of the messages that stand for this request alone."""


async def say(world: World, owner: UserId, conversation_id: ConversationId, wish: Wish) -> Asking:
    """Goes on with the newest branch, or with the one that ends in `after`. Raises NotFound (the conversation, the
    model, that answer), InvalidInput, TooLarge, IdempotencyMismatch, and Conflict while that answer is being made."""
    async with world.store.begin() as tx:
        conversation, messages = await _standing(world, tx, owner, conversation_id)
        if before := _asked_before(messages, wish):
            return _again(world, conversation, messages, before, wish)
        path = shown(messages) if wish.after is None else _up_to(messages, wish.after)
        if path and path[-1].status is MessageStatus.WRITING:
            raise Conflict("the answer before is still being written: wait for it, or stop it")
        parent = path[-1].number if path else 0
        return await _ask(world, tx, conversation, messages, parent, wish)


async def edit(
    world: World, owner: UserId, conversation_id: ConversationId, number: int, wish: Wish
) -> Asking:
    """Asks something else in the place of question `number`: another branch. Raises as `say`."""
    async with world.store.begin() as tx:
        conversation, messages = await _standing(world, tx, owner, conversation_id)
        if before := _asked_before(messages, wish):
            return _again(world, conversation, messages, before, wish)
        replaced = _found(messages, number)
        if replaced.said is not Said.USER:
            raise InvalidInput({"number": ["is an answer: only a question can be edited"]})
        return await _ask(world, tx, conversation, messages, replaced.parent, wish)


async def regenerate(
    world: World, owner: UserId, conversation_id: ConversationId, number: int, wish: Wish
) -> Asking:
    """Another answer to the question that `number` is, or answers. Raises as `say`."""
    async with world.store.begin() as tx:
        conversation, messages = await _standing(world, tx, owner, conversation_id)
        if before := _asked_before(messages, wish):
            return _again(world, conversation, messages, before, wish)
        found = _found(messages, number)
        question = found if found.said is Said.USER else _found(messages, found.parent)
        conversation, cargo = _as_wished(world, conversation, wish)
        grown, answer = conversation.ask_again(question, world.clock.now(), wish.key)
        await tx.conversations.save(grown)
        await tx.conversations.say([answer])
        request = _request(world, cargo, grown, path_to(messages, question.number))
        return Asking(grown, question, answer, request, (answer.number,))


async def send(world: World, asking: Asking, job_id: JobId) -> Asking:
    """Notes that this job makes the answer. Raises Conflict where the question was taken back meanwhile."""
    async with world.store.begin() as tx:
        noted = await tx.conversations.send(asking.answer, job_id)
        if not noted:
            messages = await tx.conversations.messages(asking.conversation.id)
            standing = next((m for m in messages if m.number == asking.answer.number), None)
            if standing is None or standing.job_id != job_id:
                raise Conflict("this question was taken back meanwhile: ask again")
    return replace(asking, answer=asking.answer.sent(job_id))


async def take_back(world: World, asking: Asking) -> None:
    """The job was refused: as if nothing had been asked."""
    was = asking.conversation
    async with world.store.begin() as tx:
        conversation = await tx.conversations.lock(was.owner_id, was.id)
        gone = await tx.conversations.take_back(was.id, asking.new)
        if conversation is None or not gone:
            return
        if conversation.messages == asking.answer.number:
            conversation = replace(conversation, messages=conversation.messages - gone)
        if asking.question.number in asking.new:
            conversation = conversation.keep(-asking.question.size_bytes)
            if not conversation.messages and conversation.title == first_words(
                asking.question.text
            ):
                conversation = replace(conversation, title="")
        await tx.conversations.save(conversation)


async def _standing(
    world: World, tx: Tx, owner: UserId, conversation_id: ConversationId
) -> tuple[Conversation, list[Message]]:
    return await messages_of(world, tx, await locked(tx, owner, conversation_id))


async def _ask(
    world: World,
    tx: Tx,
    conversation: Conversation,
    messages: list[Message],
    parent: int,
    wish: Wish,
) -> Asking:
    conversation, cargo = _as_wished(world, conversation, wish)
    grown, question, answer = conversation.ask(wish.content, parent, world.clock.now(), wish.key)
    await tx.conversations.save(grown)
    await tx.conversations.say([question, answer])
    request = _request(world, cargo, grown, [*path_to(messages, parent), question])
    return Asking(grown, question, answer, request, (question.number, answer.number))


def _as_wished(world: World, conversation: Conversation, wish: Wish) -> tuple[Conversation, Cargo]:
    """With the model and the parameters that it goes on with from now on."""
    if wish.model is not None:
        conversation = replace(conversation, model=checked_model(wish.model))
    if wish.parameters is not None:
        conversation = replace(conversation, parameters=checked_parameters(wish.parameters))
    if not conversation.model:
        raise InvalidInput({"model": ["is required: the name of a chat model, see /api/v1/models"]})
    return conversation, _chat_cargo(world, conversation.model)


def _chat_cargo(world: World, model: str) -> Cargo:
    cargo = world.catalogue.find(model)
    if cargo.manifest.kind != "chat":
        raise NotFound("chat model", model)
    return cargo


def _request(
    world: World, cargo: Cargo, conversation: Conversation, path: list[Message]
) -> dict[str, Any]:
    manifest = cargo.manifest
    context = manifest.model.context_tokens if manifest.model else 2048
    wanted = conversation.parameters.get("max_tokens") or world.policy.output_items_default
    return request_of(
        path,
        conversation.parameters,
        context_tokens=context,
        answer_tokens=min(wanted, manifest.limits.output_items_max, context // 2),
    )


def _asked_before(messages: list[Message], wish: Wish) -> Message | None:
    """The message that this very request made, when it came before."""
    if wish.key is None:
        return None
    return next((m for m in messages if m.idempotency_key == wish.key), None)


def _again(
    world: World,
    conversation: Conversation,
    messages: list[Message],
    before: Message,
    wish: Wish,
) -> Asking:
    if before.said is Said.USER:
        question, answer = before, _found(messages, before.number + 1)
        new: tuple[int, ...] = (question.number, answer.number)
    else:
        question, answer = _found(messages, before.parent), before
        new = (answer.number,)
    if wish.content != (question.text if before.said is Said.USER else None):
        raise IdempotencyMismatch(
            "this Idempotency-Key was used for another question; use a new key for a new one"
        )
    path = path_to(messages, question.number)
    request = _request(world, _chat_cargo(world, conversation.model), conversation, path)
    return Asking(conversation, question, answer, request, new)


def _up_to(messages: list[Message], number: Any) -> list[Message]:
    if isinstance(number, bool) or not isinstance(number, int):
        raise InvalidInput({"after": ["must be the number of an answer"]})
    found = _found(messages, number)
    if found.said is not Said.ASSISTANT:
        raise InvalidInput({"after": ["is a question: one goes on after an answer"]})
    return path_to(messages, number)


def _found(messages: list[Message], number: int) -> Message:
    found = next((m for m in messages if m.number == number), None)
    if found is None:
        raise NotFound("message", str(number))
    return found
