"""What it finds is what Python's `re` finds; and no pattern takes more than linear time."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]

SAME = [
    (r"a", "banana"),
    (r"an", "banana"),
    (r"(a)(n)?", "banana"),
    (r"a*", "baaac"),
    (r"a*?", "baaac"),
    (r"", "abc"),
    (r"x*", "é🌊x"),
    (r"(?:ab|a)(c|bcd)", "abcd"),
    (r"a{2,3}", "aaaaaaa"),
    (r"a{2,3}?", "aaaaaaa"),
    (r"a{2,}b{0}", "aab aaab"),
    (r"a{2}", "aaaaa"),
    (r"{a}", "{a}"),
    (r"[a-c]+", "abcdcba"),
    (r"[^a-c]+", "abcdefcba"),
    (r"[]x]+", "]x]"),
    (r"[a\-z]+", "a-z"),
    (r"[\d.]+", "3.14 and 2.71"),
    (r"[^\W_]+", "snake_case words"),
    (r"\w+@\w+\.\w+", "mail a@b.cd and e@f.gh"),
    (r"\bfoo\b", "foo foobar barfoo foo"),
    (r"\Boo", "foo oo"),
    (r"\s+", "a \t\n\r\f\vb"),
    (r"\S\D", "a1 b2"),
    (r"^a|b$", "ab"),
    (r"\Aa|b\Z", "ab"),
    (r"(?P<year>\d{4})-(?P<month>\d\d)", "on 2026-11-27 and 1999-01-02"),
    (r"((a)|(b))+", "abab"),
    (r"(a|ab)(bc|c)?", "abc"),
    (r"[à-ü]+", "été déjà vu"),
    (r"🌊+", "a🌊🌊b"),
    (r".", "a\nb"),
    (r"\x41\u00e9", "Aé"),
    (r"\.\*\[\]\(\)\\", ".*[]()\\"),
    (r"(x+x+)+y", "xxxxxxxxxxy"),
    (r"((((((a))))))", "a"),
    (r"[\x00-\x1f]", "a\u0000b\u001f"),
]


def found(run: Run, pattern: str, text: str, **options: Any) -> list[tuple[Any, ...]]:
    said = run("regex", {"pattern": pattern, "text": text, **options}).json["matches"]
    return [(m["start"], m["end"], m["text"], tuple(m["groups"]), m["named"]) for m in said]


def python(pattern: str, text: str, flags: int = 0) -> list[tuple[Any, ...]]:
    """As in JavaScript, the search after an empty match goes on a character later: `finditer` would look twice."""
    matches, at, regex = [], 0, re.compile(pattern, flags | re.ASCII)
    while at <= len(text) and (m := regex.search(text, at)):
        matches.append((*m.span(), m.group(), m.groups(), m.groupdict()))
        at = m.end() + (m.end() == m.start())
    return matches


@pytest.mark.parametrize(("pattern", "text"), SAME)
def test_finds_what_python_finds(run: Run, pattern: str, text: str) -> None:
    ours = pattern.replace(r"\Z", r"\z")

    assert found(run, ours, text) == python(pattern, text)


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({"ignore_case": True}, re.IGNORECASE),
        ({"multiline": True}, re.MULTILINE),
        ({"dot_all": True}, re.DOTALL),
    ],
)
@pytest.mark.parametrize("pattern", ["^a.*z$", "[A-C]+", "^.", "[^b]+", "B"])
def test_flags_mean_what_they_mean_in_python(
    run: Run, options: dict[str, bool], flags: int, pattern: str
) -> None:
    text = "abc\nAxz\nazz\n\nbBc z"

    assert found(run, pattern, text, **options) == python(pattern, text, flags)


def random_pattern(draw: random.Random, depth: int = 0) -> str:
    parts = ["a", "b", "c", ".", "[ab]", "[^a]", "\\w", "\\b", "$"]
    out = ""
    for _ in range(draw.randint(1, 3)):
        if depth < 3 and draw.random() < 0.4:
            opening = draw.choice(["(", "(?:"])
            part = f"{opening}{random_pattern(draw, depth + 1)}|{random_pattern(draw, depth + 1)})"
        else:
            part = draw.choice(parts)
        # Empty loops leave other groups behind in each engine: repeat what takes a character.
        if part[0] in "abc.[" or part == "\\w":
            part += draw.choice(["", "", "*", "+", "?", "{1,2}", "*?", "+?"])
        out += part
    return out


@pytest.mark.parametrize("seed", range(60))
def test_random_patterns_find_what_python_finds(run: Run, seed: int) -> None:
    draw = random.Random(seed)
    pattern = random_pattern(draw)
    text = "".join(draw.choice("abc \n") for _ in range(40))

    # `$` also matches before a last line end in Python: ours is its \Z.
    assert found(run, pattern, text) == python(pattern.replace("$", r"\Z"), text), pattern


def test_replaces_with_groups_and_dollars(run: Run) -> None:
    given = {"operation": "replace", "pattern": r"(?<a>\w+) (\w+)", "text": "one two three four"}

    said = run("regex", {**given, "replacement": "$2 ${a} $$0 $0;"}).json
    limited = run("regex", {**given, "replacement": "-", "limit": 1}).json

    assert said == {"count": 2, "text": "two one $0 one two; four three $0 three four;"}
    assert limited == {"count": 1, "text": "- three four"}


def test_splits_and_tests(run: Run) -> None:
    given = {"pattern": r"\s*,\s*", "text": "a , b,c"}

    assert run("regex", {**given, "operation": "split"}).json == {"parts": ["a", "b", "c"]}
    assert run("regex", {**given, "operation": "split", "limit": 1}).json["parts"] == ["a", "b,c"]
    assert run("regex", {**given, "operation": "test"}).json == {"matched": True}
    assert len(run("regex", {**given, "operation": "find"}).json["matches"]) == 1


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", "(a|a)*$", "(a|aa)+$", "(.*)*x", "a?" * 30 + "a" * 30, "(?:a{1,30}){1,30}$"],
)
def test_catastrophic_patterns_take_linear_time(run: Run, pattern: str) -> None:
    given = {"operation": "test", "pattern": pattern}

    short = run("regex", {**given, "text": "a" * 1000 + "!"})
    long = run("regex", {**given, "text": "a" * 4000 + "!"})

    assert long.json["matched"] is short.json["matched"]
    assert long.fuel < 5 * short.fuel


def test_work_without_end_is_ended_with_a_sentence(run: Run) -> None:
    # Each match is short, but only the whole rest of the text tells.
    said = run("regex", {"pattern": "a.*b|a", "text": "a" * 200_000})

    assert "too much work" in said.error


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "a ( has no )"),
        (")", "a ) has no ("),
        ("[a", "no ]"),
        ("[b-a]", "wrong way round"),
        ("*a", "nothing to repeat"),
        ("a**", "put the inner one in a group"),
        ("a{3,2}", "less than its first"),
        ("a{2000}", "more than 1000"),
        ("(((a{1000}){1000}){1000})", "too large"),
        ("(?:(?:(?:(?:){1000}){1000}){1000}){1000}", "too large"),
        ("(?=a)", "not known"),
        ("(?<!a)", "not known"),
        (r"(a)\1", "back references"),
        (r"\q", "escape is not known"),
        ("\\", "ends with a backslash"),
        (r"\x4", "not complete"),
        (r"\x{110000}", "not complete"),
        (r"\ud800", "not complete"),
        ("(?<a>x)(?<a>y)", "its own"),
        ("(?<1>x)", "group's name"),
        ("(?:" * 101 + ")" * 101, "deeper than 100"),
        ("()" * 64, "more than 63 groups"),
        ("a" * 5000, "too long"),
    ],
)
def test_wrong_patterns_are_told(run: Run, pattern: str, why: str) -> None:
    assert why in run("regex", {"pattern": pattern, "text": "a"}).bad_input


def test_a_wrong_reference_is_told_even_when_nothing_matches(run: Run) -> None:
    given = {"operation": "replace", "pattern": "(x)", "text": "a"}

    for replacement in ("$2", "${no}", "$", "${1"):
        assert "write $$" in run("regex", {**given, "replacement": replacement}).bad_input


def test_a_replacement_that_explodes_is_refused(run: Run) -> None:
    given = {"operation": "replace", "pattern": "a", "text": "a" * 10_000}

    assert "16 MiB" in run("regex", {**given, "replacement": "x" * 10_000}).bad_input
