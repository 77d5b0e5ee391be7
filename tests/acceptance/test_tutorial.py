"""A newcomer's ten minutes: every command of the tutorial, literally from the page, against a running network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT, Network
from .typed import blocks, environment, typed

PAGE = ROOT / "docs" / "tutorials" / "first-cargo.md"


def needs() -> None:
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("needs root on Linux: the sandbox of this page is run directly")
    probe = "import asyncio, pathlib, tempfile\nfrom archipelag_kit.conformance import rooms\n"
    probe += "asyncio.run(rooms.open_room('oci', pathlib.Path(tempfile.gettempdir())))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("needs crun, runc or an engine")


def test_the_tutorial_works_as_it_is_written(network: Network, tmp_path: Path) -> None:
    needs()
    page = PAGE.read_text()
    script = tmp_path / "typed.sh"
    script.write_text("\n".join(blocks(page)))
    assert script.read_text().count("archipelag cargo") >= 9

    with typed(script, tmp_path, environment(network, tmp_path, network.api_key)) as told:
        assert "2 passed" in told
        assert "15 of 15 checks passed" in told
        assert "✓ conformance" in told

    with network.http() as client:
        mine = client.get("/cargos").json()["data"]
    found = next(one for one in mine if one["slug"] == "word-count")
    assert found["status"] == "verified"
    assert all(check["passed"] for check in found["checks"]) and len(found["checks"]) == 6
