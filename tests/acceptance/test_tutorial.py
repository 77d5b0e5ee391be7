"""A newcomer's ten minutes: every command of the tutorial, literally from the page, against a running network."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import ROOT, Network

PAGE = ROOT / "docs" / "tutorials" / "first-cargo.md"
BLOCK = re.compile(r"^```(\w+)(?: (\w+)=(\S+))?\n(.*?)^```$", re.S | re.M)
WHOLE_S = 300.0
PORT = 5055


def blocks(page: str) -> Iterator[str]:
    """The page as shell commands: what it says to type, and what it says to write."""
    for language, what, name, text in BLOCK.findall(page):
        if language == "sh":
            yield text
        elif what:
            sign = ">>" if what == "append" else ">"
            yield f"cat {sign} {name} <<'THE-END-OF-IT'\n{text}THE-END-OF-IT\n"


def needs() -> None:
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("needs root on Linux: the sandbox of this page is run directly")
    probe = "import asyncio, pathlib, tempfile\nfrom archipelag_kit.conformance import rooms\n"
    probe += "asyncio.run(rooms.open_room('oci', pathlib.Path(tempfile.gettempdir())))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("needs crun, runc or an engine")


@contextmanager
def typed(script: Path, folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """What it printed; whatever it left running is ended afterwards."""
    with (folder / "told").open("w+") as told:
        process = subprocess.Popen(
            ["bash", "-eux", script],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            start_new_session=True,
        )
        try:
            status = process.wait(WHOLE_S)
            text = (folder / "told").read_text()
            assert status == 0, text[-6000:]
            yield text
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def test_the_tutorial_works_as_it_is_written(network: Network, tmp_path: Path) -> None:
    needs()
    page = PAGE.read_text()
    script = tmp_path / "typed.sh"
    script.write_text("\n".join(blocks(page)))
    assert script.read_text().count("archipelag cargo") >= 9
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ARCHIPELAG_API_URL": network.api_url,
        "ARCHIPELAG_API_KEY": network.api_key,
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }

    with typed(script, tmp_path, environment) as told:
        assert "2 passed" in told
        assert "15 of 15 checks passed" in told
        assert "✓ conformance" in told

    with network.http() as client:
        mine = client.get("/cargos").json()["data"]
    found = next(one for one in mine if one["slug"] == "word-count")
    assert found["status"] == "verified"
    assert all(check["passed"] for check in found["checks"]) and len(found["checks"]) == 6
