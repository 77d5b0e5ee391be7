"""The page in docs shows every attempt there is, and no escape."""

from __future__ import annotations

import re
from pathlib import Path

import module
import places

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "escape-suite.md").read_text()


def test_every_attempt_stands_in_the_page() -> None:
    shown = re.findall(r"^\| `(\w+)`: (.*?) \|", PAGE, re.MULTILINE)

    wanted = [(name, probe.what) for name, probe in places.probes().items()]
    wanted += list(module.PROBES.items())
    assert shown == wanted, "run `python tests/escape/page.py`"


def test_nothing_in_the_page_escaped() -> None:
    assert "ESCAPED" not in PAGE
    assert PAGE.count("| works |") > 40
