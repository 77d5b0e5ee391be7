"""What an owner and an operator type, on a whole network: join, doctor, earnings; doctor, admin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .conftest import Network, address

HEALTHY = (
    *("Coordinator", "clock", "broker name", "broker port", "broker", "broker welcome"),
    *("credentials", "enrolment", "rights", "folder"),
)


def island(network: Network, home: Path, key: str, *words: str) -> tuple[int, str]:
    env = {
        "PATH": os.environ["PATH"],
        "ARCHIPELAG_ISLAND_HOME": str(home),
        "ARCHIPELAG_API_URL": network.api_url,
        "ARCHIPELAG_API_KEY": key,
    }
    program = [sys.executable, "-m", "archipelag_island", *words]
    done = subprocess.run(program, env=env, capture_output=True, text=True, timeout=90, check=False)
    return done.returncode, done.stdout + done.stderr


def test_owner_joins_asks_the_doctor_and_sees_no_earnings_yet(
    network: Network, tmp_path: Path
) -> None:
    key = network.user("joins@example.org", "0")
    with network.http(key) as http:
        code = http.post("/pairing-codes").json()["data"]["code"]

    joined, told = island(network, tmp_path / "home", key, "join", address(network), code.lower())
    _, advice = island(network, tmp_path / "home", key, "doctor")
    earned, shown = island(network, tmp_path / "home", key, "earnings")
    stranger, refused = island(
        network, tmp_path / "home", network.user("s@example.org", "0"), "earnings"
    )

    assert joined == 0 and "start it with `archipelag-island run`" in told
    states = dict(
        reversed(line.split(":")[0].split(None, 1)) for line in advice.splitlines() if ":" in line
    )
    assert {what: states.get(what) for what in HEALTHY} == dict.fromkeys(HEALTHY, "ok"), advice
    assert (earned, stranger) == (0, 1), shown
    assert "nothing yet" in shown and "not an Island of this key's account" in refused


def test_operator_finds_nothing_wrong_and_lists_the_islands(
    network: Network, tmp_path: Path
) -> None:
    at = network.api_url.removesuffix("/api/v1")
    env = {
        "PATH": os.environ["PATH"],
        "ARCHIPELAG_DATABASE_URL": network.database_url,
        "ARCHIPELAG_NATS_URL": network.nats_url,
        "ARCHIPELAG_STATE_DIR": str(network.home / "coordinator"),
        "ARCHIPELAG_HTTP_PORT": at.rpartition(":")[2],
        "ARCHIPELAG_GRPC_PORT": address(network).rpartition(":")[2],
        "ARCHIPELAG_API_KEY": network.api_key,
    }

    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "archipelag_coordinator", *words]
        return subprocess.run(
            program, env=env, capture_output=True, text=True, timeout=90, check=False
        )

    doctor, islands = ask("doctor"), ask("admin", "islands")

    assert doctor.returncode == 0, doctor.stdout
    assert "fail" not in {line.split()[0] for line in doctor.stdout.splitlines()}
    assert "ok   ledger: every balance is what its entries say" in doctor.stdout
    assert "ok   door for Islands" in doctor.stdout
    assert islands.returncode == 0 and "test-island" in islands.stdout
