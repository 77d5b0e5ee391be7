"""A network of real processes whose lines to the broker and to the database can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psycopg
from archipelag_coordinator import commands, config
from archipelag_coordinator.adapters.nats import credentials
from archipelag_coordinator.adapters.postgres.migrate import migrate
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_embedded.nats import Nats
from archipelag_embedded.postgres import Postgres
from archipelag_embedded.process import Process, free_port

from benchmarks.far import Line

CHAT = Path(__file__).with_name("chat.toml")
ECHO = "echo=archipelag_island.testing.echo_engine"
# Short, so that what takes half a minute in a real outage takes seconds here; the order of them is the real one. A
# lease outlives a heartbeat that is given up (after 3 s, whatever the interval), the one before it and the one after.
POLICY = {
    "LEASE_S": "5",
    "HEARTBEAT_S": "0.5",
    "ISLAND_SILENT_S": "3",
    "ISLAND_LOST_S": "6",
    "QUEUE_WAIT_INTERACTIVE_S": "8",
    "REQUESTS_PER_MINUTE": "100000",
}


@dataclass
class Stream:
    """What one reader has got."""

    status: int = 0
    error: str = ""
    text: str = ""
    job: str = ""
    at: list[float] = field(default_factory=list)
    """When each item came."""

    @property
    def longest_pause_s(self) -> float:
        return max(b - a for a, b in zip(self.at, self.at[1:], strict=False))


class Rig:
    """Start once, break and mend often."""

    def __init__(self, home: Path, **settings: str) -> None:
        """`settings`: more of the Coordinator's."""
        self.home = home
        self.settings = settings
        self.keys = home / "keys"
        self.postgres = Postgres(home / "postgres")
        self.nats = Nats(home / "nats")
        self.islands: list[Process] = []
        self.database = Line(lambda: self.postgres.port)
        """The Coordinator's."""
        self.broker = Line(lambda: self.nats.port)
        """The Coordinator's."""
        self.islands_broker = Line(lambda: self.nats.port)
        self.http: httpx.AsyncClient
        self.key = ""
        self.coordinator: Process
        self._port, self._grpc = free_port(), free_port()

    async def open(self, islands: int = 2) -> None:
        await self._start_database()
        for line in (self.database, self.broker, self.islands_broker):
            await line.open()
        self.nats.configure(await self._trust())
        self.nats.spawn()
        await asyncio.to_thread(self.nats.wait_ready)
        made = await commands.bootstrap(
            config.read(self.environment()), commands.Wanted(new_key=True, cargos=(CHAT,))
        )
        self.key = made["api_key"]
        self.http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self._port}/api/v1",
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=PATIENCE_S,
        )
        await self.start_coordinator()
        for _ in range(islands):
            code = (await self.http.post("/pairing-codes")).json()["data"]["code"]
            self.islands.append(self._island(len(self.islands), code))
        await self.until(self.warm, "every Island is warm")

    async def _start_database(self) -> None:
        await asyncio.to_thread(self.postgres.start)
        await asyncio.to_thread(migrate, self.postgres.dsn())

    async def _stop_database(self) -> None:
        await asyncio.to_thread(self.postgres.stop)

    async def _trust(self) -> str:
        """What the broker is told of this network."""
        keys = credentials.init_keys(self.keys)
        return credentials.broker_config(keys, resolver_dir=self.home / "nats" / "accounts")

    def environment(self) -> dict[str, str]:
        """The Coordinator's, and that of its commands."""
        direct = self.postgres.dsn()
        return (
            os.environ
            | {f"ARCHIPELAG_POLICY_{name}": value for name, value in POLICY.items()}
            | {
                "ARCHIPELAG_DATABASE_URL": direct.replace(
                    f":{self.postgres.port}/", f":{self.database.port}/"
                ),
                "ARCHIPELAG_NATS_URL": f"nats://127.0.0.1:{self.broker.port}",
                "ARCHIPELAG_BROKER_PUBLIC_URLS": f"nats://127.0.0.1:{self.islands_broker.port}",
                "ARCHIPELAG_STATE_DIR": str(self.keys),
                "ARCHIPELAG_HTTP_PORT": str(self._port),
                "ARCHIPELAG_GRPC_PORT": str(self._grpc),
            }
            | self.settings
        )

    async def start_coordinator(self) -> None:
        self.coordinator = Process(
            "Coordinator",
            [sys.executable, "-m", "archipelag_coordinator", "serve"],
            log=self.home / "coordinator.log",
            env=self.environment(),
        )
        await self.until(self.ready, "the Coordinator is ready")

    async def close(self) -> None:
        for process in (*self.islands, self.coordinator):
            process.ask_to_stop()
        for process in (*self.islands, self.coordinator):
            await asyncio.to_thread(process.stop)
        await self.http.aclose()
        for line in (self.database, self.broker, self.islands_broker):
            await line.close()
        self.nats.stop()
        await self._stop_database()

    def _island(self, number: int, pairing_code: str = "") -> Process:
        name = f"island-{number}"
        env = os.environ | {
            "ARCHIPELAG_ISLAND_HOME": str(self.home / name),
            "ARCHIPELAG_ISLAND_NAME": name,
            "ARCHIPELAG_ISLAND_EXTRA_ENGINES": ECHO,
            "ARCHIPELAG_ISLAND_SLOTS": "32",
            "ARCHIPELAG_COORDINATOR": f"127.0.0.1:{self._grpc}",
            "ARCHIPELAG_PAIRING_CODE": pairing_code,
            **self._island_environment(number),
        }
        program = [sys.executable, "-m", "archipelag_island", "run"]
        return Process(name, program, log=self.home / f"{name}.log", env=env)

    def _island_environment(self, number: int) -> dict[str, str]:
        """What else an Island is told."""
        return {}

    async def whole(self) -> None:
        """Everything runs, whatever the last test broke."""
        for line in (self.database, self.broker, self.islands_broker):
            line.mend()
        for number, island in enumerate(self.islands):
            if not island.running:
                self.islands[number] = self._island(number)
        await self.until(self.ready, "the Coordinator is ready")
        await self.until(self.warm, "every Island is warm")

    # --- Questions -------------------------------------------------------------------------------------------------

    async def ready(self) -> bool:
        if not self.coordinator.running:
            raise self.coordinator.failed("ended")
        try:
            return (await self.http.get("/ready")).status_code == 200
        except httpx.HTTPError:
            return False

    async def warm(self) -> bool:
        """Each of them says itself that its Cargo is warm and that a Coordinator answers it."""
        for number, island in enumerate(self.islands):
            try:
                told = json.loads((self.home / f"island-{number}" / "status.json").read_text())
            except (OSError, ValueError):
                return False
            states = {cargo["state"] for cargo in told["cargos"]}
            if told["pid"] != island.pid or not told["coordinator_answers"] or states != {"warm"}:
                return False
        return True

    async def until(
        self, holds: Callable[[], Any], what: str, within_s: float = PATIENCE_S
    ) -> None:
        deadline = time.monotonic() + within_s
        while not await holds():
            assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
            await asyncio.sleep(0.05)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Past everybody, as somebody with SQL in their hands sees it."""
        with psycopg.connect(self.postgres.dsn()) as connection:
            return connection.execute(query, values).fetchall()

    def attempts(self, job: str) -> list[tuple[str, str]]:
        rows = self.rows("SELECT status, cause FROM attempts WHERE job_id = %s ORDER BY epoch", job)
        return [(status, cause) for status, cause in rows]

    def reasons(self, job: str) -> list[tuple[Any, ...]]:
        return self.rows("SELECT epoch, reason FROM attempts WHERE job_id = %s ORDER BY epoch", job)

    def billed(self, job: str) -> tuple[str, int, int]:
        """Status, items and charges of a job."""
        ((status, items),) = self.rows("SELECT status, output_items FROM jobs WHERE id = %s", job)
        ((charges,),) = self.rows(
            "SELECT count(*) FROM transfers t JOIN entries e ON e.transfer_id = t.id"
            " WHERE t.job_id = %s AND e.account_id LIKE 'user:%%'",
            job,
        )
        return status, items, charges

    # --- Customers -------------------------------------------------------------------------------------------------

    async def stream(self, words: int, delay_ms: int, into: Stream | None = None) -> Stream:
        """Reads one chat to its end."""
        got = into or Stream()
        knobs = {"delay_ms": delay_ms}
        body = {
            "model": "slow-chat",
            "messages": [
                {"role": "system", "content": json.dumps(knobs)},
                {"role": "user", "content": said(words)},
            ],
            "max_tokens": words,
            "stream": True,
        }
        async with self.http.stream("POST", "/chat/completions", json=body) as answer:
            got.status, got.job = answer.status_code, answer.headers.get("x-archipelag-job", "")
            if got.status != 200:
                got.error = (await answer.aread()).decode()
                return got
            async for line in answer.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line[6:])
                got.error = got.error or str(event.get("error", ""))
                for choice in event.get("choices", ()):
                    if piece := choice["delta"].get("content"):
                        got.at.append(time.monotonic())
                        got.text += piece
        return got

    @contextlib.asynccontextmanager
    async def streaming(
        self, count: int, words: int, delay_ms: int, begun: int = 3
    ) -> AsyncIterator[list[Stream]]:
        """Readers in mid-answer; on leaving, all have read to the end."""
        streams = [Stream() for _ in range(count)]
        tasks = [asyncio.create_task(self.stream(words, delay_ms, one)) for one in streams]

        async def on_their_way() -> bool:
            for task in tasks:
                if task.done():
                    raise AssertionError(f"ended too soon: {task.result()}")
            return all(len(one.at) >= begun for one in streams)

        try:
            await self.until(on_their_way, "every stream has begun")
            yield streams
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def said(words: int) -> str:
    return " ".join(f"w{n}" for n in range(words))


def island_of(rig: Rig, job: str) -> Process:
    ((name,),) = rig.rows(
        "SELECT i.name FROM attempts a JOIN islands i ON i.id = a.island_id"
        " WHERE a.job_id = %s ORDER BY a.epoch DESC LIMIT 1",
        job,
    )
    return rig.islands[int(re.sub(r"\D", "", name))]


AnyRig = TypeVar("AnyRig", bound=Rig)


@contextlib.asynccontextmanager
async def opened(
    name: str, make: Callable[[Path], AnyRig], *, islands: int = 2
) -> AsyncIterator[AnyRig]:
    """A rig in a folder of its own, which is gone afterwards."""
    home = Path(tempfile.mkdtemp(prefix=f"archipelag-{name}-"))
    home.chmod(0o755)  # noqa: ASYNC240 - once. Cargos run without privileges and must reach their sockets.
    rig = make(home)
    try:
        await rig.open(islands)
        yield rig
    finally:
        await rig.close()
        shutil.rmtree(home, ignore_errors=True)
