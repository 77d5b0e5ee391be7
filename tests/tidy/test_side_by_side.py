"""How tests share workers and networks: what belongs together goes to one worker, and a network ends with its tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import os
from pathlib import Path

import pytest

@pytest.mark.parametrize("number", range(6))
def test_where(number{network}):
    with open(os.environ["TOLD"], "a") as told:
        told.write(f"{Path(__file__).parent} {{os.environ.get('PYTEST_XDIST_WORKER')}}\\n")
""".replace("{Path(__file__).parent}", "{{Path(__file__).parent.name}}")
NETWORK = """
import os
import pytest

def tell(what):
    with open(os.environ["TOLD"], "a") as told:
        told.write(f"{what} of the network\\n")

@pytest.fixture(scope="session")
def network():
    tell("start")
    yield
    tell("end")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Six tests in each file, under the rules that hold here."""
    shutil.copy(ROOT / "conftest.py", tmp_path)
    files = {
        "tests/escape/test_some.py": TESTS.format(network=""),
        "island/tests/integration/test_runtime_oci_some.py": TESTS.format(network=""),
        "tests/supply/test_some.py": TESTS.format(network=""),
        "tests/supply/test_more.py": TESTS.format(network=""),
        "tests/one/test_some.py": TESTS.format(network=""),
        "oci/test_some.py": TESTS.format(network=""),
        "tests/sdk/conftest.py": NETWORK,
        "tests/sdk/test_some.py": TESTS.format(network=", network"),
        "tests/sdk/test_more.py": TESTS.format(network=", network"),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def told_by(project: Path, *options: str) -> list[list[str]]:
    """What the tests and the network wrote, in this order."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", *options, "."],
        cwd=project,
        env=os.environ | {"TOLD": str(project / "told")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "48 passed" in done.stdout, done.stdout + done.stderr
    return [line.split() for line in (project / "told").read_text().splitlines()]


def test_what_belongs_together_goes_to_one_worker(project: Path) -> None:
    told = told_by(project, "--numprocesses=2", "--dist=loadgroup", "--no-loadscope-reorder")

    workers = {name: {line[1] for line in told if line[0] == name} for name, *_ in told}
    used = {name: where for name, where in workers.items() if name not in ("start", "end")}
    assert set(used) == {"escape", "integration", "supply", "one", "oci", "sdk"}
    assert all(len(where) == 1 for where in used.values()), used
    assert used["escape"] == used["integration"]
    assert set.union(*used.values()) == {"gw0", "gw1"}
    assert [line[0] for line in told if "network" in line] == ["start", "end"]


def test_a_network_ends_with_the_last_test_of_its_folder(project: Path) -> None:
    told = [line[0] for line in told_by(project, "-p", "no:xdist")]

    began, ended = told.index("start"), told.index("end")
    assert told[began + 1 : ended] == ["sdk"] * 12
    assert told[:began] == ["supply"] * 12 + ["integration"] * 6 + ["escape"] * 6
    assert told[ended + 1 :] == ["one"] * 6 + ["oci"] * 6
