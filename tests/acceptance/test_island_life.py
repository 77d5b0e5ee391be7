"""An owner takes the machine back, and no reader notices: drained in mid-stream, paused, outside its schedule."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    "seed": 12,
}
DRAINED_AT = 30
NAME = "lent-island"


@contextmanager
def lent(network: Network, home: Path, **settings: str) -> Iterator[Path]:
    """Another Island on this machine with these settings; its home."""
    with network.http() as http:
        code = http.post("/pairing-codes").json()["data"]["code"]
    env = environment(network.home) | {
        "ARCHIPELAG_ISLAND_HOME": str(home),
        "ARCHIPELAG_ISLAND_NAME": NAME,
        "ARCHIPELAG_COORDINATOR": (network.home / "island" / "coordinator").read_text().strip(),
        "ARCHIPELAG_PAIRING_CODE": code,
        "ARCHIPELAG_MODEL_DIR": str(network.home / "models"),
        **settings,
    }
    with (network.home / f"{NAME}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "archipelag_island", "run"], env=env, stdout=log, stderr=log
        )
    try:
        yield home
    finally:
        process.terminate()
        process.wait(30)
        with network.http() as http:
            for host in http.get("/hosts").json()["data"]:
                if host["name"] == NAME:
                    http.post(f"/admin/islands/{host['id']}/suspend")


def command(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`archipelag-island …` as the owner types it."""
    program = [sys.executable, "-m", "archipelag_island", *arguments]
    env = environment(home) | {"ARCHIPELAG_ISLAND_HOME": str(home)}
    return subprocess.run(program, env=env, capture_output=True, text=True, timeout=90, check=False)


def host(network: Network, name: str) -> dict[str, Any]:
    """The newest Island of this name, as the network shows it."""
    with network.http() as http:
        found = [h for h in http.get("/hosts").json()["data"] if h["name"] == name]
    live = [h for h in found if h["status"] not in ("suspended", "retired", "banned")]
    return live[-1] if live else {"status": "unknown", "cargos": []}


def has_warm(network: Network, name: str, slug: str) -> bool:
    cargos = host(network, name)["cargos"]
    return any(c["slug"] == slug and c["state"] == "warm" for c in cargos)


def stream(http: httpx.Client, after: int, then: Callable[[str], None]) -> tuple[str, str]:
    """The text and the job, with `then` called in mid-stream with the name of the Island that serves it."""
    pieces: list[str] = []
    with http.stream("POST", "/chat/completions", json=ASK | {"stream": True}) as answer:
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            if not line.startswith("data:") or line == "data: [DONE]":
                continue
            choices = json.loads(line[5:])["choices"]
            pieces.append(str(choices[0]["delta"].get("content") or "") if choices else "")
            if len(pieces) == after:
                then(answer.headers["x-archipelag-island"])
    return "".join(pieces), answer.headers["x-archipelag-job"]


@pytest.mark.real_model
def test_a_drained_island_is_not_noticed_in_the_stream(network: Network, tmp_path: Path) -> None:
    key = network.user("drained@example.org", "100")
    drains: list[subprocess.CompletedProcess[str]] = []
    homes: dict[str, Path] = {}

    def drain(name: str) -> None:
        homes["drained"] = homes[name]
        drains.append(command(homes[name], "drain", "--now"))

    with lent(network, tmp_path / "lent") as second, network.http(key) as http:
        homes |= {NAME: second, "test-island": network.home / "island"}
        wait_for(
            lambda: has_warm(network, NAME, "llm-chat"), "the second Island has the model warm", 90
        )
        whole = http.post("/chat/completions", json=ASK).json()
        before = Decimal(str(http.get("/account").json()["data"]["credits"]))
        try:
            text, job_id = stream(http, DRAINED_AT, drain)
            while_drained = http.post("/chat/completions", json=ASK)
        finally:
            resumed = command(homes.get("drained", second), "resume")
        job: dict[str, Any] = http.get(f"/jobs/{job_id}").json()["data"]
        other: dict[str, Any] = http.get(
            f"/jobs/{while_drained.headers['x-archipelag-job']}"
        ).json()["data"]
        after = Decimal(str(http.get("/account").json()["data"]["credits"]))

    assert drains[0].returncode == 0, drains[0].stderr
    assert "1 handed over" in drains[0].stdout
    assert resumed.returncode == 0, resumed.stderr
    assert text == whole["choices"][0]["message"]["content"], "token for token"
    drained, done = tries(job)
    assert (drained["status"], done["status"]) == ("failed", "succeeded")
    assert drained["island_id"] != done["island_id"]
    assert done["first_position"] == drained["next_position"] >= DRAINED_AT
    assert [a["island_id"] for a in tries(other)] == [done["island_id"]], "it takes no more"
    usage = whole["usage"]
    owed = 2 * (20 * usage["prompt_tokens"] + 100 * usage["completion_tokens"])
    assert before - after == Decimal(owed) / 1_000_000, "each answer is paid once"


