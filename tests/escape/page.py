"""Runs the suite in every place that this host has and writes docs/reference/escape-suite.md from what came of it.

python tests/escape/page.py
"""

from __future__ import annotations

import asyncio
import platform
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import host
import module
import places
from archipelag_island.testing import image_root

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "escape-suite.md"
SAID_MAX = 60
HEAD = """# Escape suite

What a Cargo from an unknown publisher (tier restricted) tried, and how each runtime refused it. Written by
`python tests/escape/page.py` from a run on one machine; `make escape` runs the same attempts as tests, on yours, in
each runtime that it has. **outside** is the same program without a sandbox, as root, which shows that an attempt works
where nothing stops it; *not there* means that this kernel or host lets nobody do it, or has nothing to do it to.

An error number is the kernel's answer; a sentence is what the attempt found.

{machine}
"""
WASM_HEAD = """
## In a WASM module

A module has no system calls to try. What it can do is call WASI with what a C library would never pass, and take
without end.

| attempt | what came of it |
|---|---|
"""


def page(
    found: Mapping[str, Mapping[str, Any]], executors: Mapping[str, str], wasm: Mapping[str, Any]
) -> str:
    names = [name for name in places.PLACES if name in found]
    probes = places.probes()
    machine = f"{platform.system()} {platform.release()}; " + "; ".join(executors[n] for n in names)
    lines = [HEAD.format(machine=f"Last run: {machine}.")]
    lines.append("| attempt | outside | " + " | ".join(names) + " |")
    lines.append("|---" * (len(names) + 2) + "|")
    for name, probe in probes.items():
        cells = [_outside(found["outside"][name])]
        cells += [_cell(place, found[place][name]) for place in names]
        lines.append(f"| `{name}`: {probe.what} | " + " | ".join(cells) + " |")
    lines += ["", "What gets through, and why nobody is harmed:", ""]
    lines += [f"- `{name}` in {place}: {why}." for (place, name), why in places.KNOWN.items()]
    lines.append(WASM_HEAD.rstrip("\n"))
    for name, what in module.PROBES.items():
        lines.append(f"| `{name}`: {what} | {_short(wasm[name])} |")
    return "\n".join(lines) + "\n"


def _short(said: str) -> str:
    text = " ".join(said.replace("|", "/").split())
    return text if len(text) <= SAID_MAX else text[: SAID_MAX - 1] + "…"


def _outside(one: Mapping[str, Any]) -> str:
    return "works" if one["escaped"] else f"*not there*: {_short(one['said'])}"


def _cell(place: str, one: Mapping[str, Any]) -> str:
    if (place, one["probe"]) in places.KNOWN:
        return f"**gets through**: {_short(one['said'])} (see below)"
    return ("**ESCAPED** " if one["escaped"] else "") + _short(one["said"])


async def everywhere(folder: Path, world: dict[str, Any]) -> str:
    packed, root = places.pack(folder), image_root.make_root(folder / "root")
    probes = places.probes()
    found = {"outside": places.try_outside(packed, probes, world)}
    executors: dict[str, str] = {}
    scratch = folder / "s"
    scratch.mkdir()
    with ExitStack() as engines:
        for place in places.PLACES:
            if why := places.why_not(place):
                sys.stderr.write(f"{place} is left out: {why}\n")
                continue

            def engine(kind: str) -> Path:
                return engines.enter_context(places.containers.engine(kind, folder / kind))

            async with places.open_place(place, scratch, engine) as runtime:
                executors[place] = (await runtime.probe()).executor
                spec = places.spec_of(place, packed, lambda: root)
                found[place] = await places.try_inside(runtime, spec, probes, world)
    return page(found, executors, await module.try_all())


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="escape-page-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        with host.a_world() as world:
            PAGE.write_text(asyncio.run(everywhere(folder, world)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
