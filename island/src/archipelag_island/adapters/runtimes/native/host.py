"""What this host lets us do for native Cargos, found out by trying."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from subprocess import DEVNULL, PIPE
from typing import Final

from archipelag_island.adapters.runtimes.native import group_parent
from archipelag_island.adapters.runtimes.native.cgroups import CgroupParent
from archipelag_island.adapters.runtimes.native.rights import Rights, candidates
from archipelag_island.adapters.runtimes.native.sandbox import Interpreter, find_interpreter

log = logging.getLogger(__name__)

ASKED_S: Final = 20.0
_SEARCH: Final = """
import json, sys
found = list(sys.path)
for name, module in list(sys.modules.items()):
    if name.startswith("__editable__"):
        found += dict(getattr(module, "MAPPING", {})).values()
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Host:
    rights: Rights
    interpreter: Interpreter
    groups: CgroupParent | None
    executor: str


async def find_host(holds: Callable[[Rights, Interpreter], Awaitable[bool]]) -> Host:
    """`holds` tries one way; the last, to give up nothing, is taken untried."""
    interpreter = find_interpreter(await _module_search_path())
    rights = Rights()
    for candidate in candidates(interpreter):
        if await holds(candidate, interpreter):
            rights = candidate
            break
    groups = await asyncio.to_thread(group_parent.find_parent) if sys.platform == "linux" else None
    executor = "confined child process"
    if rights.bubblewrap:
        executor = await _answer(rights.bubblewrap, "--version") or "bubblewrap"
    log.info("native_host rights=%s groups=%s", rights, groups)
    return Host(rights, interpreter, groups, executor)


async def _module_search_path() -> list[str]:
    """That of an interpreter like the Cargo's: ours has what we were started with besides."""
    try:
        found = json.loads(await _answer(sys.executable, "-I", "-c", _SEARCH))
    except ValueError:
        return []
    return [str(path) for path in found]


async def _answer(*command: str) -> str:
    """What a program prints; empty when it cannot be asked."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL
        )
    except OSError:
        return ""
    try:
        async with asyncio.timeout(ASKED_S):
            output, _ = await process.communicate()
    except TimeoutError:
        return ""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output.decode(errors="replace").strip() if process.returncode == 0 else ""