def test_paused_island_hands_over_and_works_again_by_itself(
    network: Network, tmp_path: Path
) -> None:
    line = Line(tmp_path)
    slow = {"workload": "echo", "input": {"text": "word", "items": 300, "delay_ms": 50}}
    key = network.user("paused@example.org", "10")
    first = network.home / "island"
    with lent(network, tmp_path / "lent", **line.settings) as second, network.http(key) as http:
        wait_for(lambda: has_warm(network, NAME, "echo"), "the second Island has echo warm", 60)
        before = Decimal(str(http.get("/account").json()["data"]["credits"]))
        assert command(first, "drain", "--now").returncode == 0
        try:
            job_id = http.post("/jobs", json=slow).json()["data"]["id"]
            wait_for(lambda: attempts(http, job_id) == ["running"], "it runs on the second Island")
        finally:
            command(first, "resume")

        line.becomes(metered=True)
        wait_for(lambda: len(attempts(http, job_id)) == 2, "it goes on on the first Island")
        page = wait_for(lambda: paused_page(second), "the status shows it")
        job: dict[str, Any] = wait_for(lambda: finished(http, job_id), "it has ended", 60)
        line.becomes(metered=False)
        wait_for(lambda: host(network, NAME)["status"] == "ready", "it takes work again")
        after = Decimal(str(http.get("/account").json()["data"]["credits"]))

    assert "paused: its line is metered" in page
    paused, done = tries(job)
    assert (paused["status"], done["status"]) == ("failed", "succeeded")
    assert "owner needs the machine" in paused["reason"]
    assert done["first_position"] == paused["next_position"]
    assert (job["status"], job["output"]) == ("completed", "word " * 300)
    usage = job["usage"]
    owed = 10 * usage["prompt_tokens"] + 50 * usage["completion_tokens"]
    assert before - after == Decimal(owed) / 1_000_000, "paid once"


class Line:
    """What NetworkManager says of the line of an Island, by the program that the Island asks."""

    def __init__(self, folder: Path) -> None:
        self._said = folder / "said"
        programs = folder / "bin"
        programs.mkdir()
        (programs / "busctl").write_text(f'#!/bin/sh\nexec cat "{self._said}"\n')
        (programs / "busctl").chmod(0o755)
        self.becomes(metered=False)
        self.settings = {
            "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}",
            "ARCHIPELAG_ISLAND_PAUSE_ON_METERED": "yes",
            "ARCHIPELAG_ISLAND_QUIET_S": "1",
        }

    def becomes(self, *, metered: bool) -> None:
        self._said.write_text("u 1\n" if metered else "u 2\n")


def tries(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Attempts that an Island took: one that was asked in the moment of its drain says no, and that is all."""
    return [one for one in job["attempts"] if one["status"] != "refused"]


def attempts(http: httpx.Client, job_id: str) -> list[str]:
    """How its attempts stand, but for those that were refused."""
    job: dict[str, Any] = http.get(f"/jobs/{job_id}").json()["data"]
    return [one["status"] for one in tries(job)]


def finished(http: httpx.Client, job_id: str) -> dict[str, Any] | None:
    job: dict[str, Any] = http.get(f"/jobs/{job_id}").json()["data"]
    return None if job["status"] in ("queued", "running") else job


def test_island_outside_its_schedule_gets_no_work_and_says_why(
    network: Network, tmp_path: Path
) -> None:
    closed = {"ARCHIPELAG_ISLAND_SCHEDULE": _another_time()}
    with lent(network, tmp_path / "lent", **closed) as home:
        wait_for(
            lambda: host(network, NAME)["status"] == "draining",
            "the network knows of its pause",
            60,
        )
        page = wait_for(lambda: paused_page(home), "the status shows it")
        told = json.loads(command(home, "status", "--json").stdout)
        doctor = command(home, "doctor").stdout

    assert "paused: it is outside the schedule" in page
    assert told["pause"]["paused"] and told["rules"]["schedule"]["open"] is False
    assert all(cargo["state"] != "warm" for cargo in told["cargos"]), "nothing is loaded meanwhile"
    assert "outside the schedule" in doctor


def paused_page(home: Path) -> str:
    page = command(home, "status").stdout
    return page if "paused" in page else ""


def _another_time() -> str:
    """A window that neither this minute nor the next ones are in."""
    asked = subprocess.run(["date", "+%H"], capture_output=True, text=True, check=True)
    hour = (int(asked.stdout) + 12) % 24
    return f"{hour:02d}:00-{hour:02d}:30"
