"""What a cut link does to what waits and to what is kept: jobs in line, files, backups."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import httpx
import pytest

from tests.trouble.rig import said

from .conftest import Regions
from .rig import Region
from .test_regions import WORDS, where

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def submitted(region: Region) -> str:
    """A job that nobody reads; it may wait for minutes."""
    body = {
        "workload": "slow-chat",
        "input": {
            "messages": [
                {"role": "system", "content": json.dumps({"delay_ms": 1})},
                {"role": "user", "content": said(WORDS)},
            ],
            "max_tokens": WORDS,
        },
    }
    answer = await region.http.post("/jobs", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["id"])


async def upload(region: Region, content: bytes) -> httpx.Response:
    return await region.http.post(
        "/files", files={"file": ("words.txt", content)}, data={"purpose": "user_data"}
    )


async def content(region: Region, file: str) -> httpx.Response:
    return await region.http.get(f"/files/{file}/content")


async def names(region: Region) -> set[str]:
    return {one["id"] for one in (await region.http.get("/files")).json()["data"]}


async def backup(region: Region, file: Path) -> tuple[int, str]:
    """By that region's settings: its exit status, and what it said."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "archipelag_coordinator", "backup", str(file)),
        *("--files", str(file.with_name("files"))),
        env=region.environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await program.communicate()
    assert program.returncode is not None
    return program.returncode, (out + err).decode()


def files_in(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir() if one.is_file())


async def ended(region: Region, job: str) -> bool:
    return region.rows("SELECT status FROM jobs WHERE id = %s", job) == [("succeeded",)]


async def test_a_job_in_line_waits_for_its_own_islands_and_goes_abroad_once_it_can(
    regions: Regions,
) -> None:
    await regions.whole()
    east, west = regions.east, regions.west

    async with west.without_island():
        west.link.break_()
        await west.until(west.reaches_nobody, "west knows that east is away")
        job = await submitted(west)
        at_home = [await east.stream(WORDS, delay_ms=1) for _ in range(3)]
        waits = west.rows("SELECT status FROM jobs WHERE id = %s", job)
        west.link.mend()
        await west.until(lambda: ended(west, job), "what waited has run")

    assert [one.error for one in at_home] == ["", "", ""]
    assert waits == [("queued",)]
    assert where(west, job)[-1] == "east-0"
    assert west.billed(job)[2] == 1


async def test_files_that_the_other_region_keeps_are_away_and_no_half_of_one_is_left(
    regions: Regions, tmp_path: Path
) -> None:
    await regions.whole()
    east, west = regions.east, regions.west
    before = (await upload(west, b"before")).json()["id"]

    west.link.break_()
    await west.until(west.reaches_nobody, "west knows that east is away")
    known = await names(west)
    refused = [await content(west, before), await upload(west, b"meanwhile")]
    status, told = await backup(west, tmp_path / "network.backup")
    left = await asyncio.to_thread(files_in, tmp_path)
    at_east = [await content(east, before), await upload(east, b"at home")]
    await regions.whole()
    after = await content(west, before)
    again, _ = await backup(west, tmp_path / "network.backup")

    assert [one.status_code for one in refused] == [503, 503]
    assert (status, left) == (1, []), told
    assert "does not answer" in told
    assert [one.status_code for one in at_east] == [200, 200]
    assert at_east[0].content == after.content == b"before"
    assert await names(west) == known | {at_east[1].json()["id"]}
    assert again == 0
