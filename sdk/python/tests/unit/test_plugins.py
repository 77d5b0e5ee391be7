"""Commands of other packages: found by name, told about when they are missing, given what stood before them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from archipelag.cli import main, plugins

Out = pytest.CaptureFixture[str]


def installed(monkeypatch: pytest.MonkeyPatch, **commands: Callable[[Sequence[str]], int]) -> None:
    class Point(EntryPoint):
        def load(self) -> Any:
            return commands[self.name]

    points = [Point(name, "made:up", plugins.GROUP) for name in commands]

    def entry_points(*, group: str, name: str = "") -> list[EntryPoint]:
        assert group == plugins.GROUP
        return [point for point in points if name in ("", point.name)]

    monkeypatch.setattr(plugins, "entry_points", entry_points)


def test_a_command_of_another_package_is_run_with_its_arguments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[list[str]] = []

    def cargo(argv: Sequence[str]) -> int:
        seen.append(list(argv))
        return 5

    installed(monkeypatch, cargo=cargo)

    assert main(["--url", "http://a", "--key=k", "cargo", "submit", "--json", "x"]) == 5
    assert seen == [["--url", "http://a", "--key=k", "submit", "--json", "x"]]


def test_a_missing_one_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    installed(monkeypatch)

    assert main(["cargo", "build"]) == 1
    assert "pip install 'archipelag-kit[commands]'" in capsys.readouterr().err


def test_a_broken_one_says_so(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    def broken(name: str) -> None:
        raise ImportError("no module named grpc")

    monkeypatch.setattr(plugins, "find", broken)

    assert main(["cargo", "build"]) == 1
    assert "no module named grpc" in capsys.readouterr().err


def test_the_help_lists_it(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    installed(monkeypatch, other=lambda argv: 0)

    with pytest.raises(SystemExit):
        main(["--help"])

    told = capsys.readouterr().out
    assert "publish Cargos" in told and "other" in told


def test_a_prompt_of_that_name_is_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, cargo=lambda argv: 5)

    assert plugins.split(["chat", "cargo"]) == ([], "chat", ["cargo"])
    assert plugins.split(["--url"]) == (["--url"], "", [])
    assert plugins.split([]) == ([], "", [])
