"""What the site is made of: every page in it, links that lead on, and a reference that leaves nothing out."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "website"))

import checked  # noqa: E402 - found only once the path is set
import reference  # noqa: E402
import staged  # noqa: E402


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    staged.stage(ROOT, folder)
    return folder


def test_every_page_of_the_docs_is_on_the_site_and_in_its_menu(work: Path) -> None:
    config = (work / "zensical.toml").read_text()
    docs = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert len(docs) > 40

    where = staged.places(ROOT)

    assert [page for page in docs if page not in where] == []
    for there in where.values():
        assert (work / "docs" / there).is_file(), there
        assert f'"{there}"' in config, there


def test_links_lead_to_pages_that_stand(work: Path) -> None:
    broken = []
    for page in (work / "docs").rglob("*.md"):
        fenced = False
        for line in page.read_text().splitlines():
            fenced ^= bool(staged.FENCE.match(line))
            for match in [] if fenced else staged.LINK.finditer(line):
                path = match[2].partition("#")[0]
                if re.match(r"[a-z]+:", path) or not path:
                    continue
                if not (page.parent / path).is_file():
                    broken.append(f"{page.relative_to(work)} → {match[2]}")

    assert broken == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](../billing.md#karma)", "[a](../explanation/billing.md#karma)"),
        ("[all](../decisions/)", "[all](../explanation/decisions/index.md)"),
        ("[`readers.py`](../../tests/chaos/readers.py)", "`readers.py`"),
        ("[code](../../coordinator)", "code (`coordinator`)"),
        ("[out](https://example.org/x.md)", "[out](https://example.org/x.md)"),
        ("[here](#below)", "[here](#below)"),
        ("```\n[a](../billing.md)\n```", "```\n[a](../billing.md)\n```"),
    ],
)
def test_links_are_moved_with_their_pages(tmp_path: Path, text: str, expected: str) -> None:
    for name in ("docs/billing.md", "docs/how-to/a.md", "tests/chaos/readers.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "coordinator").mkdir()
    (tmp_path / "docs/how-to/a.md").write_text(text)
    where = {"docs/how-to/a.md": "how-to/a.md", "docs/billing.md": "explanation/billing.md"}

    assert staged.relinked(tmp_path, "docs/how-to/a.md", where).strip() == expected


def test_the_reference_names_every_route_command_message_and_operation(work: Path) -> None:
    shown = {name: (work / "docs/reference" / name).read_text() for name in reference.pages(ROOT)}

    for route in ("`POST /api/v1/chat/completions`", "`GET /api/v1/admin/ledger-check`"):
        assert route in shown["http-api.md"], route
    for name in ("chat_stream", "submit_batch", "RateLimitError", "InsufficientCreditsError"):
        assert re.search(rf"\b{name}\b", shown["python-sdk.md"]), name
    assert not re.search(r"\(\s*:|\bself\b|0x[0-9a-f]{6}", shown["python-sdk.md"])
    for path in (ROOT / reference.PROTO).glob("*.proto"):
        for kind, name in re.findall(r"^(message|service|enum) (\w+)", path.read_text(), re.M):
            assert f"### {kind} {name}\n" in shown["messages.md"], name
    for program, parser in reference.parsers().items():
        for words in commands_of(parser, program):
            assert f"### {words}\n" in shown["commands.md"], words


def commands_of(parser: argparse.ArgumentParser, name: str) -> list[str]:
    below = [
        (f"{name} {word}", one)
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for word, one in action.choices.items()
    ]
    return [words for words, _ in below] + [
        more for words, one in below for more in commands_of(one, words)
    ]


GOOD = '<h1 id="top">A</h1><a href="b/#there">b</a><script src="x.js"></script>'
BAD = {
    "no such page": '<a href="c/">c</a>',
    "no such place": '<a href="b/#nowhere">b</a>',
    "asks another host: https://cdn.example.org/x.js": '<script src="https://cdn.example.org/x.js"></script>',
    "asks another host: //cdn.example.org/x.png": '<img src="//cdn.example.org/x.png">',
    "asks another host: https://fonts.example.org/": '<link rel="preconnect" href="https://fonts.example.org/">',
    "asks another host: https://example.org/y.png": '<p style="background: url(https://example.org/y.png)">',
}


def a_site(folder: Path, page: str, style: str = "", script: str = "") -> Path:
    (folder / "b").mkdir()
    (folder / "index.html").write_text(page)
    (folder / "b/index.html").write_text('<h2 id="there">b</h2><a href="../#top">a</a>')
    (folder / "x.css").write_text(style)
    (folder / "x.js").write_text(script)
    return folder


def test_a_whole_site_has_no_complaints(tmp_path: Path) -> None:
    assert checked.complaints(a_site(tmp_path, GOOD, "p{background:url(a.png)}")) == []


@pytest.mark.parametrize(("complaint", "html"), BAD.items())
def test_what_is_wrong_with_a_page_is_found(tmp_path: Path, complaint: str, html: str) -> None:
    (found,) = checked.complaints(a_site(tmp_path, GOOD + html))

    assert complaint in found


def test_styles_and_scripts_that_ask_other_hosts_are_found(tmp_path: Path) -> None:
    style = "@import 'https://fonts.example.org/css'; p{background:url(//cdn.example.org/a.png)}"
    script = 'fetch("https://api.example.org/stats")'

    assert len(checked.complaints(a_site(tmp_path, GOOD, style, script))) == 3


def test_nothing_built_is_a_complaint(tmp_path: Path) -> None:
    assert checked.complaints(tmp_path) != []
