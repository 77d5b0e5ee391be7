"""The folder by which Island and Cargo meet."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from archipelag_island.adapters.runtimes.exchange import Exchange
from archipelag_island.errors import BadInput
from archipelag_island.runtime import InputFile
from archipelag_island.testing.builders import the_echo_manifest

INSIDE = PurePosixPath("/inside")


@pytest.fixture
def exchange(tmp_path: Path) -> Exchange:
    return Exchange.make(tmp_path, "test-", the_echo_manifest())


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_showing_a_file_leaves_the_original_as_it_was(
    exchange: Exchange, tmp_path: Path, mode: int
) -> None:
    given = tmp_path / "given"
    given.write_text("x")
    given.chmod(mode)

    with exchange.with_inputs("run", [InputFile("name", given)], INSIDE) as seen:
        shown = exchange.inputs / "run" / "name"
        assert seen == "/inside/in/run"
        assert shown.read_text() == "x"
        assert shown.stat().st_mode & 0o444 == 0o444, "the Cargo's user reads it"

    assert given.stat().st_mode & 0o7777 == mode
    assert given.read_text() == "x" and given.stat().st_nlink == 1
    assert not list(exchange.inputs.iterdir())


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "nul\0", "x" * 129])
def test_name_that_leads_elsewhere_is_refused(
    exchange: Exchange, tmp_path: Path, name: str
) -> None:
    given = tmp_path / "given"
    given.write_text("x")

    with (
        pytest.raises(BadInput, match="cannot be the name"),
        exchange.with_inputs("run", [InputFile(name, given)], INSIDE),
    ):
        pass

    assert not list(exchange.inputs.iterdir())
