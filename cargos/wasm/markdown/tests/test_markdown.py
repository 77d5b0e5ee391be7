"""What CommonMark asks for, as another implementation of it renders it; and nothing that runs in a browser."""

from __future__ import annotations

import html.parser
import re
from collections.abc import Callable
from typing import Any

import pytest
from markdown_it import MarkdownIt

Run = Callable[..., Any]

PLAIN = [
    "# One\n## Two ##\nThree\n===\n",
    "a *b* **c** ***d*** _e_ __f__ a*b*c a_b_c",
    "- a\n- b\n  - c\n\n    d\n- e\n",
    "1. a\n2. b\n\n\n7) c\n",
    "> a\n> > b\nc\n\nd",
    "```py\nx = 1 < 2\n```\n\n~~~\n&amp; <b>\n~~~\n",
    "    code\n\n    more\n",
    "`a` ``b ` c`` ` ` `` ` ``",
    "[a](b) [c](<d e> \"f\") [g][h] [h] ![i](j 'k')\n\n[h]: /url 'title'\n",
    "<https://a.example/?b=c&d> <me@b.example>",
    "a  \nb\\\nc\nd",
    "***\n---\n_ _ _\n",
    "\\*a\\* &copy; &#35; &#xe9; &nope; \\q",
    "é 🌊 \u00a0 \u3000 x",
    '[a](b "c" d) [unclosed ![x](y',
    "* a\n\n  b\n\n\n* c\n***\n",
    "a\n\n\n\n\nb",
    "[link *with `code`* in](x)",
    "**a*b**c*",
    "- [ ] a\n- b\n1. c\n",
]


@pytest.mark.parametrize("text", PLAIN)
def test_renders_as_another_implementation_does(run: Run, text: str) -> None:
    wanted = MarkdownIt("commonmark", {"html": True}).render(text)

    said = run("markdown", {"text": text, "dialect": "commonmark", "allow_html": True}).json["html"]

    assert tidy(said) == tidy(wanted)


def tidy(text: str) -> str:
    """Without the line ends beside tags, which CommonMark leaves to the renderer."""
    return re.sub(r"\s*(<[^>]*>)\s*", r"\1", text.replace("&quot;", '"')).strip()


def test_github_has_tables_strikes_tasks_and_bare_links(run: Run) -> None:
    text = "|a|b|\n|:-|-:|\n|1|2|\n\n~~x~~ https://a.example\n\n- [x] done\n"

    said = run("markdown", {"text": text}).json["html"]

    for part in ("<table>", '<td align="right">2</td>', "<del>x</del>", 'type="checkbox"'):
        assert part in said
    assert '<a href="https://a.example">' in said
    assert "<table>" not in run("markdown", {"text": text, "dialect": "commonmark"}).json["html"]


class Dangers(html.parser.HTMLParser):
    """What a browser would make of it: tags, and where links lead once entities and odd characters are gone."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "style", "svg", "form", "base"):
            self.found.append(tag)
        for name, value in attrs:
            bare = "".join(c for c in (value or "") if c > " ").lower()
            if name.startswith("on") or bare.startswith(("javascript:", "data:", "vbscript:")):
                self.found.append(f"{name}={value}")


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "a <b onclick='x()'>b</b>",
        "[a](javascript:alert(1))",
        "[a](JaVaScRiPt:alert(1))",
        "[a](<java\tscript:alert(1)>)",
        "[a](&#106;avascript:alert(1))",
        "[a](javascript&colon;alert(1))",
        "[a](java&Tab;script:alert(1))",
        "[a](java&NewLine;script&colon;alert(1))",
        "[a](\\javascript:alert(1))",
        "[a](<\x01javascript:alert(1)>)",
        "[a](vbscript:x)",
        "![a](data:text/html,<script>alert(1)</script>)",
        "<javascript:alert(1)>",
        "[a]\n\n[a]: javascript:alert(1)\n",
        '[a](x" onclick="alert(1))',
        '![a" onerror="alert(1)](x)',
        '[a](x "b\\" onclick=\\"alert(1)")',
        '```x" onclick="y\ncode\n```',
        "| <script> |\n|-|\n| [a](javascript:x) |\n",
        "&lt;script&gt;",
    ],
)
def test_nothing_runs_in_a_browser(run: Run, text: str) -> None:
    said = run("markdown", {"text": text}).json["html"]

    dangers = Dangers()
    dangers.feed(said)
    assert dangers.found == []


def test_the_detector_of_dangers_sees_them(run: Run) -> None:
    said = run("markdown", {"text": "[a](javascript:x) <script>", "allow_html": True}).json["html"]

    dangers = Dangers()
    dangers.feed(said)
    assert len(dangers.found) == 2


@pytest.mark.parametrize(
    "link",
    ["/a/b:c", "?x=a:b", "#a:b", "a.html", "https://x/?a=1&b=2", "mailto:a@b.example", "//x"],
)
def test_ordinary_links_stay(run: Run, link: str) -> None:
    said = run("markdown", {"text": f"[a]({link})"}).json["html"]

    assert f'href="{link.replace("&", "&amp;")}"' in said


@pytest.mark.parametrize(
    "text",
    [
        "*" * 200_000,
        "[" * 100_000,
        "> " * 50_000 + "a",
        "`" * 100_000 + "a",
        "[a](" * 50_000,
        "- " * 20_000,
        "<" * 100_000,
        "|a" * 20_000 + "\n" + "|-" * 20_000 + "\n",
        "\n".join(f"[{i}]: /x" for i in range(20_000)) + "[x]" * 20_000,
        "*a_ " * 50_000,
        "![" * 50_000 + "](x)" * 50_000,
    ],
)
def test_hostile_texts_take_bounded_time(run: Run, text: str) -> None:
    assert run("markdown", {"text": text}).finish_reason == "stop"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "text is missing"),
        ({"text": "a" * (3 << 20)}, "text is too long"),
        ({"text": "a", "dialect": "bbcode"}, "dialect must be one of"),
        ({"text": "a", "allow_html": 1}, "allow_html must be true or false"),
    ],
)
def test_mistakes_are_told(run: Run, given: Any, why: str) -> None:
    assert why in run("markdown", given).bad_input
