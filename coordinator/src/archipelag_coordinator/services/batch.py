"""Takes many inputs as one batch, shows how far it is, merges what came of it, and cancels it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from archipelag_contracts.ids import BatchId, JobId, UserId

from archipelag_coordinator.domain.batch import (
    INPUTS_MAX,
    PARALLELISM_DEFAULT,
    PARALLELISM_MAX,
    Batch,
    BatchStatus,
    FailMode,
    Member,
    MemberStatus,
    Merge,
)
from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.chat import ChatInput
from archipelag_coordinator.domain.ledger import user_account
from archipelag_coordinator.domain.user import ApiKey, Scope, User
from archipelag_coordinator.errors import (
    IdempotencyMismatch,
    InsufficientCredits,
    InvalidInput,
    NotFound,
    TooLarge,
    TooManyBatches,
    Unsupported,
)
from archipelag_coordinator.services.asked import Submission, price_at_most, read_input
from archipelag_coordinator.services.ports import Tx
from archipelag_coordinator.services.world import World

BATCHES_OPEN_MAX: Final = 100
"""Of one user."""
ERRORS_MAX: Final = 20
"""Fields that one refusal names."""
OUTPUT_BYTES_MAX: Final = 8 << 20
"""Of a merged output; what is larger is read job by job."""
DEPTH_MAX: Final = 64
"""Of JSON in a merged output."""
CANCELLED: Final = "the batch was cancelled by the customer"


@dataclass(frozen=True)
class BatchWanted:
    """A request as a door hands it over; the shapes of its fields are checked, their bounds are not."""

    user: User
    key: ApiKey
    workload: str
    inputs: Sequence[Mapping[str, Any]]
    merge: Merge = Merge.CONCAT
    fail_mode: FailMode = FailMode.BEST_EFFORT
    max_parallelism: int = PARALLELISM_DEFAULT
    priority: int = 0
    idempotency_key: str | None = None
    request_hash: bytes = b""


@dataclass(frozen=True)
class BatchView:
    """`output` is merged once the batch has ended; None before, and where it would be too large."""

    batch: Batch
    members: tuple[Member, ...]
    output: str | list[Any] | None = None
    output_omitted: bool = False


async def submit_batch(world: World, wanted: BatchWanted) -> BatchView:
    """Everything is checked now, and each input becomes a job when its turn comes.

    Raises NotPermitted, NotFound (the workload), InvalidInput and Unsupported (naming the input), TooLarge,
    InsufficientCredits where not even the cheapest job can be paid, IdempotencyMismatch, TooManyBatches.
    """
    wanted.key.check_scope(Scope.WRITE)
    _check_bounds(wanted)
    cargo = world.catalogue.find(wanted.workload)
    read = _read_all(world, cargo, wanted)
    now = world.clock.now()
    batch = _batch(world, wanted, cargo, now)
    members = [
        Member(batch.id, number, world.ids.job(now), _encoded(one))
        for number, one in enumerate(wanted.inputs)
    ]
    async with world.store.begin() as tx:
        if wanted.idempotency_key is not None:
            standing = await tx.batches.by_idempotency_key(wanted.user.id, wanted.idempotency_key)
            if standing is not None:
                return await _joined(tx, wanted, standing)
        await _check_means(tx, wanted, min(price_at_most(cargo, one) for one in read))
        stored = await tx.batches.add(batch, members)
        if stored.id != batch.id:
            return await _joined(tx, wanted, stored)
    world.nudge()
    return BatchView(batch, tuple(members))


async def list_batches(
    world: World, user_id: UserId, *, limit: int, offset: int, statuses: Collection[BatchStatus]
) -> tuple[list[BatchView], int]:
    """This user's, newest first, without what came of them; and how many there are in all."""
    async with world.store.begin() as tx:
        batches, total = await tx.batches.of_user(
            user_id, limit=limit, offset=offset, statuses=statuses
        )
        members = await tx.batches.members_of([batch.id for batch in batches])
    return [BatchView(batch, tuple(members[batch.id])) for batch in batches], total


async def read_batch(world: World, user_id: UserId, batch_id: BatchId) -> BatchView:
    """Raises NotFound, also for somebody else's."""
    async with world.store.begin() as tx:
        batch = await _owned(tx, user_id, batch_id)
        members = tuple(await tx.batches.members(batch_id))
        if not batch.finished:
            return BatchView(batch, members)
        if await tx.batches.output_bytes(batch_id) > OUTPUT_BYTES_MAX:
            return BatchView(batch, members, output_omitted=True)
        outputs = await tx.batches.outputs(batch_id)
    # Beside the loop: reading JSON of some mebibytes takes a while.
    return BatchView(batch, members, await asyncio.to_thread(merged, batch.merge, outputs))


async def cancel_batch(world: World, user_id: UserId, batch_id: BatchId) -> BatchView:
    """What waits never begins; what runs is cancelled at the batch's next turn. One that has ended stays as it is.

    Raises NotFound, also for somebody else's.
    """
    async with world.store.begin() as tx:
        await _owned(tx, user_id, batch_id)
        batch = await tx.batches.lock(batch_id)
        assert batch is not None
        await tx.batches.drop(batch_id, MemberStatus.CANCELLED, CANCELLED)
        members = await tx.batches.members(batch_id)
        if not batch.finished and batch.status is not BatchStatus.CANCELLING:
            moved = batch.cancel(CANCELLED).proceed(members, world.clock.now())
            await tx.batches.save(moved, was=batch)
            batch = moved
    world.nudge()
    return BatchView(batch, tuple(members))


