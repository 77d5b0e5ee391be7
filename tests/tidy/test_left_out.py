"""Where everything must run, a test that is left out is a failure, but for want of what a machine may lack."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import pytest

@pytest.fixture
def model():
    pytest.skip("the model is not installed; run `make model`")

def test_with_a_model(model): ...

def test_with_an_engine():
    pytest.importorskip("no_such_engine", reason="needs the Cargos' engines")

def test_with_a_tool_of_nobodys_list():
    pytest.skip("needs nginx: it serves the pages")

def test_by_root():
    pytest.skip("needs root: makes control groups")

def test_with_a_gpu():
    pytest.skip("needs a GPU: none is in /dev")

@pytest.mark.xfail(reason="not installed", strict=True)
def test_that_fails():
    raise AssertionError
"""
WHOLE = "import pytest\npytest.importorskip('no_such_module')\n"


@pytest.mark.parametrize(
    ("ci", "ends"),
    [("", "6 skipped, 1 xfailed"), ("true", "2 failed, 2 skipped, 1 xfailed, 2 errors")],
)
def test_what_is_missing_is_left_out_or_fails(tmp_path: Path, ci: str, ends: str) -> None:
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_whole.py").write_text(WHOLE)
    command = [sys.executable, "-m", "pytest", "-q", "--continue-on-collection-errors"]

    done = subprocess.run(
        [*command, "-p", "no:randomly", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert ends in done.stdout, done.stdout + done.stderr
    assert ("although everything must run here" in done.stdout) is bool(ci)
