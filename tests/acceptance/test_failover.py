"""A host dies in mid-stream, and the reader cannot tell: every token once, paid once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from .conftest import CHAT_MODEL, Network, environment, wait_for

ASK = {
    "model": CHAT_MODEL,
    "messages": [{"role": "user", "content": "Write a long story about a lighthouse keeper."}],
    "max_tokens": 160,
    "temperature": 0.8,
    "seed": 11,
}
KILLED_AT = 30


@pytest.fixture
def second_island(network: Network, tmp_path: Path) -> Iterator[int]:
    """Another Island on this machine, enrolled by a pairing code; its process id."""
    with network.http() as http:
        code = http.post("/pairing-codes").json()["data"]["code"]
    coordinator = network.home / "island" / "coordinator"
    home = tmp_path / "second"
    env = environment(network.home) | {
        "ARCHIPELAG_ISLAND_HOME": str(home),
        "ARCHIPELAG_ISLAND_NAME": "second-island",
        "ARCHIPELAG_COORDINATOR": coordinator.read_text().strip(),
        "ARCHIPELAG_PAIRING_CODE": code,
        "ARCHIPELAG_MODEL_DIR": str(network.home / "models"),
    }
    with (network.home / "second.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "archipelag_island", "run"], env=env, stdout=log, stderr=log
        )
    try:
        wait_for(lambda: len(_warm_hosts(network)) == 2, "both Islands have the model warm", 60)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)
        with network.http() as http:
            for host in http.get("/hosts").json()["data"]:
                if host["name"] == "second-island":
                    http.post(f"/admin/islands/{host['id']}/suspend")


def _warm_hosts(network: Network) -> list[str]:
    with network.http() as http:
        hosts = http.get("/hosts").json()["data"]
    return [
        host["name"]
        for host in hosts
        if host["status"] == "ready"
        and any(c["slug"] == "llm-chat" and c["state"] == "warm" for c in host["cargos"])
    ]


def _kill_island(network: Network, name: str, second: int) -> None:
    """The agent is gone at once, as with a power cut; its Cargos die with it."""
    if name == "second-island":
        os.kill(second, signal.SIGKILL)
        return
    (agent,) = [
        process for process in network.processes("archipelag_island") if "run" in process.cmdline()
    ]
    agent.kill()


def _text(event: str) -> str:
    choices = json.loads(event)["choices"]
    return str(choices[0]["delta"].get("content") or "") if choices else ""


@pytest.mark.real_model
def test_a_killed_island_is_not_noticed_in_the_stream(network: Network, second_island: int) -> None:
    key = network.user("undisturbed@example.org", "100")
    with network.http(key) as http:
        whole = http.post("/chat/completions", json=ASK).json()
        undisturbed = whole["choices"][0]["message"]["content"]
        before = Decimal(str(http.get("/account").json()["data"]["credits"]))

        text, job_id = _stream_and_kill(network, http, second_island)

        job: dict[str, Any] = http.get(f"/jobs/{job_id}").json()["data"]
        after = Decimal(str(http.get("/account").json()["data"]["credits"]))

    assert text == undisturbed, "the answer is the undisturbed one, token for token"
    lost, done = [one for one in job["attempts"] if one["status"] != "refused"]
    # Silent for two seconds, or started again sooner by its supervisor and saying so itself.
    assert lost["status"] in ("lost", "failed")
    assert done["status"] == "succeeded"
    assert lost["island_id"] != done["island_id"]
    assert done["first_position"] == lost["next_position"] >= KILLED_AT
    usage = whole["usage"]
    assert job["usage"]["completion_tokens"] == usage["completion_tokens"] > KILLED_AT
    owed = 20 * usage["prompt_tokens"] + 100 * usage["completion_tokens"]
    assert before - after == Decimal(owed) / 1_000_000, "prompt and output are paid once"


def _stream_and_kill(network: Network, http: httpx.Client, second: int) -> tuple[str, str]:
    pieces: list[str] = []
    killed = False
    with http.stream("POST", "/chat/completions", json=ASK | {"stream": True}) as answer:
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            if not line.startswith("data:") or line == "data: [DONE]":
                continue
            pieces.append(_text(line[5:]))
            if not killed and len(pieces) > KILLED_AT:
                killed = True
                _kill_island(network, answer.headers["x-archipelag-island"], second)
    assert killed
    return "".join(pieces), answer.headers["x-archipelag-job"]
