"""What every store must do when it adds up; part of `CheckStore`."""

from __future__ import annotations

from datetime import date, timedelta

from archipelag_contracts.ids import Position
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.domain.attempt import Cause, Usage
from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.job import Job, JobFilter, JobStatus
from archipelag_coordinator.domain.ledger import (
    Transfer,
    charge_id,
    owner_account,
    user_account,
)
from archipelag_coordinator.domain.sums import (
    Days,
    EarnedBy,
    EarnedSum,
    Moved,
    Place,
    Spent,
    SpentBy,
    Work,
)
from archipelag_coordinator.domain.user import ApiKey, User
from archipelag_coordinator.services.ports import Store
from archipelag_coordinator.testing.builders import (
    CREDIT,
    a_customer,
    a_grant,
    a_job,
    a_key,
    a_stored_cargo,
)
from archipelag_coordinator.testing.check_pay import insured
from archipelag_coordinator.testing.check_work import Scene
from archipelag_coordinator.testing.fakes import START

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
TODAY = Days(START.date(), START.date())
MIDNIGHT = TODAY.until


def _ended(user: User, key: ApiKey | None, cargo: Cargo, **changes: object) -> Job:
    """Succeeded at `START`, with three tokens of prompt and two items."""
    sane: dict[str, object] = {
        "status": JobStatus.SUCCEEDED,
        "ended_at": START,
        "prompt_tokens": 3,
        "output_items": 2,
    }
    return a_job(user, key=key, cargo=cargo, **sane | changes)


