"""The pages about the command line and about Python: each command and program on them, on a real network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT, Network

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.S | re.M)
ON_THE_PAGE_URL, ON_THE_PAGE_KEY = "http://127.0.0.1:8420", "ak_…"
WHOLE_S = 200


def blocks(page: str, language: str) -> list[str]:
    return [text for named, text in BLOCK.findall((ROOT / page).read_text()) if named == language]


def environment(network: Network, home: Path) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if "ARCHIPELAG" not in name}
    return ours | {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


def run(program: list[str], folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        program,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WHOLE_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


@pytest.mark.real_model
def test_every_command_of_the_page_does_what_it_says(network: Network, tmp_path: Path) -> None:
    key = network.user("typist@example.org", "100")
    typed = "".join(blocks("docs/how-to/command-line.md", "sh"))
    assert ON_THE_PAGE_URL in typed and ON_THE_PAGE_KEY in typed and typed.count("archipelag") > 25
    typed = typed.replace(ON_THE_PAGE_URL, network.api_url).replace(ON_THE_PAGE_KEY, key)

    bash = shutil.which("bash")
    assert bash is not None
    done = run([bash, "-euxc", typed], tmp_path, environment(network, tmp_path))

    results = (tmp_path / "words.jsonl.results.jsonl").read_text().splitlines()
    assert len(results) == 3 and all('"status": "completed"' in line for line in results)
    assert "3 of 3 were done before" in done.stderr
    assert (tmp_path / "square.png").read_bytes().startswith(b"\x89PNG")
    assert key not in done.stdout, "a key is not printed"
    assert (tmp_path / "config" / "archipelag" / "config.toml").stat().st_mode & 0o077 == 0


@pytest.mark.real_model
@pytest.mark.parametrize("number", range(3))
def test_every_program_of_the_page_runs(network: Network, tmp_path: Path, number: int) -> None:
    programs = blocks("docs/how-to/python.md", "python")
    assert len(programs) == 3
    env = environment(network, tmp_path)
    env["ARCHIPELAG_API_URL"] = network.api_url
    env["ARCHIPELAG_API_KEY"] = network.user(f"programmer-{number}@example.org", "100")

    done = run([sys.executable, "-c", programs[number]], tmp_path, env)

    assert done.stdout
