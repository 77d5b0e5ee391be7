"""What every store must do with batches; part of `CheckStore`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from archipelag_contracts.ids import ApiKeyId, BatchId, Epoch, JobId
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.batch import (
    Batch,
    BatchStatus,
    FailMode,
    Glance,
    Member,
    MemberStatus,
    Merge,
)
from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.domain.user import ApiKey, User
from archipelag_coordinator.errors import Conflict
from archipelag_coordinator.services.ports import Store
from archipelag_coordinator.testing.builders import (
    a_batch,
    a_customer,
    a_job,
    a_stored_cargo,
    an_id,
    members_of,
)
from archipelag_coordinator.testing.fakes import START


class Scene:
    """A customer and a Cargo that stand, and batches of theirs."""

    def __init__(self, store: Store, user: User, key: ApiKey, cargo: Cargo) -> None:
        self.store, self.user, self.key, self.cargo = store, user, key, cargo

    @classmethod
    async def of(cls, store: Store) -> Scene:
        user, key, _ = await a_customer(store)
        return cls(store, user, key, await a_stored_cargo(store))

    async def batch(self, **changes: object) -> tuple[Batch, list[Member]]:
        batch = a_batch(self.user, self.key, self.cargo, **changes)
        members = members_of(batch)
        async with self.store.begin() as tx:
            assert await tx.batches.add(batch, members) == batch
        return batch, members

    async def job_of(self, member: Member, status: JobStatus, **changes: object) -> None:
        """The member as a job that stands."""
        job = a_job(self.user, key=self.key, cargo=self.cargo, id=member.job_id, status=status)
        async with self.store.begin() as tx:
            assert await tx.batches.claim(member.job_id)
            await tx.jobs.add(replace(job, **changes))  # type: ignore[arg-type]

    async def to_work_on(self) -> list[BatchId]:
        async with self.store.begin() as tx:
            return await tx.batches.to_work_on(10)


def unread(members: list[Member]) -> list[Member]:
    """As a list of them gives them."""
    return [replace(member, input=None) for member in members]


class CheckBatches:
    async def test_batch_is_found_as_it_was_stored(self, store: Store) -> None:
        scene = await Scene.of(store)
        batch, members = await scene.batch(
            merge=Merge.FLATTEN,
            fail_mode=FailMode.FAIL_FAST,
            max_parallelism=7,
            priority=3,
            idempotency_key="key",
            request_hash=b"\x01",
        )

        async with store.begin() as tx:
            assert await tx.batches.get(batch.id) == batch
            assert await tx.batches.lock(batch.id) == batch
            assert await tx.batches.lock(batch.id, wait=False) == batch
            assert await tx.batches.members(batch.id) == unread(members)
            assert await tx.batches.inputs([members[1].job_id, JobId(an_id("job"))]) == {
                members[1].job_id: members[1].input
            }
            assert await tx.batches.member_of(members[1].job_id) == members[1]
            assert await tx.batches.by_idempotency_key(scene.user.id, "key") == batch
            assert await tx.batches.get(BatchId(an_id("bat"))) is None
            assert await tx.batches.member_of(JobId(an_id("job"))) is None

    async def test_batch_of_nobody_is_refused(self, store: Store) -> None:
        scene = await Scene.of(store)
        stranger, key, _ = await a_customer(store)
        batch = replace(a_batch(scene.user, scene.key, scene.cargo), key_id=ApiKeyId(an_id("key")))

        with pytest.raises(Conflict):
            async with store.begin() as tx:
                await tx.batches.add(batch, members_of(batch))
        async with store.begin() as tx:
            assert await tx.batches.get(batch.id) is None
            theirs = a_batch(stranger, key, scene.cargo)
            assert await tx.batches.add(theirs, members_of(theirs)) == theirs

    async def test_same_idempotency_key_at_once_makes_one_batch(self, store: Store) -> None:
        scene = await Scene.of(store)

        async def add() -> Batch:
            batch = a_batch(scene.user, scene.key, scene.cargo, idempotency_key="k")
            async with store.begin() as tx:
                return await tx.batches.add(batch, members_of(batch))

        made = await asyncio.gather(*(add() for _ in range(5)))

        assert len({batch.id for batch in made}) == 1
        async with store.begin() as tx:
            assert await tx.batches.unfinished_of(scene.user.id) == 1

    async def test_item_shows_its_job_as_it_stands(self, store: Store) -> None:
        scene = await Scene.of(store)
        batch, members = await scene.batch()
        ended = {
            "epoch": Epoch(1),
            "ended_at": START,
            "cause": Cause.CARGO_FAILED,
            "error": "no",
            "prompt_tokens": 4,
            "output_items": 2,
            "charged": Ucredits(9),
        }
        await scene.job_of(members[0], JobStatus.FAILED, **ended)

        async with store.begin() as tx:
            first, second = await tx.batches.members(batch.id)

        assert first.status is MemberStatus.SUBMITTED
        assert first.job == Glance(JobStatus.FAILED, Cause.CARGO_FAILED, "no", 4, 2, Ucredits(9))
        assert [second] == unread(members[1:])

    async def test_item_is_claimed_once(self, store: Store) -> None:
        scene = await Scene.of(store)
        _, members = await scene.batch()

        async def claim() -> bool:
            async with store.begin() as tx:
                return await tx.batches.claim(members[0].job_id)

        claimed = await asyncio.gather(*(claim() for _ in range(5)))

        assert sorted(claimed) == [False, False, False, False, True]

    async def test_claim_that_is_taken_back_waits_again(self, store: Store) -> None:
        scene = await Scene.of(store)
        batch, members = await scene.batch()

        async def claim_and_fail() -> None:
            async with store.begin() as tx:
                assert await tx.batches.claim(members[0].job_id)
                raise RuntimeError("the job could not be stored")

        with pytest.raises(RuntimeError):
            await claim_and_fail()

        async with store.begin() as tx:
            assert await tx.batches.members(batch.id) == unread(members)
            assert await tx.batches.claim(members[0].job_id)
            assert not await tx.batches.claim(JobId(an_id("job")))

    async def test_only_what_waits_is_dropped_and_then_never_claimed(self, store: Store) -> None:
        scene = await Scene.of(store)
        batch, members = await scene.batch(total=3)
        other, _ = await scene.batch()
        await scene.job_of(members[0], JobStatus.QUEUED)

        async with store.begin() as tx:
            assert await tx.batches.drop(batch.id, MemberStatus.FAILED, "no", job=members[1].job_id)
            assert await tx.batches.drop(batch.id, MemberStatus.CANCELLED, "gone \0") == 1
            assert await tx.batches.drop(batch.id, MemberStatus.FAILED, "again") == 0
            found = await tx.batches.members(batch.id)
            claimed = [await tx.batches.claim(member.job_id) for member in members]
            untouched = await tx.batches.members(other.id)

        told = [(member.status, member.error.rstrip("\0")) for member in found]
        assert told == [
            (MemberStatus.SUBMITTED, ""),
            (MemberStatus.FAILED, "no"),
            (MemberStatus.CANCELLED, "gone "),
        ]
        assert claimed == [False, False, False]
        assert all(member.waiting for member in untouched)

    async def test_save_is_guarded_by_the_status_that_was(self, store: Store) -> None:
        scene = await Scene.of(store)
        batch, _ = await scene.batch()
        stopped = batch.cancel("no")
        ended = replace(stopped, status=BatchStatus.CANCELLED, ended_at=START)

        async with store.begin() as tx:
            await tx.batches.save(stopped, was=batch)
        with pytest.raises(Conflict):
            async with store.begin() as tx:
                await tx.batches.save(replace(batch, status=BatchStatus.FAILED), was=batch)
        async with store.begin() as tx:
            await tx.batches.save(ended, was=stopped)

        async with store.begin() as tx:
            assert await tx.batches.get(batch.id) == ended
            assert await tx.batches.unfinished_of(scene.user.id) == 0

    async def test_those_that_can_go_on_are_found(self, store: Store) -> None:
        scene = await Scene.of(store)
        fresh, _ = await scene.batch()
        full, its = await scene.batch(max_parallelism=1)
        await scene.job_of(its[0], JobStatus.RUNNING)
        begun, its = await scene.batch(max_parallelism=2)
        await scene.job_of(its[0], JobStatus.RUNNING)
        lost, its = await scene.batch(max_parallelism=1, fail_mode=FailMode.FAIL_FAST, total=3)
        await scene.job_of(its[0], JobStatus.FAILED)
        await scene.job_of(its[1], JobStatus.RUNNING)
        over, its = await scene.batch(total=1)
        await scene.job_of(its[0], JobStatus.SUCCEEDED)

        found = await scene.to_work_on()
        async with store.begin() as tx:
            await tx.batches.save(full.cancel("no"), was=full)
            ended = replace(over, status=BatchStatus.COMPLETED, ended_at=START)
            await tx.batches.save(ended, was=over)
            limited = await tx.batches.to_work_on(1)

        idle = sorted([fresh.id, over.id])
        assert found == idle + sorted([begun.id, lost.id])
        assert limited == [fresh.id]
        assert sorted(await scene.to_work_on()) == sorted([fresh.id, begun.id, lost.id, full.id])

    async def test_ones_batches_are_listed_newest_first_with_their_members(
        self, store: Store
    ) -> None:
        scene = await Scene.of(store)
        await (await Scene.of(store)).batch()
        old, its = await scene.batch()
        new, others = await scene.batch(created_at=START + timedelta(minutes=1))
        async with store.begin() as tx:
            await tx.batches.save(old.cancel("no"), was=old)
            old = old.cancel("no")

        async with store.begin() as tx:
            every = await tx.batches.of_user(
                scene.user.id, limit=5, offset=0, statuses=[*BatchStatus]
            )
            second = await tx.batches.of_user(
                scene.user.id, limit=1, offset=1, statuses=[*BatchStatus]
            )
            running = await tx.batches.of_user(
                scene.user.id, limit=5, offset=0, statuses=[BatchStatus.RUNNING]
            )
            members = await tx.batches.members_of([old.id, new.id])
            none = await tx.batches.members_of([])

        assert (every, second, running) == (([new, old], 2), ([old], 2), ([new], 1))
        assert members == {old.id: unread(its), new.id: unread(others)} and none == {}

    async def test_outputs_of_what_completed_come_in_order(self, store: Store) -> None:
        scene = await Scene.of(store)
        batch, members = await scene.batch(total=4)
        await scene.job_of(members[2], JobStatus.SUCCEEDED, output="third 🏝")
        await scene.job_of(members[0], JobStatus.SUCCEEDED, output="first \0")
        await scene.job_of(members[1], JobStatus.CANCELLED, output="half")

        async with store.begin() as tx:
            assert await tx.batches.outputs(batch.id) == ["first \0", "third 🏝"]
            assert await tx.batches.output_bytes(batch.id) == 7 + 10
