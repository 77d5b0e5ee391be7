"""What was recorded is still what the real server answers: each exchange is had again and compared in its shape."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import TRAP
from tests.trouble.rig import Rig

from . import exchange
from .record import record

pytestmark = pytest.mark.asyncio(loop_scope="session")
ROOT = Path(__file__).parents[2]
ECHO = ROOT / "island/src/archipelag_island/testing/echo_engine/manifest.toml"
FAST = ROOT / "tests/chaos/fast_chat.toml"
PICTURES = ("generate_image", "embed")
OF_A_PLACE = ("an Island", "Islands", "models", "the catalogue", "a workload")
"""What differs from network to network in more than its values: compared in their first one only."""


def coordinator(rig: Rig, *arguments: str) -> dict[str, Any]:
    program = [sys.executable, "-m", "archipelag_coordinator", *arguments]
    done = subprocess.run(
        program, env=rig.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def user(rig: Rig, name: str, credit: str, rate: str) -> str:
    asked = ("--email", f"{name}@example.org", "--credits", credit, "--rate", rate)
    return str(coordinator(rig, "user", "add", *asked)["api_key"])


def shape(value: Any) -> Any:
    """Names and kinds; what may be missing (null) is any kind, and a list is what its first one is."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in sorted(value.items())}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "number" if isinstance(value, (int, float)) else "text"


def differs(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two shapes differ: a missing name, or another kind."""
    if isinstance(one, dict) and isinstance(other, dict):
        missing = [f"{where}.{name}" for name in one.keys() ^ other.keys()]
        both = one.keys() & other.keys()
        return missing + [w for n in both for w in differs(one[n], other[n], f"{where}.{n}")]
    if isinstance(one, list) and isinstance(other, list):
        return differs(one[0], other[0], f"{where}[]") if one and other else []
    return [] if one == other or "NoneType" in (one, other) else [f"{where}: {one} / {other}"]


async def test_the_real_server_still_answers_in_these_shapes(rig: Rig, tmp_path: Path) -> None:
    trap = tmp_path / "trap.toml"
    trap.write_text(TRAP)
    for manifest in (ECHO, FAST, trap):
        await asyncio.to_thread(coordinator, rig, "cargo", "publish", str(manifest))

    async def offered() -> bool:
        hosts = (await rig.http.get("/hosts")).json()["data"]
        warm = {one["slug"] for h in hosts for one in h["cargos"] if one["state"] == "warm"}
        return {"echo", "fast-chat"} <= warm

    await rig.until(offered, "echo and fast-chat are warm")
    customers = (("rich", "100", "1000"), ("poor", "0", "1000"), ("slow", "1", "1"))
    keys = [await asyncio.to_thread(user, rig, *one) for one in customers]
    url = str(rig.http.base_url)

    again = await asyncio.to_thread(lambda: record(url, *keys, pictures=False))

    now = {told["name"]: told for told in again}
    then = {
        told["name"]: told
        for told in exchange.read()
        if told["recorded"] and told["call"]["method"] not in PICTURES
    }
    assert now.keys() == then.keys() and len(now) > 45
    for name, told in then.items():
        if name in OF_A_PLACE:
            continue
        for part in ("request", "response", "result"):
            found = differs(shape(told[part]), shape(now[name][part]), f"{name}: {part}")
            assert found == [], name
        assert told["response"]["status"] == now[name]["response"]["status"], name


async def test_a_shape_that_differs_is_seen() -> None:
    one = {"a": 1, "b": [{"c": "x"}], "d": None}

    assert differs(shape(one), shape({"a": 2, "b": [{"c": "y"}, {}], "d": "now"})) == []
    assert differs(shape(one), shape({"a": "1", "b": [], "d": None})) == [".a: number / text"]
    assert differs(shape(one), shape({"a": 1, "b": [{"c": "x", "e": 1}], "d": 1})) == [".b[].e"]
