"""Other people's clients as they come from their registries: programs in environments of their own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import ROOT, Network

HERE = Path(__file__).parent
PYTHON = ROOT / ".venv" / "ecosystem" / "bin" / "python"
NODE_MODULES = ROOT / ".venv" / "ecosystem" / "node_modules"
PAGE = ROOT / "docs" / "how-to" / "use-the-openai-client.md"
PATH = os.pathsep.join(
    [str(PYTHON.parent), str(ROOT / ".venv" / "bin"), os.environ.get("PATH", "")]
)
PROGRAM_S = 120.0
BLOCK = re.compile(r"^## (?P<title>[^\n]+)$|^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Said:
    """What a program printed, and how it ended."""

    status: int
    out: str
    error: str

    @property
    def value(self) -> Any:
        """The JSON in its last line."""
        assert self.status == 0, self.error[-3000:]
        return json.loads(self.out.splitlines()[-1])


@dataclass(frozen=True)
class Outside:
    """Runs programs that know a base URL and a key, and nothing else of this network or this machine's user."""

    base_url: str
    api_key: str
    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def env(self) -> dict[str, str]:
        return {
            "PATH": PATH,
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "OPENAI_BASE_URL": self.base_url,
            "OPENAI_API_KEY": self.api_key,
            "PYTHONNOUSERSITE": "1",
            # Nobody is told what we do here, and nothing is fetched.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LANGSMITH_TRACING": "false",
            "DO_NOT_TRACK": "1",
            **self.environment,
        }

    async def run(self, *command: str) -> Said:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.home,
            env=self.env(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(PROGRAM_S):
                out, error = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return Said(process.returncode, out.decode(), error.decode())

    async def python(self, program: str, *arguments: str) -> Said:
        """A program of this folder, with the clients' own Python."""
        return await self.run(str(PYTHON), str(HERE / "programs" / program), *arguments)

    async def node(self, program: str, *arguments: str) -> Said:
        """A program of this folder, beside the modules that it imports: Node looks for them there only."""
        copy = self.beside_modules(program, (HERE / "programs" / program).read_text())
        return await self.run("node", str(copy), *arguments)

    def beside_modules(self, name: str, code: str) -> Path:
        link = self.home / "node_modules"
        if not link.exists():
            link.symlink_to(NODE_MODULES)
        path = self.home / name
        path.write_text(code)
        return path


@pytest.fixture
def outside(network: Network, tmp_path: Path) -> Outside:
    """As a customer of their own, in an empty home."""
    key = network.user(f"{tmp_path.name[:40]}@example.org", "10", rate=1000)
    return Outside(network.openai_url, key, tmp_path)


@pytest.fixture
def python_clients() -> None:
    if not PYTHON.exists():
        pytest.skip("other people's clients are not installed: `make .venv/ecosystem.stamp`")


@pytest.fixture
def node_clients() -> None:
    if not NODE_MODULES.exists() or shutil.which("node", path=PATH) is None:
        pytest.skip(
            "other people's clients for Node are not installed: `make .venv/ecosystem.stamp`"
        )


def documented() -> dict[str, list[tuple[str, str]]]:
    """The code of the page that customers read: heading → language and text of each block under it."""
    found: dict[str, list[tuple[str, str]]] = {}
    under = ""
    for match in BLOCK.finditer(PAGE.read_text()):
        if match["title"]:
            under = match["title"]
        else:
            found.setdefault(under, []).append((match["language"], match["code"]))
    return found