async def read_member(world: World, user_id: UserId, job_id: JobId) -> tuple[Batch, Member]:
    """What was promised under this job's id and is no job, yet or for good. Raises NotFound."""
    async with world.store.begin() as tx:
        return await _member(tx, user_id, job_id)


async def cancel_member(
    world: World, user_id: UserId, job_id: JobId
) -> tuple[Batch, Member] | None:
    """One input of a batch whose turn has not come never begins. None where it has come. Raises NotFound."""
    async with world.store.begin() as tx:
        batch, member = await _member(tx, user_id, job_id)
        reason = "cancelled by the customer"
        await tx.batches.drop(batch.id, MemberStatus.CANCELLED, reason, job=job_id)
        batch, member = await _member(tx, user_id, job_id)
    return None if member.status is MemberStatus.SUBMITTED else (batch, member)


def merged(merge: Merge, outputs: Sequence[str]) -> str | list[Any]:
    """Texts one after another, each from a line of its own; or all that is in their JSON lists, as one list."""
    if merge is Merge.CONCAT:
        return "\n".join(outputs)
    found: list[Any] = []
    for output in outputs:
        value = _parsed(output)
        found += value if isinstance(value, list) else [value]
    return found


def _parsed(output: str) -> Any:
    """What is no JSON, or none that can be sent on, stands as the text that it is."""
    try:
        value = json.loads(output)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return output
    return output if _deeper_than(DEPTH_MAX, value) else value


def _deeper_than(depth: int, value: Any) -> bool:
    level = [value]
    for _ in range(depth):
        inner: list[Any] = []
        for one in level:
            inner += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        if not inner:
            return False
        level = inner
    return True


def _check_bounds(wanted: BatchWanted) -> None:
    errors: dict[str, list[str]] = {}
    if not 1 <= len(wanted.inputs) <= INPUTS_MAX:
        errors["inputs"] = [f"must be a list of 1 to {INPUTS_MAX} objects"]
    if not 1 <= wanted.max_parallelism <= PARALLELISM_MAX:
        errors["max_parallelism"] = [f"must be 1 to {PARALLELISM_MAX}"]
    if errors:
        raise InvalidInput(errors)


def _read_all(world: World, cargo: Cargo, wanted: BatchWanted) -> list[ChatInput]:
    """Every input as it will be asked for. Raises InvalidInput that names each problem by its input."""
    read: list[ChatInput] = []
    errors: dict[str, list[str]] = {}
    for number, given in enumerate(wanted.inputs):
        try:
            read.append(read_input(world, cargo, _submission(wanted, given)))
        except InvalidInput as error:
            for field, why in error.errors.items():
                errors[_named(number, field)] = why
        except TooLarge as error:
            raise TooLarge(f"inputs.{number}", error.limit_bytes) from None
        except Unsupported as error:
            raise Unsupported(_named(number, error.param), f"inputs.{number}: {error}") from None
        if len(errors) >= ERRORS_MAX:
            break
    if errors:
        raise InvalidInput(errors)
    return read


def _named(number: int, field: str) -> str:
    if field == "priority":
        return field
    inner = field.removeprefix("input.") if field != "input" else ""
    return f"inputs.{number}.{inner}" if inner else f"inputs.{number}"


def _submission(wanted: BatchWanted, given: Mapping[str, Any]) -> Submission:
    return Submission(
        user=wanted.user,
        key=wanted.key,
        workload=wanted.workload,
        input=given,
        interactive=False,
        priority=wanted.priority,
    )


async def _check_means(tx: Tx, wanted: BatchWanted, cheapest: int) -> None:
    if await tx.batches.unfinished_of(wanted.user.id) >= BATCHES_OPEN_MAX:
        raise TooManyBatches(BATCHES_OPEN_MAX)
    account = await tx.ledger.account(user_account(wanted.user.id))
    if account.available < cheapest:
        raise InsufficientCredits(cheapest, max(0, account.available))


def _batch(world: World, wanted: BatchWanted, cargo: Cargo, now: datetime) -> Batch:
    return Batch(
        id=world.ids.batch(now),
        user_id=wanted.user.id,
        key_id=wanted.key.id,
        cargo_id=cargo.id,
        workload=cargo.slug,
        total=len(wanted.inputs),
        merge=wanted.merge,
        fail_mode=wanted.fail_mode,
        max_parallelism=wanted.max_parallelism,
        priority=wanted.priority,
        created_at=now,
        idempotency_key=wanted.idempotency_key,
        request_hash=wanted.request_hash,
    )


def _encoded(given: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(given), separators=(",", ":")).encode()


async def _joined(tx: Tx, wanted: BatchWanted, standing: Batch) -> BatchView:
    tx.rely()
    if standing.request_hash != wanted.request_hash:
        raise IdempotencyMismatch(
            "this Idempotency-Key was used for another request; use a new key for a new request"
        )
    return BatchView(standing, tuple(await tx.batches.members(standing.id)))


async def _owned(tx: Tx, user_id: UserId, batch_id: BatchId) -> Batch:
    batch = await tx.batches.get(batch_id)
    if batch is None or batch.user_id != user_id:
        raise NotFound("batch", batch_id)
    return batch


async def _member(tx: Tx, user_id: UserId, job_id: JobId) -> tuple[Batch, Member]:
    member = await tx.batches.member_of(job_id)
    batch = await tx.batches.get(member.batch_id) if member else None
    if member is None or batch is None or batch.user_id != user_id:
        raise NotFound("job", job_id)
    return batch, member
