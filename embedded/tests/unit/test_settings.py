"""What a person chooses at the command line reaches those whom it is for."""

from __future__ import annotations

from pathlib import Path

import pytest
from archipelag_embedded import __main__ as command
from archipelag_embedded.settings import Settings
from archipelag_embedded.state import State


@pytest.mark.parametrize(
    ("words", "environment", "shape"),
    [
        (["up"], "", None),
        (["up"], "json", "json"),
        (["up", "--log-format", "json"], "", "json"),
        (["up", "--log-format", "text"], "json", "text"),
    ],
)
def test_children_log_as_they_are_told(
    words: list[str],
    environment: str,
    shape: str | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    started: list[Settings] = []

    def up(settings: Settings, _: State) -> int:
        started.append(settings)
        return 0

    monkeypatch.setattr(command, "up", up)
    monkeypatch.delenv("ARCHIPELAG_LOG_FORMAT", raising=False)
    if environment:
        monkeypatch.setenv("ARCHIPELAG_LOG_FORMAT", environment)

    assert command.main(["--state", str(tmp_path), *words]) == 0

    (settings,) = started
    assert settings.inherited.get("ARCHIPELAG_LOG_FORMAT") == shape
