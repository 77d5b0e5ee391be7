"""A diff, applied, gives the new text; it is as short as can be; and it is spelled as GNU diff spells it."""

from __future__ import annotations

import difflib
import random
import re
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]


def apply(old: str, unified: str) -> str:
    """A patch program of the plainest kind, which believes nothing: every line that it is told of is compared."""
    source = re.findall(r"[^\n]*\n|[^\n]+", old)
    out: list[str] = []
    at = 0
    lines = unified.split("\n")[2:-1] if unified else []
    for index, line in enumerate(lines):
        if line.startswith("@@ "):
            start, count = re.match(r"@@ -(\d+)(?:,(\d+))? ", line).groups()  # type: ignore[union-attr]
            begin = int(start) - (count != "0")
            out += source[at:begin]
            at = begin
        elif line.startswith("\\"):
            continue
        else:
            ends = "" if lines[index + 1 : index + 2] == ["\\ No newline at end of file"] else "\n"
            text = line[1:] + ends
            if line[0] in " -":
                assert source[at] == text
                at += 1
            if line[0] in " +":
                out.append(text)
    return "".join(out + source[at:])


def shortest(old: list[str], new: list[str]) -> int:
    """The length of the longest common part, by the textbook's table, makes the number of changes."""
    row = [0] * (len(new) + 1)
    for a in old:
        before = row
        row = [0]
        for j, b in enumerate(new):
            row.append(before[j] + 1 if a == b else max(row[j], before[j + 1]))
    return len(old) + len(new) - 2 * row[-1]


@pytest.mark.parametrize("seed", range(40))
def test_it_applies_and_is_the_shortest(run: Run, seed: int) -> None:
    draw = random.Random(seed)
    old = [draw.choice("abcde") for _ in range(draw.randint(0, 40))]
    new = [line for line in old if draw.random() < 0.8]
    for _ in range(draw.randint(0, 10)):
        new.insert(draw.randint(0, len(new)), draw.choice("abcdef"))
    ends = draw.choice(["\n", ""]), draw.choice(["\n", ""])
    texts = [
        "\n".join(side) + (end if side else "") for side, end in zip((old, new), ends, strict=True)
    ]

    said = run("diff", {"old": texts[0], "new": texts[1], "context": draw.randint(0, 4)}).json

    assert apply(texts[0], said["unified"]) == texts[1]
    assert said["shortest"]
    if ends[0] == ends[1] == "\n":
        assert said["removed"] + said["added"] == shortest(old, new)


def test_it_is_spelled_as_difflib_spells_it(run: Run) -> None:
    old = "".join(f"line {i}\n" for i in range(30))
    new = old.replace("line 3\n", "line three\n").replace("line 20\n", "") + "line 30\n"
    wanted = difflib.unified_diff(old.splitlines(True), new.splitlines(True), "a/x", "b/x")

    said = run("diff", {"old": old, "new": new, "old_name": "a/x", "new_name": "b/x"}).json

    assert said["unified"] == "".join(wanted)


def test_equal_texts_have_no_diff(run: Run) -> None:
    said = run("diff", {"old": "a\r\nb", "new": "a\r\nb"}).json

    assert said == {"removed": 0, "added": 0, "shortest": True, "unified": ""}


def test_space_can_be_ignored(run: Run) -> None:
    given = {"old": "a b\nc\n", "new": "  a\tb\r\nd\n", "context": 0}

    assert run("diff", given).json["removed"] == 2
    assert run("diff", {**given, "ignore_space": True}).json["removed"] == 1


def test_large_texts_with_little_in_common_still_get_a_right_diff(run: Run) -> None:
    draw = random.Random(1)
    old, new = ("".join(f"{draw.randrange(900)}\n" for _ in range(60_000)) for _ in range(2))

    said = run("diff", {"old": old, "new": new}).json

    assert not said["shortest"]
    assert apply(old, said["unified"]) == new


def test_one_change_in_a_large_text_is_quick(run: Run) -> None:
    old = "".join(f"{i}\n" for i in range(150_000))

    answer = run("diff", {"old": old, "new": old.replace("\n75000\n", "\nx\n")})

    assert (answer.json["removed"], answer.json["added"]) == (1, 1)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"old": "a"}, "new is missing"),
        ({"old": "a", "new": 1}, "new must be text"),
        ({"old": "", "new": "\n" * 200_001}, "more than 200000 lines"),
        ({"old": "", "new": "x" * (5 << 20)}, "new is too long"),
        ({"old": "", "new": "", "context": -1}, "context must be"),
        ({"old": "", "new": "", "old_name": "a\nb"}, "no line end"),
    ],
)
def test_mistakes_are_told(run: Run, given: Any, why: str) -> None:
    assert why in run("diff", given).bad_input
