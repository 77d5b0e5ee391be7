"""The first ten minutes of those who use, lend and run: the three tutorials, typed literally."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import ROOT, Network, address
from .typed import blocks, environment, typed

ENROL = "127.0.0.1:8421"


def script_of(page: str, folder: Path, *, least: int) -> Path:
    text = "\n".join(blocks((ROOT / "docs" / "tutorials" / page).read_text()))
    assert text.count("archipelag") >= least
    script = folder / "typed.sh"
    script.write_text(text)
    return script


@pytest.mark.real_model
def test_whoever_uses_the_network(network: Network, tmp_path: Path) -> None:
    script = script_of("use-the-network.md", tmp_path, least=11)
    key = network.user("newcomer@example.org", "100")

    with typed(script, tmp_path, environment(network, tmp_path, key)) as told:
        assert "3 completed" in told

    assert (tmp_path / "square.png").read_bytes().startswith(b"\x89PNG")
    results = (tmp_path / "texts.jsonl.results.jsonl").read_text().splitlines()
    assert len(results) == 3 and all('"status": "completed"' in line for line in results)
    with network.http(key) as http:
        names = [one["name"] for one in http.get("/api-keys").json()["data"]]
        done = {one["workload_slug"] for one in http.get("/jobs").json()["data"]}
    assert "laptop" in names
    assert {"llm-chat", "image-gen", "hash"} <= done


def test_whoever_lends_a_machine(network: Network, tmp_path: Path) -> None:
    script = script_of("lend-a-machine.md", tmp_path, least=8)
    text = script.read_text()
    assert ENROL in text
    script.write_text(text.replace(ENROL, address(network)))
    key = network.user("lender@example.org", "10")

    with typed(script, tmp_path, environment(network, tmp_path, key)) as told:
        assert "attic" in told

    with network.http(key) as http:
        (mine,) = [one for one in http.get("/hosts").json()["data"] if one["name"] == "attic"]
    assert [cargo["slug"] for cargo in mine["cargos"]] == ["hash"]


def test_whoever_runs_a_network(network: Network, tmp_path: Path) -> None:
    script = script_of("run-a-network.md", tmp_path, least=6)

    with typed(script, tmp_path, environment(network, tmp_path, network.api_key)) as told:
        assert '"status": "ok"' in told
        assert "test-island" in told

    with network.http() as http:
        noted = http.get("/admin/audit").json()["data"]
        checked = http.get("/admin/audit/check").json()["data"]
    assert len([one for one in noted if "a first look" in str(one)]) == 1
    assert checked["whole"] is True
