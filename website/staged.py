"""Lays out the pages for the builder: those of the repository, those drawn from the code, and the order of all."""

from __future__ import annotations

import json
import posixpath
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import art
import reference

# Pages that stand elsewhere in the repository → where they stand on the site.
ELSEWHERE: Final[Mapping[str, str]] = {
    "website/home.md": "index.md",
    "ARCHITECTURE.md": "explanation/architecture.md",
    "GLOSSARY.md": "explanation/glossary.md",
    "CONTRIBUTING.md": "contributing/index.md",
    "STYLE.md": "contributing/style.md",
    "sdk/js/README.md": "reference/javascript-sdk.md",
    "sdk/react/README.md": "reference/react.md",
    "benchmarks/README.md": "measured/index.md",
}
# Folder → its heading in the menu. The order within is by the first heading of each page.
SECTIONS: Final[Mapping[str, str]] = {
    "tutorials": "Tutorials",
    "how-to": "How-to",
    "reference": "Reference",
    "runbooks": "Runbooks",
    "explanation": "Explanation",
    "measured": "Measured",
    "contributing": "Contributing",
}
MOVED: Final[Mapping[str, str]] = {
    "docs/billing.md": "explanation/billing.md",
    "docs/promises.md": "explanation/promises.md",
    "docs/security.md": "explanation/security.md",
    "docs/state-machines.md": "explanation/state-machines.md",
    "docs/walks/": "explanation/walks/",
    "docs/decisions/": "explanation/decisions/",
    "benchmarks/results/": "measured/",
}
FIRST: Final = (
    "tutorials/use-the-network.md",
    "tutorials/lend-a-machine.md",
    "tutorials/run-a-network.md",
    "explanation/architecture.md",
    "explanation/security.md",
    "explanation/promises.md",
    "explanation/billing.md",
    "reference/api.md",
    "reference/http-api.md",
    "contributing/index.md",
    "measured/index.md",
)
ASSETS: Final = "coordinator/src/archipelag_coordinator/apps/web/static"
LINK: Final = re.compile(r"(!?\[(?:[^\[\]]|\[[^\[\]]*\])*\])\(([^()\s]+)\)")
FENCE: Final = re.compile(r"^( *)(```|~~~)")
TITLE: Final = re.compile(r"^# (.+)$", re.M)


def stage(root: Path, work: Path) -> None:
    """Writes `work/docs` and `work/zensical.toml`."""
    where = places(root)
    pages = {there: relinked(root, here, where) for here, there in where.items()}
    pages |= {f"reference/{name}": text for name, text in reference.pages(root).items()}
    pages |= overviews(pages)
    docs = work / "docs"
    for name, text in pages.items():
        path = docs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    look(root, docs / "look")
    index = docs / "index.md"
    index.write_text(index.read_text("utf-8").replace("<!-- archipelago -->", art.archipelago()))
    config = (root / "website" / "zensical.toml").read_text("utf-8")
    config = config.replace("# nav\n", f"nav = {inline(menu(pages))}\n")
    (work / "zensical.toml").write_text(config, encoding="utf-8")


def places(root: Path) -> dict[str, str]:
    """Each page of the repository that is on the site → its place there."""
    where = {here: there for here, there in ELSEWHERE.items() if (root / here).is_file()}
    for folder in ("docs", "benchmarks/results"):
        for path in sorted((root / folder).rglob("*.md")):
            here = path.relative_to(root).as_posix()
            moved = next((one for one in MOVED if here == one or here.startswith(one)), None)
            if moved is not None:
                where[here] = MOVED[moved] + here.removeprefix(moved)
            elif here.startswith("docs/"):
                where[here] = here.removeprefix("docs/")
    return where


def relinked(root: Path, here: str, where: Mapping[str, str]) -> str:
    """The page, its links leading to where the others stand; what is not on the site is named, not linked."""

    def moved(match: re.Match[str]) -> str:
        label, target = match[1], match[2]
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        path, _, anchor = target.partition("#")
        full = posixpath.normpath(posixpath.join(posixpath.dirname(here), path))
        anchor = f"#{anchor}" if anchor else ""
        if full in where:
            return f"{label}({relative(where[full], there)}{anchor})"
        index = MOVED.get(f"{full}/")
        if index is not None:
            return f"{label}({relative(f'{index}index.md', there)})"
        if not (root / full).exists():
            return match[0]  # The builder says so.
        words = label.removeprefix("!")[1:-1]
        return (
            words
            if f"`{full}`" == words or posixpath.basename(full) in words
            else f"{words} (`{full}`)"
        )

    there = where[here]
    lines, fenced = [], False
    for line in (root / here).read_text("utf-8").splitlines():
        fenced ^= bool(FENCE.match(line))
        lines.append(line if fenced else LINK.sub(moved, line))
    return "\n".join(lines) + "\n"


def relative(target: str, page: str) -> str:
    return posixpath.relpath(target, posixpath.dirname(page) or ".")


def title(text: str) -> str:
    found = TITLE.search(text)
    return found[1].strip() if found else "Archipelag"


def overviews(pages: Mapping[str, str]) -> dict[str, str]:
    """A page for each folder that has none, which lists what is in it."""
    made = {}
    names = {"explanation/decisions/": "Decision records", "explanation/walks/": "Walks"}
    names |= {f"{folder}/": name for folder, name in SECTIONS.items()}
    for folder, name in names.items():
        inside = [page for page in ordered(pages, folder) if page != f"{folder}index.md"]
        if f"{folder}index.md" not in pages and inside:
            lines = [f"- [{title(pages[page])}]({page.removeprefix(folder)})" for page in inside]
            made[f"{folder}index.md"] = f"# {name}\n\n" + "\n".join(lines) + "\n"
    return made


def ordered(pages: Mapping[str, str], folder: str) -> list[str]:
    """Pages directly in it: named ones first, decisions by number, others by what they are called."""
    inside = [one for one in pages if posixpath.dirname(one) + "/" == folder]
    numbered = folder.endswith("decisions/")

    def key(page: str) -> tuple[bool, int, str]:
        first = FIRST.index(page) if page in FIRST else len(FIRST)
        return not page.endswith("index.md"), first, page if numbered else title(pages[page])

    return sorted(inside, key=key)


def menu(pages: Mapping[str, str]) -> list[Any]:
    entries: list[Any] = [{"Home": "index.md"}]
    for folder, name in SECTIONS.items():
        inside: list[Any] = [
            page if page.endswith("/index.md") else {short(title(pages[page])): page}
            for page in ordered(pages, f"{folder}/")
        ]
        if not inside:
            continue
        for below, called in (("walks", "Walks"), ("decisions", "Decision records")):
            more = [{short(title(pages[one])): one} for one in ordered(pages, f"{folder}/{below}/")]
            if more:
                inside.append({called: more})
        entries.append({name: inside})
    return entries


def short(heading: str) -> str:
    heading = heading.replace("`", "")
    return re.sub(r"^Walk: ", "", heading)


def inline(value: Any) -> str:
    """As TOML writes it, on one line."""
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)} = {inline(one)}" for key, one in value.items())
        return "{" + ", ".join(pairs) + "}"
    return json.dumps(value, ensure_ascii=False)


def look(root: Path, folder: Path) -> None:
    """The typefaces and the mark of the Coordinator's own pages, and the site's style."""
    folder.mkdir(parents=True)
    for path in (root / ASSETS / "fonts").iterdir():
        shutil.copyfile(path, folder / path.name)
    for path in (root / ASSETS / "favicon.svg", root / "website" / "site.css"):
        shutil.copyfile(path, folder / path.name)
