"""Helper of the benchmarks: a real Coordinator on real PostgreSQL and NATS, a synthetic Island, and what each costs.

The Coordinator gets one core for itself; everything else, the measuring process too, shares the others.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from archipelag_embedded.nats import Nats
from archipelag_embedded.postgres import Postgres
from archipelag_embedded.process import Process, free_port
from telling import refuse

HERE = Path(__file__).parent
MANIFEST = HERE.parent / "cargos/llm-chat/manifest.toml"
MODEL = "smollm2-135m-instruct"
CREDIT = "1000000"
SLOTS = 900
"""Of one synthetic Island: its heartbeat can name so many attempts."""
START_S = 60.0
TICKS = os.sysconf("SC_CLK_TCK")


def cores() -> tuple[set[int], set[int]]:
    """The core of what is measured, and those of everything else."""
    usable = sorted(os.sched_getaffinity(0))
    return {usable[0]}, set(usable[1:]) or {usable[0]}


ONE, OTHERS = cores()


def pin_tools(*, share: bool = False) -> None:
    """This process, and all that it starts without a word of `on_one_core`. A stream is a file or two in each.
    `share`: nothing is pinned, and all have all cores, as on one small machine."""
    if not share and ONE == OTHERS:
        refuse("one core is for what is measured and another for everything else: this needs two")
    if not share:
        os.sched_setaffinity(0, OTHERS)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def on_one_core() -> Iterator[None]:
    """What is started meanwhile has the measured core for itself, where `pin_tools` keeps the others off it."""
    before = os.sched_getaffinity(0)
    if before == OTHERS:
        os.sched_setaffinity(0, ONE)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class Cost:
    """CPU seconds and resident megabytes of a process and its children."""

    cpu_s: float
    memory_mb: float


def cost(pid: int, *, tree: bool = True) -> Cost:
    cpu = memory = 0.0
    root = psutil.Process(pid)
    for one in [root, *(root.children(recursive=True) if tree else [])]:
        try:
            stat = Path(f"/proc/{one.pid}/stat").read_text().rpartition(")")[2].split()
            memory += one.memory_info().rss / 2**20
        except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
            continue
        # utime, stime, and those of children that ended: PostgreSQL's backends come and go.
        cpu += sum(int(ticks) for ticks in stat[11:15]) / TICKS
    return Cost(cpu, memory)


@dataclass
class Target:
    """Something that answers chats: where, and whose CPU to count. The first process is the measured one."""

    name: str
    port: int
    key: str
    model: str = MODEL
    processes: dict[str, int] = field(default_factory=dict)
    database: str = ""

    def costs(self) -> dict[str, Cost]:
        return {name: cost(pid) for name, pid in self.processes.items()}


@dataclass(frozen=True)
class Bare:
    """A network that no Island has joined yet."""

    target: Target
    grpc_port: int
    pairing_code: str
    """For the first Island; `pairing_code` makes more."""
    home: Path
    env: dict[str, str]
    coordinator: Process


@contextmanager
def archipelag(
    *, rate: float, streams: int = SLOTS, rate_limit: int = 1_000_000
) -> Iterator[Target]:
    """`rate`: tokens a second of each stream; 0: all of an answer at once. `streams`: at most so many at once."""
    with ExitStack() as stack:
        bare = stack.enter_context(without_islands(rate_limit=rate_limit))
        islands = []
        for number in range(-(-streams // SLOTS)):
            code = pairing_code(bare.target) if number else bare.pairing_code
            program = [
                *(sys.executable, HERE / "synthetic_island.py"),
                *("--coordinator", f"127.0.0.1:{bare.grpc_port}", "--code", code),
                *("--rate", str(rate), "--slots", str(SLOTS)),
            ]
            log = _log(bare.home, f"island{number}")
            name = f"Synthetic Island {number}"
            islands.append(Process(name, program, log=log, env=bare.env))
            stack.callback(islands[-1].stop)
        wait(lambda: warm(bare.target) == len(islands), islands[-1])
        bare.target.processes.update(
            {f"island{number}": island.pid for number, island in enumerate(islands)}
        )
        yield bare.target


@contextmanager
def without_islands(
    *,
    rate_limit: int = 1_000_000,
    coordinator: Sequence[str] = ("-m", "archipelag_coordinator"),
    more_env: Mapping[str, str] | None = None,
) -> Iterator[Bare]:
    """`coordinator`: what Python runs to serve, with `more_env` in its environment."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(_folder()))
        postgres = Postgres(home / "postgres", log=_log(home, "postgres"))
        stack.callback(postgres.stop)
        database = postgres.start()
        env = os.environ | {
            "ARCHIPELAG_DATABASE_URL": database,
            "ARCHIPELAG_STATE_DIR": str(home / "coordinator"),
            "ARCHIPELAG_HTTP_PORT": str(port := free_port()),
            "ARCHIPELAG_GRPC_PORT": str(grpc_port := free_port()),
            "ARCHIPELAG_LOG_LEVEL": "WARNING",
        }
        _run(env, "keys", "init", "--state-dir", str(home / "coordinator"))
        config = _run(env, "broker-config", "--state-dir", str(home / "coordinator"))
        nats = Nats(home / "nats", config=config)
        stack.callback(nats.stop)
        env["ARCHIPELAG_NATS_URL"] = nats.start()
        _run(env, "migrate")
        made = json.loads(
            _run(env, "bootstrap", "--json", "--pairing-code", "--cargo", str(MANIFEST))
        )
        asked = ("--email", "bench@example.com", "--credits", CREDIT, "--rate", str(rate_limit))
        key = json.loads(_run(env, "user", "add", *asked))["api_key"]
        with on_one_core():
            serving = Process(
                "Coordinator",
                [sys.executable, *_profiler(), *coordinator, "serve"],
                log=_log(home, "coordinator"),
                env=env | dict(more_env or {}),
                cwd=HERE.parent,
                stop_signal=signal.SIGINT,  # The profiler writes its file after this one only.
            )
        stack.callback(serving.stop)
        wait(lambda: _answers(port, "/api/v1/health/ready"), serving)
        assert postgres.process is not None and nats.process is not None
        processes = {
            "coordinator": serving.pid,
            "nats": nats.process.pid,
            "postgres": postgres.process.pid,
        }
        target = Target("Archipelag", port, key, database=database, processes=processes)
        yield Bare(target, grpc_port, made["pairing_code"], home, env, serving)


