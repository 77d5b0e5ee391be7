"""What is wrong with a built site: links that lead nowhere, and anything that would be asked of another host."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

# Element → the attribute by which a browser fetches something without being asked.
FETCHED: Final = {
    "script": ("src",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "object": ("data",),
    "embed": ("src",),
    "use": ("href",),
    "image": ("href",),
}
RELATIONS: Final = {
    "stylesheet",
    "icon",
    "preload",
    "preconnect",
    "dns-prefetch",
    "modulepreload",
    "manifest",
    "prefetch",
}
IN_STYLE: Final = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)")
IN_SCRIPT: Final = re.compile(r"(?:fetch|importScripts|import)\(\s*[`'\"]((?:https?:)?//[^`'\"]+)")


class Page(HTMLParser):
    """The links, the names of places, and what is fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.ids.add(values["id"])
        if tag == "a":
            self.ids |= {values["name"]} if "name" in values else set()
            self.links += [values["href"]] if "href" in values else []
        self.fetched += [values[name] for name in FETCHED.get(tag, ()) if name in values]
        if tag == "link" and RELATIONS & set(values.get("rel", "").split()):
            self.fetched.append(values.get("href", ""))
        if "style" in values:
            self.fetched += IN_STYLE.findall(values["style"])


def complaints(site: Path) -> list[str]:
    """Empty is right."""
    read = {path: page_of(path) for path in sorted(site.rglob("*.html"))}
    if not read:
        return [f"{site}: no page was built"]
    found = []
    for path, page in read.items():
        where = path.relative_to(site).as_posix()
        found += [f"{where} asks another host: {one}" for one in page.fetched if is_elsewhere(one)]
        found += [f"{where} → {one}" for one in broken(site, path, page, read)]
    for kind, pattern in (("css", IN_STYLE), ("js", IN_SCRIPT)):
        for path in sorted(site.rglob(f"*.{kind}")):
            for one in pattern.findall(path.read_text("utf-8")):
                found.append(f"{path.relative_to(site).as_posix()} asks another host: {one}")
    return found


def page_of(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text("utf-8"))
    return page


def broken(site: Path, path: Path, page: Page, read: dict[Path, Page]) -> Iterator[str]:
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        base = site if parts.path.startswith("/") else path.parent
        target = (base / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
        target = target / "index.html" if target.is_dir() else target
        if not target.is_file():
            # The page of errors is shown at any depth, and so written for the root.
            if path.name != "404.html":
                yield f"{link}: no such page"
        elif parts.fragment and target in read and not stands(parts.fragment, read[target]):
            yield f"{link}: no such place on that page"


def stands(fragment: str, page: Page) -> bool:
    return unquote(fragment) in page.ids or fragment in page.ids or fragment == "__top"


def is_elsewhere(address: str) -> bool:
    return bool(urlsplit(address.strip()).netloc)
