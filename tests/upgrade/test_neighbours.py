"""The last release beside this one: its Islands with our Coordinator, ours with its, and its store on our schema."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from archipelag_embedded.process import Process

from tests.trouble.rig import Rig, opened

from .last_release import Release

WORDS = 60


class MixedRig(Rig):
    """Coordinator and Islands of two versions, on the schema that the newer one brings before it starts."""

    def __init__(self, home: Path, coordinator: str, island: str) -> None:
        super().__init__(home)
        self.python = {"Coordinator": coordinator, "Island": island}

    async def start_coordinator(self) -> None:
        program = [self.python["Coordinator"], "-m", "archipelag_coordinator", "serve"]
        log = self.home / "coordinator.log"
        self.coordinator = Process("Coordinator", program, log=log, env=self.environment())
        await self.until(self.ready, "the Coordinator is ready")

    def _island(self, number: int, pairing_code: str = "") -> Process:
        name = f"island-{number}"
        env = os.environ | {
            "ARCHIPELAG_ISLAND_HOME": str(self.home / name),
            "ARCHIPELAG_ISLAND_NAME": name,
            "ARCHIPELAG_ISLAND_EXTRA_ENGINES": "echo=archipelag_island.testing.echo_engine",
            "ARCHIPELAG_ISLAND_SLOTS": "32",
            "ARCHIPELAG_COORDINATOR": f"127.0.0.1:{self._grpc}",
            "ARCHIPELAG_PAIRING_CODE": pairing_code,
        }
        program = [self.python["Island"], "-m", "archipelag_island", "run"]
        return Process(name, program, log=self.home / f"{name}.log", env=env)


def mixed(coordinator: str, island: str) -> AbstractAsyncContextManager[MixedRig]:
    return opened("mixed", lambda home: MixedRig(home, coordinator, island))


def packages_of(python: str) -> str:
    where = "import archipelag_island, archipelag_coordinator as c; print(archipelag_island.__file__, c.__file__)"
    return subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("older", ["Island", "Coordinator"])
async def test_neighbouring_versions_work_together(release: Release, older: str) -> None:
    assert packages_of(release.python).count(str(Path(release.python).parents[1])) == 2
    coordinator = release.python if older == "Coordinator" else sys.executable
    island = release.python if older == "Island" else sys.executable

    async with mixed(coordinator, island) as rig:
        async with rig.streaming(4, WORDS, delay_ms=20) as streams:
            # One of them goes, and what it said goes on elsewhere.
            rig.islands[0].ask_to_stop()
            await asyncio.to_thread(rig.islands[0].stop)
        await rig.whole()
        after = await rig.stream(WORDS, delay_ms=0)
        check = (await rig.http.get("/admin/ledger-check")).json()["data"]

        for one in (*streams, after):
            assert (one.status, len(one.text.split()), one.error) == (200, WORDS, "")
            assert rig.billed(one.job) == ("succeeded", WORDS, 1)
        assert check["balanced"]


# Loaded into the older release's own tests: the schema they run on is the newer one's.
PLUGIN = """
import subprocess
import archipelag_coordinator.adapters.postgres.migrate as old

def migrate(dsn, **_):
    code = "import sys; from archipelag_coordinator.adapters.postgres.migrate import migrate; migrate(sys.argv[1])"
    subprocess.run([{python!r}, "-c", code, dsn], check=True, env={{}})

old.migrate = migrate
"""
STORE = "coordinator/tests/integration/test_postgres_store.py"


WHOLE_S = 900


# Two hundred checks, each on a database of its own.
@pytest.mark.timeout(WHOLE_S + 60)
def test_the_last_releases_store_keeps_its_promises_on_our_schema(
    release: Release, tmp_path: Path
) -> None:
    (tmp_path / "newer_schema.py").write_text(PLUGIN.format(python=sys.executable))
    embedded = release.sources / "embedded" / "src"
    env = os.environ | {
        "PYTHONPATH": f"{tmp_path}:{embedded}",
        "PYTHONNODEBUGRANGES": "1",
    }

    done = subprocess.run(
        [
            release.python,
            "-m",
            "pytest",
            "-q",
            "-p",
            "newer_schema",
            "-p",
            "no:cacheprovider",
            STORE,
        ],
        cwd=release.sources,
        env=env,
        capture_output=True,
        text=True,
        timeout=WHOLE_S,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout and " failed" not in done.stdout