def _profiler() -> list[str]:
    """BENCH_PROFILE=FILE runs the Coordinator under cProfile; its figures are then its own."""
    file = os.environ.get("BENCH_PROFILE")
    return ["-m", "cProfile", "-o", file] if file else []


def _log(home: Path, name: str) -> Path:
    """BENCH_LOGS=FOLDER keeps what the processes say."""
    kept = os.environ.get("BENCH_LOGS")
    return Path(kept or home) / f"{name}.log"


@contextmanager
def _folder() -> Iterator[str]:
    home = Path(tempfile.mkdtemp(prefix="archipelag-bench-"))
    home.chmod(0o711)
    try:
        yield str(home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _run(env: dict[str, str], *arguments: str) -> str:
    program = [sys.executable, "-m", "archipelag_coordinator", *arguments]
    done = subprocess.run(
        program, env=env, capture_output=True, text=True, timeout=START_S, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


def wait(holds: Callable[[], bool], process: Process, timeout_s: float = START_S) -> None:
    """Raises what `process` said last where it ends before that, or it takes too long."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if not process.running or time.monotonic() > deadline:
            raise process.failed("did not get ready")
        time.sleep(0.05)


def ask(port: int, path: str, key: str = "", method: str = "GET") -> object:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        headers={"Authorization": f"Bearer {key}"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=5) as response:
        return json.load(response)


def _answers(port: int, path: str) -> bool:
    try:
        ask(port, path)
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False
    return True


def warm(target: Target) -> int:
    """How many Islands have a Cargo ready."""
    hosts = ask(target.port, "/api/v1/hosts", target.key)
    assert isinstance(hosts, dict)
    return sum(offer["state"] == "warm" for host in hosts["data"] for offer in host["cargos"])


def pairing_code(target: Target) -> str:
    """For one more Island."""
    made = ask(target.port, "/api/v1/pairing-codes", target.key, method="POST")
    assert isinstance(made, dict)
    return str(made["data"]["code"])


def wait_for(port: int, path: str, process: Process, timeout_s: float = START_S) -> None:
    """Until a server answers there."""
    wait(lambda: _answers(port, path), process, timeout_s)
