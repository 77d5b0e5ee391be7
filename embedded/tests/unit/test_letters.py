"""Sign-in links on the terminal: each once, and none from before."""

from __future__ import annotations

import json
from pathlib import Path

from archipelag_embedded.letters import Letters


def put(folder: Path, number: int, **letter: object) -> None:
    (folder / f"{number:012d}.json").write_text(json.dumps(letter))


def test_each_new_link_is_told_once(tmp_path: Path) -> None:
    put(tmp_path, 1, to="old@example.org", text="http://127.0.0.1:1/sign-in/al_0")
    letters = Letters(tmp_path)
    put(tmp_path, 2, to="ada@example.org", text="Open:\n\nhttp://127.0.0.1:1/sign-in/al_1\n")
    put(tmp_path, 3, to="bob@example.org", text="http://127.0.0.1:1/sign-in/al_2")

    first, second = letters.look(), letters.look()

    assert first == [
        "  Sign in as ada@example.org: http://127.0.0.1:1/sign-in/al_1",
        "  Sign in as bob@example.org: http://127.0.0.1:1/sign-in/al_2",
    ]
    assert second == []


def test_what_is_no_letter_is_passed_over(tmp_path: Path) -> None:
    letters = Letters(tmp_path / "not-there-yet")
    assert letters.look() == []
    (tmp_path / "not-there-yet").mkdir()
    folder = tmp_path / "not-there-yet"
    put(folder, 1, to="ada@example.org", text="no link")
    put(folder, 2, subject="neither")
    (folder / "000000000003.json").write_text("[broken")
    put(folder, 4, to="ada@example.org", text="http://127.0.0.1:1/sign-in/al_1")

    assert letters.look() == ["  Sign in as ada@example.org: http://127.0.0.1:1/sign-in/al_1"]