class CheckSums:
    async def test_what_was_spent_is_added_up_by_utc_day_key_and_workload(
        self, store: Store
    ) -> None:
        scene = await Scene.of(store)
        other = await a_stored_cargo(store, slug="other")
        second = a_key(scene.user, name="second")
        stranger, their_key, _ = await a_customer(store)
        mine, elsewhere = (scene.user, scene.key, scene.cargo), (scene.user, second, other)
        keyless, theirs = (scene.user, None, scene.cargo), (stranger, their_key, scene.cargo)
        jobs = [
            _ended(*mine, charged=Ucredits(5)),
            _ended(*elsewhere, charged=Ucredits(7), ended_at=MIDNIGHT - SECOND / 1000),
            _ended(*elsewhere, charged=Ucredits(9), ended_at=MIDNIGHT),
            _ended(*mine, status=JobStatus.FAILED),
            _ended(*keyless, status=JobStatus.CANCELLED, prompt_tokens=0, output_items=1),
            a_job(scene.user, key=scene.key, cargo=scene.cargo),
            _ended(*theirs, charged=Ucredits(1)),
        ]
        async with store.begin() as tx:
            await tx.keys.add(second)
            for job in jobs:
                await tx.jobs.add(job)
        both = Days(TODAY.first, TODAY.first + timedelta(days=1))
        async with store.begin() as tx:
            found = {by: await tx.sums.spent(scene.user.id, TODAY, by) for by in SpentBy}
            by_day = await tx.sums.spent(scene.user.id, both, SpentBy.DAY)
            never = await tx.sums.spent(
                scene.user.id, Days(date(2020, 1, 1), date(2020, 2, 1)), SpentBy.DAY
            )

        assert found[SpentBy.DAY] == [Spent("2026-01-01", None, 4, 6, 5, Ucredits(12))]
        assert by_day == [
            Spent("2026-01-01", None, 4, 6, 5, Ucredits(12)),
            Spent("2026-01-02", None, 1, 3, 2, Ucredits(9)),
        ]
        assert found[SpentBy.KEY] == [
            Spent(None, None, 1, 0, 1, Ucredits(0)),
            *sorted(
                [
                    Spent(scene.key.id, "test", 2, 3, 2, Ucredits(5)),
                    Spent(second.id, "second", 1, 3, 2, Ucredits(7)),
                ],
                key=lambda row: row.group or "",
            ),
        ]
        assert found[SpentBy.WORKLOAD] == [
            Spent("llm-chat", None, 3, 3, 3, Ucredits(5)),
            Spent("other", None, 1, 3, 2, Ucredits(7)),
        ]
        assert never == []

    async def test_what_an_island_earned_is_added_up_by_day_and_workload(
        self, store: Store
    ) -> None:
        scene = await Scene.of(store)
        first, attempt = await scene.attempt(first_position=Position(0))
        second, another = await scene.attempt()
        ended = attempt.succeed(START + SECOND, Usage(prompt_tokens=4), Position(3), b"report")
        failed = another.fail(MIDNIGHT, Cause.CARGO_DIED, "no", Position(1), Usage(prompt_tokens=2))
        async with store.begin() as tx:
            await tx.attempts.save(ended, was=attempt)
            await tx.attempts.save(failed, was=another)
        await insured(store, first.id, scene.user.id, 8)
        await insured(store, second.id, scene.user.id, 6)
        both = Days(TODAY.first, TODAY.first + timedelta(days=1))

        async with store.begin() as tx:
            today = await tx.sums.earned(scene.island.id, TODAY, EarnedBy.DAY)
            by_day = await tx.sums.earned(scene.island.id, both, EarnedBy.DAY)
            by_cargo = await tx.sums.earned(scene.island.id, both, EarnedBy.WORKLOAD)

        one = EarnedSum("2026-01-01", 1, 1, 3, 4, 1_000, insured=Ucredits(8))
        wall_ms = round(1000 * (MIDNIGHT - START).total_seconds())
        two = EarnedSum("2026-01-02", 1, 0, 1, 2, wall_ms, insured=Ucredits(6))
        assert today == [one]
        assert by_day == [one, two]
        assert by_cargo == [
            EarnedSum("llm-chat", 2, 1, 4, 6, 1_000 + wall_ms, insured=Ucredits(14))
        ]

    async def test_moves_are_listed_newest_first_with_the_balance_after_each(
        self, store: Store
    ) -> None:
        scene = await Scene.of(store)
        mine, earned = user_account(scene.user.id), owner_account(scene.user.id)
        stranger, _, _ = await a_customer(store)
        job = await scene.job()
        theirs = a_job(stranger, cargo=scene.cargo)
        async with store.begin() as tx:
            await tx.jobs.add(theirs)
            for number in range(3):
                await tx.ledger.transfer(a_grant(scene.user, 10, f"gift {number}"))
            pays_itself = {mine: Ucredits(-4), earned: Ucredits(4)}
            await tx.ledger.transfer(
                Transfer(charge_id(job.id), pays_itself, START + SECOND, job.id)
            )
            paid = {user_account(stranger.id): Ucredits(-5), earned: Ucredits(5)}
            await tx.ledger.transfer(
                Transfer(charge_id(theirs.id), paid, START + 2 * SECOND, theirs.id, "note")
            )

        async with store.begin() as tx:
            whole = await tx.sums.moved(scene.user.id, [mine, earned], before=None, limit=50)
            pages: list[Moved] = []
            place: Place | None = None
            while page := await tx.sums.moved(scene.user.id, [mine, earned], before=place, limit=2):
                assert len(page) <= 2
                pages += page
                place = page[-1].place

        assert pages == whole
        told = [(m.account_id, m.amount, m.balance_after, m.job_id, m.key_id) for m in whole]
        assert told[:3] == [
            (earned, 5, 9, theirs.id, None),
            (mine, -4, CREDIT + 26, job.id, scene.key.id),
            (earned, 4, 4, job.id, scene.key.id),
        ]
        assert [(m.amount, m.note) for m in whole[3:]] == [
            (CREDIT, "test"),
            (10, "gift 2"),
            (10, "gift 1"),
            (10, "gift 0"),
        ]
        balances = [m.balance_after for m in whole if m.account_id == mine]
        assert balances == [CREDIT + 26, CREDIT + 30, 30, 20, 10]
        assert whole[0].note == "note"

    async def test_work_that_has_not_ended_is_counted_by_workload(self, store: Store) -> None:
        scene = await Scene.of(store)
        other = await a_stored_cargo(store, slug="other")
        jobs = [
            a_job(scene.user, cargo=scene.cargo, created_at=START + SECOND),
            a_job(scene.user, cargo=scene.cargo),
            a_job(
                scene.user, cargo=scene.cargo, status=JobStatus.RUNNING, created_at=START - SECOND
            ),
            _ended(scene.user, None, scene.cargo, created_at=START - SECOND),
            a_job(scene.user, cargo=other, status=JobStatus.RUNNING),
        ]
        async with store.begin() as tx:
            assert await tx.sums.work() == []
            for job in jobs:
                await tx.jobs.add(job)

        async with store.begin() as tx:
            found = await tx.sums.work()

        assert found == [Work("llm-chat", 2, 1, START), Work("other", 0, 1, None)]

    async def test_jobs_are_filtered_by_status_workload_and_age(self, store: Store) -> None:
        scene = await Scene.of(store)
        other = await a_stored_cargo(store, slug="other")
        early = await scene.job(created_at=START, status=JobStatus.RUNNING)
        late = await scene.job(
            created_at=START + MINUTE,
            status=JobStatus.FAILED,
            ended_at=START,
            cause=Cause.DEADLINE,
        )
        running = frozenset({JobStatus.RUNNING})
        async with store.begin() as tx:
            theirs = await tx.jobs.add(
                a_job(scene.user, cargo=other, created_at=START + 2 * MINUTE)
            )
        expected = [
            (JobFilter(), [theirs, late, early]),
            (JobFilter(frozenset({JobStatus.RUNNING, JobStatus.FAILED})), [late, early]),
            (JobFilter(frozenset()), []),
            (JobFilter(frozenset(), timed_out=True), [late]),
            (JobFilter(running, timed_out=True), [late, early]),
            (JobFilter(running), [early]),
            (JobFilter(workload="other"), [theirs]),
            (JobFilter(workload="none"), []),
            (JobFilter(created_after=START + MINUTE), [theirs, late]),
            (JobFilter(created_before=START + MINUTE), [early]),
            (JobFilter(created_after=START + MINUTE, created_before=START + 2 * MINUTE), [late]),
        ]

        for only, jobs in expected:
            async with store.begin() as tx:
                found = await tx.jobs.of_user(scene.user.id, limit=9, offset=0, only=only)
                page = await tx.jobs.of_user(scene.user.id, limit=1, offset=1, only=only)
            assert found == (jobs, len(jobs)), only
            assert page == (jobs[1:2], len(jobs)), only

    async def test_who_never_moved_anything_has_no_moves(self, store: Store) -> None:
        user, _, _ = await a_customer(store, 0)

        async with store.begin() as tx:
            accounts = [user_account(user.id), owner_account(user.id)]
            assert await tx.sums.moved(user.id, accounts, before=None, limit=5) == []
