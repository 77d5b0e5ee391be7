"""Batches, books and reasons through both clients, on a real network: also over lines that are cut."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from archipelag import AsyncClient, Client, ConflictError, Job, ValidationError

from tests.trouble.rig import Rig

from .cutting_proxy import Cutter, proxy

pytestmark = pytest.mark.asyncio(loop_scope="session")


def asked(word: str, items: int = 3) -> dict[str, Any]:
    knobs = {"role": "system", "content": json.dumps({"items": items})}
    return {"messages": [knobs, {"role": "user", "content": word}]}


async def test_many_jobs_side_by_side_are_made_once_over_cut_lines(rig: Rig) -> None:
    before = rig.rows("SELECT count(*) FROM jobs")[0][0]
    cutter = Cutter(seed=3, bytes_max=4000)
    async with proxy(str(rig.http.base_url), cutter) as port:
        with Client(
            f"http://127.0.0.1:{port}", rig.key, retries_max=10, sleep=lambda _: None
        ) as one:

            def run() -> tuple[Job, ...]:
                jobs = one.batch("slow-chat", [asked(f"w{n}") for n in range(30)])
                return one.wait_all(jobs, timeout_s=60)

            ended = await asyncio.to_thread(run)

    assert [job.output for job in ended] == [f"w{n} " * 3 for n in range(30)]
    assert rig.rows("SELECT count(*) FROM jobs")[0][0] - before == 30
    assert cutter.cuts > 20


async def test_a_batch_is_submitted_once_over_cut_lines_and_read_to_its_end(rig: Rig) -> None:
    before = rig.rows("SELECT count(*) FROM batches")[0][0]
    cutter = Cutter(seed=4, bytes_max=3000)
    async with (
        proxy(str(rig.http.base_url), cutter) as port,
        AsyncClient(
            f"http://127.0.0.1:{port}",
            rig.key,
            retries_max=10,
            sleep=lambda s: asyncio.sleep(s / 50),
        ) as cut,
    ):
        made = [
            await cut.submit_batch("slow-chat", [asked("a"), asked(f"b{n}")]) for n in range(20)
        ]
    async with AsyncClient(str(rig.http.base_url), rig.key) as one:
        ended = [await one.wait_for_batch(batch.id, timeout_s=60) for batch in made]

    assert rig.rows("SELECT count(*) FROM batches")[0][0] - before == 20 and cutter.cuts > 10
    for n, batch in enumerate(ended):
        assert (batch.status, batch.ended, batch.total) == ("completed", 2, 2)
        assert isinstance(batch.output, str)
        assert batch.output.split() == ["a"] * 3 + [f"b{n}"] * 3
        assert tuple(item.job_id for item in batch.items) == batch.jobs


async def test_a_batch_under_a_key_of_ones_own_is_one(rig: Rig) -> None:
    async with AsyncClient(str(rig.http.base_url), rig.key) as one:
        first = await one.submit_batch("slow-chat", [asked("x")], idempotency_key="ours")
        again = await one.submit_batch("slow-chat", [asked("x")], idempotency_key="ours")
        with pytest.raises(ConflictError):
            await one.submit_batch("slow-chat", [asked("y")], idempotency_key="ours")
        with pytest.raises(ValidationError) as caught:
            await one.submit_batch("slow-chat", [asked("x"), {"messages": 3}])
        # Its job may be made only now, and is no business of who counts jobs next.
        await one.wait_for_batch(first.id, timeout_s=60)

    assert first.id == again.id
    assert any(field.startswith("inputs.1") for field in caught.value.errors)


async def test_the_books_add_up(rig: Rig) -> None:
    async with AsyncClient(str(rig.http.base_url), rig.key) as one:
        await one.wait_for_job((await one.create_job("slow-chat", asked("paid"))).id)
        account = await one.get_account()
        moved = [entry async for entry in one.list_transfers()]
        sums = [await one.get_usage(by=by) for by in ("day", "key", "workload")]

    spending = [entry for entry in moved if entry.account == "spending"]
    assert sum(entry.amount for entry in spending) == account.credits == spending[0].balance_after
    spent = -sum((entry.amount for entry in spending if entry.amount < 0), Decimal(0))
    assert [sum(row.credits for row in rows) for rows in sums] == [spent] * 3
    assert len({(entry.id, entry.account) for entry in moved}) == len(moved)


async def test_reasons_are_told(rig: Rig) -> None:
    async with AsyncClient(str(rig.http.base_url), rig.key) as one:
        job = await one.wait_for_job((await one.create_job("slow-chat", asked("why"))).id)
        why = await one.why_job(job.id)
        island = (await one.list_islands())[0]
        theirs = await one.why_island(island.id)
        earned = await one.get_island_earnings(island.id, by="workload")

    (attempt,) = why.attempts
    assert (attempt.island, attempt.fit, why.waiting) == (island.name, 1, None)
    assert sum(one.gave for one in attempt.preferences) == pytest.approx(attempt.score, abs=0.001)
    assert theirs.island_id == island.id
    # Among what the Island did for others' tests.
    assert {row.workload: row.completed for row in earned}["slow-chat"] > 0
