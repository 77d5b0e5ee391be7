"""What an image takes along of the packages that are installed here."""

from __future__ import annotations

from pathlib import Path

import pytest
from archipelag_kit.commands.collecting import collect


@pytest.mark.parametrize(
    "names", [("psycopg[pool]", "psycopg[binary]"), ("psycopg[binary]", "psycopg[pool]")]
)
def test_extras_that_a_second_asks_for_are_brought_too(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    folder = collect(names, tmp_path)

    assert {"psycopg", "psycopg_binary", "psycopg_pool"} <= {each.name for each in folder.iterdir()}
