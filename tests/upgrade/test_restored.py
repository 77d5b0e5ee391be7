"""A network of real processes loses its database and comes back from a backup, beside Islands that know more."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest_asyncio
from archipelag_embedded.postgres import DATABASE

from tests.trouble.rig import Rig, opened, said

SHORT, LONG = 20, 200


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[Rig]:
    async with opened("restored", Rig) as one:
        yield one


async def operator(rig: Rig, *words: str) -> dict[str, Any]:
    """What an operator's command prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "archipelag_coordinator",
        *words,
        env=rig.environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    told: dict[str, Any] = json.loads(out)
    return told


async def job(rig: Rig, words: int, delay_ms: int) -> str:
    """One that nobody waits for."""
    messages = [
        {"role": "system", "content": json.dumps({"delay_ms": delay_ms})},
        {"role": "user", "content": said(words)},
    ]
    asked = {"messages": messages, "max_tokens": words}
    answer = await rig.http.post("/jobs", json={"workload": "slow-chat", "input": asked})
    assert answer.status_code in (200, 201, 202), answer.text
    return str(answer.json()["data"]["id"])


async def ended(rig: Rig, *jobs: str) -> None:
    async def all_have() -> bool:
        rows = rig.rows(
            "SELECT count(*) FROM jobs WHERE id = ANY(%s) AND ended_at IS NOT NULL", list(jobs)
        )
        return rows == [(len(jobs),)]

    await rig.until(all_have, "the jobs have ended", 90)


def lose_the_database(rig: Rig) -> None:
    rig.postgres.drop_database(DATABASE)
    rig.postgres.create_database(DATABASE)


async def test_a_restored_network_goes_on_and_its_books_are_exact(rig: Rig) -> None:
    file = rig.home / "network.backup"
    done = [await job(rig, SHORT, 0) for _ in range(3)]
    await ended(rig, *done)
    running = [await job(rig, LONG, 40) for _ in range(2)]
    async with rig.streaming(4, LONG, delay_ms=20) as streams:
        written = await operator(rig, "backup", str(file))
    # None of them was kept waiting, and all of this is lost again: two jobs done and paid, one at work.
    assert [len(one.text.split()) for one in streams] == [LONG] * 4
    await ended(rig, *running)
    after = await job(rig, LONG, 200)
    await asyncio.sleep(2)

    rig.coordinator.signal(signal.SIGKILL)
    await asyncio.to_thread(rig.coordinator.wait, 10)
    await asyncio.to_thread(lose_the_database, rig)
    told = await operator(rig, "restore", str(file))
    await rig.start_coordinator()
    await rig.whole()

    assert told["books_exact"] and told["audit_whole"]
    assert (told["transfers"], told["audit_hash"]) == (written["transfers"], written["audit_hash"])
    assert told["attempts_taken_back"] >= 2
    assert (await rig.http.get(f"/jobs/{after}")).status_code == 404
    await ended(rig, *done, *running)
    for one in done:
        assert rig.billed(one) == ("succeeded", SHORT, 1)
    for one in running:
        assert rig.billed(one) == ("succeeded", LONG, 1), rig.reasons(one)
        assert "lease_lost" not in [cause for _, cause in rig.attempts(one)]
    blamed = rig.rows("SELECT count(*) FROM karma_notes WHERE kind <> 'good_work'")
    assert blamed == [(0,)]

    async def islands_are_idle() -> bool:
        told = [json.loads((home / "status.json").read_text()) for home in islands]
        return all(not one["runs"] and not one["unsettled"] for one in told)

    islands = [rig.home / f"island-{number}" for number in range(len(rig.islands))]
    await rig.until(islands_are_idle, "what the backup does not know is stopped and forgotten")
    again = await rig.stream(SHORT, delay_ms=0)
    assert (again.status, len(again.text.split())) == (200, SHORT), again.error
    check = (await rig.http.get("/admin/ledger-check")).json()["data"]
    assert check["balanced"], check
    assert (await rig.http.get("/admin/audit/check")).json()["data"]["whole"]
    with psycopg.connect(rig.postgres.dsn()) as database:
        versions = database.execute("SELECT max(version) FROM catalogue_documents").fetchone()
    assert versions is not None and versions[0] > 1_000_000, "signed anew, above what Islands hold"


async def test_files_come_back_where_broker_and_database_lost_all(rig: Rig) -> None:
    file, folder = rig.home / "network.backup", rig.home / "files"
    contents = [b"a line\n", secrets.token_bytes(700_000), secrets.token_bytes(3_000_000)]
    ids = [await uploaded(rig, data) for data in contents[:2]]
    first = await operator(rig, "backup", str(rig.home / "earlier"), "--files", str(folder))
    ids.append(await uploaded(rig, contents[2]))
    written = await operator(rig, "backup", str(file), "--files", str(folder))

    rig.coordinator.signal(signal.SIGKILL)
    await asyncio.to_thread(rig.coordinator.wait, 10)
    await asyncio.to_thread(lose_the_database, rig)
    await asyncio.to_thread(rig.nats.stop)
    await asyncio.to_thread(shutil.rmtree, rig.nats.store)
    await asyncio.to_thread(rig.nats.start)
    told = await operator(rig, "restore", str(file), "--files", str(folder))
    await rig.start_coordinator()
    await rig.whole()

    assert (first["files_copied"], written["files"], written["files_copied"]) == (2, 3, 1)
    assert (told["files"], told["files_put"], told["files_missing"]) == (3, 3, [])
    answers = [await rig.http.get(f"/files/{one}/content") for one in ids]
    assert [one.content for one in answers] == contents
    check = (await rig.http.get("/admin/ledger-check")).json()["data"]
    assert check["balanced"], check


async def uploaded(rig: Rig, data: bytes) -> str:
    answer = await rig.http.post(
        "/files", files={"file": ("data.bin", data)}, data={"purpose": "user_data"}
    )
    assert answer.status_code in (200, 201), answer.text
    return str(answer.json()["id"])
