"""What every store must do with the items of unfinished answers; part of `CheckStore`."""

from __future__ import annotations

from archipelag_contracts.ids import Epoch, JobId, RelayId

from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.items import Items
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.services.ports import Said, Store
from archipelag_coordinator.testing.builders import HOME, an_id
from archipelag_coordinator.testing.check_work import Scene
from archipelag_coordinator.testing.fakes import START


class CheckItems:
    async def test_items_are_kept_in_pieces_and_found_as_one(self, store: Store) -> None:
        scene = await Scene.of(store)
        job = await scene.job(status=JobStatus.RUNNING, epoch=Epoch(1))
        pieces = [
            Items(0, ("nul \0 ", "", "🏝"), (7, 0, 2**32 - 1)),
            Items(2, ("🏝", "again", "x" * 300), (2**32 - 1, 5, 6)),
            Items(5, ("no", "tokens"), (0, 0)),
        ]
        async with store.begin() as tx:
            for piece in pieces:
                await tx.items.keep(HOME, [Said(job.id, Epoch(1), piece)])
                await tx.items.keep(HOME, [Said(job.id, Epoch(1), piece)])
            await tx.items.keep(HOME, [])

            found = await tx.items.of_job(job.id)

            several = await tx.items.of_jobs([job.id, JobId(an_id("job"))])

        texts = ("nul \0 ", "", "🏝", "again", "x" * 300, "no", "tokens")
        assert found == Items(0, texts, (7, 0, 2**32 - 1, 5, 6, 0, 0))
        assert list(several.values()) == [found, Items()]

    async def test_a_longer_piece_takes_the_place_of_a_shorter_one(self, store: Store) -> None:
        scene = await Scene.of(store)
        job = await scene.job(status=JobStatus.RUNNING, epoch=Epoch(1))
        short, long = Items(0, ("a",), (1,)), Items(0, ("a", "b"), (1, 2))

        async with store.begin() as tx:
            for piece in (short, long, short):
                await tx.items.keep(HOME, [Said(job.id, Epoch(1), piece)])

            assert await tx.items.of_job(job.id) == long

    async def test_nothing_after_a_gap_counts(self, store: Store) -> None:
        scene = await Scene.of(store)
        job = await scene.job(status=JobStatus.RUNNING, epoch=Epoch(1))
        said = [Said(job.id, Epoch(1), Items(first, ("a",), (0,))) for first in (0, 2)]

        async with store.begin() as tx:
            await tx.items.keep(HOME, said)

            assert await tx.items.of_job(job.id) == Items(0, ("a",), (0,))

    async def test_whoever_lost_the_job_or_its_attempt_adds_nothing(self, store: Store) -> None:
        scene = await Scene.of(store)
        runs = await scene.job(status=JobStatus.RUNNING, epoch=Epoch(2))
        waits = await scene.job(epoch=Epoch(1))
        item = Items(0, ("a",), (0,))

        async with store.begin() as tx:
            await tx.items.keep(RelayId(an_id("rly")), [Said(runs.id, Epoch(2), item)])
            await tx.items.keep(HOME, [Said(runs.id, Epoch(1), item)])
            await tx.items.keep(HOME, [Said(waits.id, Epoch(1), item)])

            assert await tx.items.of_job(runs.id) == Items()
            assert await tx.items.of_job(waits.id) == Items()

    async def test_what_came_to_nothing_is_forgotten_from_a_position_on(self, store: Store) -> None:
        scene = await Scene.of(store)
        job = await scene.job(status=JobStatus.RUNNING, epoch=Epoch(1))
        async with store.begin() as tx:
            for first in (0, 2, 3):
                await tx.items.keep(
                    HOME, [Said(job.id, Epoch(1), Items(first, ("a", "b"), (0, 0)))]
                )
            await tx.items.forget(job.id, since=2)

            assert await tx.items.of_job(job.id) == Items(0, ("a", "b"), (0, 0))

    async def test_items_are_forgotten_at_a_new_beginning_and_pruned_after_the_end(
        self, store: Store
    ) -> None:
        scene = await Scene.of(store)
        anew, ended, runs = [
            await scene.job(status=JobStatus.RUNNING, epoch=Epoch(1)) for _ in range(3)
        ]
        async with store.begin() as tx:
            said = [Said(job.id, Epoch(1), Items(0, ("a",), (0,))) for job in (anew, ended, runs)]
            await tx.items.keep(HOME, said)
            await tx.items.forget(anew.id, since=0)
            await tx.jobs.save(ended.fail(START, Cause.DEADLINE, "late"), was=ended)

            pruned = [await tx.items.prune(10), await tx.items.prune(10)]
            left = [(await tx.items.of_job(job.id)).next for job in (anew, ended, runs)]

        assert pruned == [1, 0]
        assert left == [0, 0, 1]
