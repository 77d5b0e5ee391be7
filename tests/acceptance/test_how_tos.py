"""How-tos that are typed literally, as the tutorials are."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import ROOT, Network
from .typed import blocks, environment, typed


def script_of(page: str, folder: Path) -> Path:
    script = folder / "typed.sh"
    script.write_text("\n".join(blocks((ROOT / "docs" / "how-to" / page).read_text())))
    return script


def operators(network: Network, folder: Path) -> dict[str, str]:
    return environment(network, folder, network.api_key) | {
        "ARCHIPELAG_DATABASE_URL": network.database_url,
        "ARCHIPELAG_NATS_URL": network.nats_url,
        "ARCHIPELAG_STATE_DIR": str(network.home / "coordinator"),
    }


def test_back_it_up(network: Network, tmp_path: Path) -> None:
    script = script_of("back-up.md", tmp_path)

    with typed(script, tmp_path, operators(network, tmp_path)) as told:
        assert told.count('"drifted": []') == 2

    for name in ("network.backup", "sealed.backup"):
        file = tmp_path / name
        assert file.stat().st_mode & 0o077 == 0
    assert (tmp_path / "network.backup").read_bytes().startswith(b"PGDMP")
    assert b"PGDMP" not in (tmp_path / "sealed.backup").read_bytes()
    with network.http() as http:
        head = http.get("/admin/audit/check").json()["data"]["hash"]
    hashes = {json.loads(one)["audit_hash"] for one in objects(told)}
    # The first one is noted in the log, so that the second has another newest entry.
    assert len(hashes) == 2 and len(head) == 64


def objects(told: str) -> list[str]:
    """The JSON objects that were printed."""
    return ["{" + part.partition("\n}")[0] + "\n}" for part in told.split("\n{")[1:]]


def test_ask_the_doctor(network: Network, tmp_path: Path) -> None:
    script = script_of("doctor.md", tmp_path)
    given = operators(network, tmp_path) | {
        "ARCHIPELAG_ISLAND_HOME": str(network.home / "island"),
        "ARCHIPELAG_MODEL_DIR": str(network.home / "models"),
    }

    with typed(script, tmp_path, given) as told:
        assert "schema: the newest" in told
