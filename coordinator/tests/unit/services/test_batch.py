"""Batches become ordinary jobs, once each, so many at a time, whoever works on them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from archipelag_contracts.ids import BatchId
from archipelag_coordinator.apps.loops.batches import work_on_batch, work_on_batches
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.batch import BatchStatus, FailMode, MemberStatus, Merge
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.errors import (
    IdempotencyMismatch,
    IllegalMove,
    InsufficientCredits,
    InvalidInput,
    NotFound,
    NotPermitted,
    TooManyBatches,
)
from archipelag_coordinator.services import batch as batches
from archipelag_coordinator.services.batch import (
    BatchWanted,
    cancel_batch,
    cancel_member,
    merged,
    read_batch,
    read_member,
    submit_batch,
)
from archipelag_coordinator.services.cancel import cancel
from archipelag_coordinator.services.dispatch import dispatch
from archipelag_coordinator.services.failover import failover
from archipelag_coordinator.services.submit import submit
from archipelag_coordinator.services.track import track
from archipelag_coordinator.services.work_on_batch import next_turn, not_submitted
from archipelag_coordinator.testing.builders import a_user
from archipelag_coordinator.testing.worlds import Scene, a_scene


def wanted(scene: Scene, count: int = 3, **changes: object) -> BatchWanted:
    inputs = [{"prompt": f"number {number}", "max_tokens": 8} for number in range(count)]
    given = BatchWanted(scene.user, scene.key, scene.cargo.slug, inputs, request_hash=b"this")
    return replace(given, **changes)  # type: ignore[arg-type]


async def begun(scene: Scene, count: int = 3, **changes: object) -> BatchId:
    return (await submit_batch(scene.world, wanted(scene, count, **changes))).batch.id


async def jobs_of(scene: Scene, batch_id: BatchId) -> list[JobStatus | MemberStatus]:
    members = (await read_batch(scene.world, scene.user.id, batch_id)).members
    return [member.job.status if member.job else member.status for member in members]


async def complete(scene: Scene, batch_id: BatchId, number: int, *texts: str) -> None:
    member = (await read_batch(scene.world, scene.user.id, batch_id)).members[number]
    job = await dispatch(scene.world, member.job_id)
    await track(scene.world, scene.report(job, *texts, first_position=0))


async def break_off(scene: Scene, batch_id: BatchId, number: int) -> None:
    member = (await read_batch(scene.world, scene.user.id, batch_id)).members[number]
    job = await dispatch(scene.world, member.job_id)
    await failover(scene.world, job.id, job.epoch, Cause.CARGO_FAILED, "it broke")


async def a_network(**changes: object) -> Scene:
    scene = await a_scene(**changes)  # type: ignore[arg-type]
    await scene.island(slots=100)
    return scene


W, FAILED_MEMBER, DROPPED = MemberStatus.WAITING, MemberStatus.FAILED, MemberStatus.CANCELLED
Q, R, S = JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.SUCCEEDED
F, C = JobStatus.FAILED, JobStatus.CANCELLED


async def test_jobs_are_submitted_as_many_at_once_as_asked_for_and_merged_in_order() -> None:
    scene = await a_network()
    before = await scene.balance()
    batch_id = await begun(scene, 4, max_parallelism=2)

    await work_on_batches(scene.world)
    first = await jobs_of(scene, batch_id)
    await complete(scene, batch_id, 1, "b")
    await work_on_batches(scene.world)
    second = await jobs_of(scene, batch_id)
    for number, text in ((2, "c"), (0, "a")):
        await complete(scene, batch_id, number, text)
    await work_on_batches(scene.world)
    await complete(scene, batch_id, 3, "d")
    early = await read_batch(scene.world, scene.user.id, batch_id)
    await work_on_batches(scene.world)
    view = await read_batch(scene.world, scene.user.id, batch_id)

    assert first == [Q, Q, W, W]
    assert second == [Q, S, Q, W]
    assert early.output is None and early.batch.status is BatchStatus.RUNNING
    assert view.batch.status is BatchStatus.COMPLETED
    assert view.output == "a\nb\nc\nd"
    charged = sum(member.job.charged for member in view.members if member.job)
    assert before - await scene.balance() == charged > 0


async def test_the_promised_ids_are_the_jobs_ids() -> None:
    scene = await a_network()
    view = await submit_batch(scene.world, wanted(scene))

    await work_on_batches(scene.world)

    jobs = [await scene.job(member.job_id) for member in view.members]
    assert [json.loads(job.input)["messages"][0]["content"] for job in jobs] == [
        "number 0",
        "number 1",
        "number 2",
    ]
    assert {job.key_id for job in jobs} == {scene.key.id}


async def test_two_coordinators_at_once_submit_each_input_once_and_not_too_many() -> None:
    scene = await a_network()
    other = scene.another()
    batch_id = await begun(scene, 20, max_parallelism=5)

    await asyncio.gather(
        *(work_on_batch(world, batch_id) for world in (scene.world, other) for _ in range(4))
    )

    async with scene.store.begin() as tx:
        _, count = await tx.jobs.of_user(scene.user.id, limit=1, offset=0)
    found = await jobs_of(scene, batch_id)
    assert count == 5
    assert found == [Q] * 5 + [W] * 15


async def test_a_coordinator_that_was_held_up_submits_nothing_twice() -> None:
    scene = await a_network()
    batch_id = await begun(scene, 2)
    stale = await next_turn(scene.world, batch_id)
    await work_on_batches(scene.another())

    with pytest.raises(IllegalMove):
        await submit(scene.world, stale.submit[0])

    async with scene.store.begin() as tx:
        _, count = await tx.jobs.of_user(scene.user.id, limit=1, offset=0)
    assert count == 2


async def test_a_member_that_is_submitted_once_more_keeps_the_answer_that_it_has() -> None:
    scene = await a_network()
    batch_id = await begun(scene, 2)
    stale = await next_turn(scene.world, batch_id)
    await work_on_batches(scene.world)
    job_id = stale.submit[0].job_id
    assert job_id is not None
    answer = scene.world.answers.own(job_id)

    with pytest.raises(IllegalMove):
        await submit(scene.world, stale.submit[0])

    assert answer is not None and scene.world.answers.own(job_id) is answer


async def test_a_coordinator_that_was_held_up_submits_nothing_of_a_cancelled_batch() -> None:
    scene = await a_network()
    before = await scene.balance()
    batch_id = await begun(scene, 2)
    stale = await next_turn(scene.world, batch_id)
    await cancel_batch(scene.world, scene.user.id, batch_id)

    for submission in stale.submit:
        with pytest.raises(IllegalMove):
            await submit(scene.world, submission)

    assert await scene.balance() == before
    view = await read_batch(scene.world, scene.user.id, batch_id)
    assert view.batch.status is BatchStatus.CANCELLED


async def test_another_coordinator_goes_on_where_one_died() -> None:
    scene = await a_network()
    batch_id = await begun(scene, 3, max_parallelism=1)
    await work_on_batches(scene.world)
    await complete(scene, batch_id, 0, "a")
    successor = scene.another()

    await work_on_batches(successor)

    view = await read_batch(successor, scene.user.id, batch_id)
    job = await scene.job(view.members[1].job_id)
    assert job.home == successor.home
    assert view.members[2].waiting


async def test_best_effort_goes_on_past_what_failed() -> None:
    scene = await a_network()
    batch_id = await begun(scene, 3)
    await work_on_batches(scene.world)
    await break_off(scene, batch_id, 1)
    for number in (0, 2):
        await complete(scene, batch_id, number, f"text {number}")

    await work_on_batches(scene.world)

    view = await read_batch(scene.world, scene.user.id, batch_id)
    assert view.batch.status is BatchStatus.COMPLETED
    assert view.output == "text 0\ntext 2"
    assert [member.said for member in view.members] == ["", "it broke", ""]


async def test_fail_fast_cancels_what_runs_and_begins_nothing_more() -> None:
    scene = await a_network()
    batch_id = await begun(scene, 4, fail_mode=FailMode.FAIL_FAST, max_parallelism=2)
    await work_on_batches(scene.world)
    await break_off(scene, batch_id, 0)

    await work_on_batches(scene.world)
    await work_on_batches(scene.world)

    view = await read_batch(scene.world, scene.user.id, batch_id)
    assert await jobs_of(scene, batch_id) == [F, C, DROPPED, DROPPED]
    assert view.batch.status is BatchStatus.FAILED
    assert view.batch.error == "input 0 did not complete: it broke"


async def test_cancelling_ends_everything_and_costs_what_was_delivered() -> None:
    scene = await a_network()
    before = await scene.balance()
    batch_id = await begun(scene, 3, max_parallelism=2)
    await work_on_batches(scene.world)

    stopping = await cancel_batch(scene.world, scene.user.id, batch_id)
    await work_on_batches(scene.world)
    await work_on_batches(scene.world)
    again = await cancel_batch(scene.world, scene.user.id, batch_id)

    assert stopping.batch.status is BatchStatus.CANCELLING
    assert await jobs_of(scene, batch_id) == [C, C, DROPPED]
    assert again.batch.status is BatchStatus.CANCELLED
    assert await scene.balance() == before


async def test_one_input_can_be_cancelled_before_its_turn() -> None:
    scene = await a_network()
    view = await submit_batch(scene.world, wanted(scene, 2, max_parallelism=1))
    await work_on_batches(scene.world)
    first, second = (member.job_id for member in view.members)

    dropped = await cancel_member(scene.world, scene.user.id, second)
    late = await cancel_member(scene.world, scene.user.id, first)
    await complete(scene, view.batch.id, 0, "a")
    await work_on_batches(scene.world)

    assert dropped is not None and dropped[1].status is DROPPED
    assert late is None
    ended = await read_batch(scene.world, scene.user.id, view.batch.id)
    assert ended.batch.status is BatchStatus.COMPLETED and ended.output == "a"


async def price(scene: Scene) -> int:
    before = await scene.balance()
    job = await scene.submit(
        input={"prompt": "number 0", "max_tokens": 8}, request_hash=b"p", interactive=False
    )
    held = before - await scene.balance()
    await cancel(scene.world, scene.user.id, job.id)
    return held


async def test_where_credit_runs_out_the_rest_waits_for_what_its_own_jobs_give_back() -> None:
    scene = await a_network()
    one = await price(scene)
    credit = 2 * one + one // 2
    poor = await a_network(credit=credit)
    batch_id = await begun(poor, 3)

    await work_on_batches(poor.world)
    await work_on_batches(poor.world)
    first = await jobs_of(poor, batch_id)
    await complete(poor, batch_id, 0, "a")
    await work_on_batches(poor.world)

    assert first == [Q, Q, W]
    assert await jobs_of(poor, batch_id) == [S, Q, Q]


@pytest.mark.parametrize("mode", FailMode)
async def test_a_batch_that_cannot_be_paid_any_more_fails_its_rest_with_the_reason(
    mode: FailMode,
) -> None:
    one = await price(await a_network())
    scene = await a_network(credit=one)
    batch_id = await begun(scene, 3, max_parallelism=1, fail_mode=mode)
    await work_on_batches(scene.world)
    await complete(scene, batch_id, 0, *"abcdefgh")

    await work_on_batches(scene.world)
    await work_on_batches(scene.world)

    view = await read_batch(scene.world, scene.user.id, batch_id)
    found = await jobs_of(scene, batch_id)
    assert found == [S, FAILED_MEMBER, FAILED_MEMBER]
    assert "not enough credits" in view.members[1].said
    ended = {
        FailMode.BEST_EFFORT: BatchStatus.COMPLETED,
        FailMode.FAIL_FAST: BatchStatus.FAILED,
    }
    assert view.batch.status is ended[mode]
    assert await scene.balance() >= 0


async def test_a_batch_of_which_nothing_can_be_paid_is_refused_at_once() -> None:
    scene = await a_network(credit=1)

    with pytest.raises(InsufficientCredits):
        await submit_batch(scene.world, wanted(scene))

    async with scene.store.begin() as tx:
        assert await tx.batches.unfinished_of(scene.user.id) == 0


async def test_a_revoked_key_asks_for_nothing_more() -> None:
    scene = await a_network()
    batch_id = await begun(scene, 3, max_parallelism=1)
    await work_on_batches(scene.world)
    async with scene.store.begin() as tx:
        await tx.keys.revoke(scene.user.id, scene.key.id, scene.clock.now())
    await complete(scene, batch_id, 0, "a")

    await work_on_batches(scene.world)
    await work_on_batches(scene.world)

    view = await read_batch(scene.world, scene.user.id, batch_id)
    assert await jobs_of(scene, batch_id) == [S, FAILED_MEMBER, FAILED_MEMBER]
    assert view.members[2].said == "this API key was revoked"


async def test_an_item_whose_cargo_is_gone_fails_and_the_others_too() -> None:
    scene = await a_network()
    batch_id = await begun(scene, 2)
    empty = replace(scene.world, catalogue=type(scene.world.catalogue)([]))

    await work_on_batches(empty)
    await work_on_batches(empty)

    view = await read_batch(scene.world, scene.user.id, batch_id)
    assert view.batch.status is BatchStatus.FAILED
    assert "llm-chat" in view.members[0].said and "llm-chat" in view.members[1].said


async def test_what_failed_late_does_not_undo_what_was_submitted() -> None:
    scene = await a_network()
    batch_id = await begun(scene, 1)
    turn = await next_turn(scene.world, batch_id)
    await work_on_batches(scene.another())

    await not_submitted(scene.world, turn.submit[0], NotFound("workload", "x"))
    await not_submitted(scene.world, turn.submit[0], InsufficientCredits(5, 1))

    assert await jobs_of(scene, batch_id) == [Q]


async def test_every_problem_is_named_by_its_input_and_nothing_is_made() -> None:
    scene = await a_network()
    inputs = [{"prompt": "fine"}, {"prompt": "", "max_tokens": 0}, {"prompt": "x", "odd": 1}]

    with pytest.raises(InvalidInput) as refused:
        await submit_batch(scene.world, wanted(scene, inputs=inputs))

    assert {field.split(".")[1] for field in refused.value.errors} == {"1", "2"}
    assert "inputs.1.max_tokens" in refused.value.errors
    async with scene.store.begin() as tx:
        assert await tx.batches.unfinished_of(scene.user.id) == 0


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"inputs": []}, "inputs"),
        ({"inputs": [{"prompt": "x"}] * 101}, "inputs"),
        ({"max_parallelism": 0}, "max_parallelism"),
        ({"max_parallelism": 101}, "max_parallelism"),
        ({"priority": 11}, "priority"),
    ],
)
async def test_bounds_are_kept(changes: dict[str, object], field: str) -> None:
    scene = await a_network()

    with pytest.raises(InvalidInput) as refused:
        await submit_batch(scene.world, wanted(scene, **changes))

    assert field in refused.value.errors


async def test_the_same_key_is_the_same_batch_and_another_request_a_conflict() -> None:
    scene = await a_network()
    asked = wanted(scene, idempotency_key="k")
    first = await submit_batch(scene.world, asked)
    again = await submit_batch(scene.another(), asked)

    with pytest.raises(IdempotencyMismatch):
        await submit_batch(scene.world, replace(asked, request_hash=b"other"))

    assert again.batch == first.batch
    assert [member.job_id for member in again.members] == [
        member.job_id for member in first.members
    ]


async def test_nobody_else_sees_or_cancels_it() -> None:
    scene = await a_network()
    view = await submit_batch(scene.world, wanted(scene))
    stranger, job_id = a_user().id, view.members[0].job_id

    for asking in (
        read_batch(scene.world, stranger, view.batch.id),
        cancel_batch(scene.world, stranger, view.batch.id),
        read_member(scene.world, stranger, job_id),
        cancel_member(scene.world, stranger, job_id),
    ):
        with pytest.raises(NotFound):
            await asking

    batch, member = await read_member(scene.world, scene.user.id, job_id)
    assert batch == view.batch and member.waiting


async def test_a_reading_key_makes_none() -> None:
    scene = await a_network()
    reader = replace(scene.key, scopes=frozenset())

    with pytest.raises(NotPermitted):
        await submit_batch(scene.world, wanted(scene, key=reader))


async def test_too_many_unfinished_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCHES_OPEN_MAX", 2)
    scene = await a_network()
    first = await begun(scene, 1)
    await begun(scene, 1)

    with pytest.raises(TooManyBatches):
        await begun(scene, 1)
    await cancel_batch(scene.world, scene.user.id, first)

    await begun(scene, 1)


async def test_a_merged_output_that_is_too_large_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "OUTPUT_BYTES_MAX", 3)
    scene = await a_network()
    batch_id = await begun(scene, 1)
    await work_on_batches(scene.world)
    await complete(scene, batch_id, 0, "abcd")
    await work_on_batches(scene.world)

    view = await read_batch(scene.world, scene.user.id, batch_id)

    assert view.output is None and view.output_omitted


@pytest.mark.parametrize(
    ("outputs", "flat"),
    [
        ([], []),
        (["[1,2]", "[3]"], [1, 2, 3]),
        (["[1]", '{"a":[2]}', "3", '"four"'], [1, {"a": [2]}, 3, "four"]),
        (["plain text", "[1"], ["plain text", "[1"]),
        (["NaN", "1e999", "[Infinity]"], ["NaN", "1e999", "[Infinity]"]),
        (['"\\ud800"'], ['"\\ud800"']),
        (["[" * 5000, "[" * 200 + "]" * 200], ["[" * 5000, "[" * 200 + "]" * 200]),
        (["9" * 5000], ["9" * 5000]),
    ],
)
def test_lists_are_flattened_and_what_is_none_stands_as_it_is(
    outputs: list[str], flat: list[object]
) -> None:
    assert merged(Merge.FLATTEN, outputs) == flat
