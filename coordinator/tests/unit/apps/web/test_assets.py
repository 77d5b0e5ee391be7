"""What pages load: small, kept for ever, and served pressed."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from archipelag_coordinator.apps.web.assets import FOLDER, Assets

from .house import House
from .rooms import doors

SCRIPT_BYTES_MAX = 20_000
PAGE_SCRIPT_BYTES_MAX = 100_000
PAGE_BYTES_MAX = 200_000


async def test_an_asset_is_kept_for_ever_under_its_hash(house: House) -> None:
    async with house.browser() as http:
        page = (await http.get("/sign-in")).text
        (path,) = re.findall(r'href="(/static/style\.[0-9a-f]{12}\.css)"', page)
        answer = await http.get(path)
        again = await http.get(path, headers={"if-none-match": answer.headers["etag"]})
        old = await http.get(path.replace(".css", "0.css"))

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert again.status_code == 304 and not again.content
    assert old.status_code == 404


async def test_who_cannot_unpack_gets_it_plain(house: House) -> None:
    url = Assets().url("live.js")
    async with house.browser() as http:
        plain = await http.get(url, headers={"accept-encoding": "identity"})
        pressed = await http.get(url)

    assert "content-encoding" not in plain.headers
    assert plain.headers["content-type"].startswith("text/javascript")
    assert plain.content == pressed.content == (FOLDER / "live.js").read_bytes()


async def test_nothing_outside_the_folder_is_served(house: House) -> None:
    for path in (
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static/style.css",
        "/static/",
    ):
        async with house.browser() as http:
            assert (await http.get(path)).status_code == 404, path


def test_a_changed_file_has_another_name(tmp_path: Path) -> None:
    (tmp_path / "a.woff2").write_bytes(b"one")
    (tmp_path / "a.css").write_text("@font-face{src:url(a.woff2)}")
    first = Assets(tmp_path)
    (tmp_path / "a.woff2").write_bytes(b"two")
    second = Assets(tmp_path)

    assert first.url("a.woff2") != second.url("a.woff2")
    # What names it changes with it.
    assert first.url("a.css") != second.url("a.css")
    assert second.url("a.woff2") in second.text("a.css")


def test_our_scripts_are_small() -> None:
    """Those of our own that every page loads; what the chat needs of others is weighed where it is loaded."""
    ours = {path.name: path.stat().st_size for path in FOLDER.glob("*.js")}
    ours.pop("archipelag.js")
    assert max(ours.values()) < SCRIPT_BYTES_MAX and sum(ours.values()) < 4 * SCRIPT_BYTES_MAX

    assert ours["live.js"] < SCRIPT_BYTES_MAX / 2


def test_scripts_name_each_other_by_their_hashes(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "a.js").write_text('import { one } from "./parts/b.js";\n')
    (tmp_path / "parts/b.js").write_text('import { two } from "./c.js";\nexport { two as one };\n')
    (tmp_path / "parts/c.js").write_text("export const two = 2;\n")
    first = Assets(tmp_path)
    (tmp_path / "parts/c.js").write_text("export const two = 3;\n")
    second = Assets(tmp_path)

    assert f'from "{second.url("parts/b.js")}"' in second.text("a.js")
    assert f'from "{second.url("parts/c.js")}"' in second.text("parts/b.js")
    # Who names what has changed has changed.
    assert first.url("a.js") != second.url("a.js")


def test_scripts_that_name_each_other_in_a_ring_or_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text('import "x"; import { b } from "./b.js";\n')
    (tmp_path / "b.js").write_text('import { a } from "./a.js";\n')
    with pytest.raises(AssertionError, match="ring"):
        Assets(tmp_path)

    (tmp_path / "b.js").write_text('import { c } from "./gone.js";\n')
    with pytest.raises(KeyError):
        Assets(tmp_path)


def test_every_font_has_its_licence() -> None:
    fonts = list(FOLDER.rglob("*.woff2"))
    assert fonts
    for font in fonts:
        assert "SIL Open Font License" in font.with_suffix(".LICENSE").read_text()


async def test_the_first_view_of_every_page_is_light(house: House) -> None:
    assets = Assets()
    for door in doors(house):
        if door.posts or door.path.startswith("/live/"):
            continue
        async with house.browser(None if door.open else "admin") as http:
            page = await http.get(door.address)
        names = re.findall(r'(?:src|href)="/static/([^"]+)"', page.text)
        sizes: dict[str, int] = {}
        while names:
            name = names.pop()
            asset = assets.find(name)
            assert asset is not None, name
            sizes[name] = len(asset.pressed or asset.data)
            if name.endswith(".js"):
                names += re.findall(r'\bfrom "/static/([^"]+)"', asset.data.decode())

        scripts = sum(size for name, size in sizes.items() if name.endswith(".js"))
        assert scripts < PAGE_SCRIPT_BYTES_MAX, door
        assert sum(sizes.values()) + len(gzip.compress(page.content)) < PAGE_BYTES_MAX, door
