"""The package as it is installed: what is in its wheel, and the first examples of its page, run as they stand."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import archipelag
import httpx
import pytest
from archipelag import AsyncClient
from stub import TEXTS, Network

PACKAGE = Path(__file__).parents[2]
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", (PACKAGE / "README.md").read_text(), re.M | re.S)


def test_the_wheel_has_all_modules_their_types_and_the_page_and_no_tests(tmp_path: Path) -> None:
    # A copy, so that the build leaves nothing among the sources.
    copy = tmp_path / "copy"
    left_out = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    shutil.copytree(PACKAGE, copy, ignore=left_out)
    made = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    made += ["--no-build-isolation", "--wheel-dir", str(tmp_path), str(copy)]
    subprocess.run(made, check=True, timeout=100, capture_output=True)
    (wheel,) = tmp_path.glob("archipelag-*.whl")

    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
        (about,) = (name for name in names if name.endswith("METADATA"))
        told = opened.read(about).decode()
        (entry,) = (name for name in names if name.endswith("entry_points.txt"))
        commands = opened.read(entry).decode()

    source = PACKAGE / "src"
    modules = {str(one.relative_to(source)) for one in source.rglob("*.py")}
    assert {one for one in names if ".dist-info/" not in one} == modules | {"archipelag/py.typed"}
    assert "archipelag = archipelag.cli:main" in commands
    assert re.findall(r"^Requires-Dist: (\S+)", told, re.M) == ["httpx>=0.27"]
    assert "Description-Content-Type: text/markdown" in told and "# archipelag" in told


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_first_examples_run(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = Network()

    def async_client() -> AsyncClient:
        layer = httpx.MockTransport(network)
        return AsyncClient("http://network.test", "ak_test", transport_layer=layer)

    monkeypatch.setattr(archipelag, "Client", network.client)
    monkeypatch.setattr(archipelag, "AsyncClient", async_client)

    exec(compile(program, "README.md", "exec"), {"__name__": "__main__"})

    assert "".join(TEXTS) in capsys.readouterr().out


def test_there_are_first_examples() -> None:
    assert len(PROGRAMS) == 3
