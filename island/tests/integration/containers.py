"""What tests need to try containers: every OCI runtime that this host has, and Cargos that mean harm."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from archipelag_island.adapters.runtimes.oci import cgroups, owner
from archipelag_island.adapters.runtimes.oci.api import EngineApi
from archipelag_island.adapters.runtimes.oci.direct import EXECUTORS, PLACES, DirectRuntime
from archipelag_island.adapters.runtimes.oci.engine import EngineRuntime
from archipelag_island.adapters.runtimes.oci.lifecycle import Container, ContainerRuntime
from archipelag_island.runtime import CargoSpec, Handle
from archipelag_island.testing import image_root
from archipelag_island.testing.builders import ECHO_MODULE

ENGINES: Final = ("docker", "podman")
KINDS: Final = (*EXECUTORS, *ENGINES)
ENGINE_S: Final = 60.0
FOUND: Final[dict[tuple[str, Path | None], Any]] = {}
"""By kind and engine, what was found out by a container that was run: once, since it does not change under tests."""


def why_not(kind: str) -> str:
    """Why this host cannot try it; empty: it can."""
    if os.geteuid() != 0:
        return "needs root: makes control groups and user namespaces"
    program = "dockerd" if kind == "docker" else kind
    if shutil.which(program, path=PLACES) is None:
        return f"needs {program}: it is not installed"
    return ""


@contextmanager
def engine(kind: str, folder: Path) -> Iterator[Path]:
    """Docker's or Podman's engine, started by hand with everything of its own below `folder`; yields its socket."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "engine.sock"
    command, environment = _docker(folder) if kind == "docker" else _podman(folder)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd=folder,  # Podman's watcher writes a file into it when memory runs out.
            start_new_session=True,
            env={"PATH": PLACES, "HOME": str(folder), **environment},
        )
    try:
        _wait_answer(place, process, folder / "log")
        yield place
    finally:
        process.terminate()
        try:
            process.wait(ENGINE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _docker(folder: Path) -> tuple[list[str], dict[str, str]]:
    command = ["dockerd", "--iptables=false", "--bridge=none", "-H", f"unix://{folder}/engine.sock"]
    command += ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"]
    return [*command, "--pidfile", f"{folder}/pid"], {}


def _podman(folder: Path) -> tuple[list[str], dict[str, str]]:
    (folder / "containers.conf").write_text(
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n'
    )
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
    )
    command = ["podman", "--root", f"{folder}/graph", "--runroot", f"{folder}/run"]
    command += ["--tmpdir", str(folder / "state"), "system", "service", "--time=0"]
    return [*command, f"unix://{folder}/engine.sock"], {
        "CONTAINERS_CONF": f"{folder}/containers.conf",
        "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf",
    }


def _wait_answer(place: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + ENGINE_S
    while time.monotonic() < end and process.poll() is None:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(place))
            except OSError:
                time.sleep(0.05)
            else:
                return
    raise RuntimeError(f"the engine did not start: {log.read_text()[-2000:]}")


@asynccontextmanager
async def open_runtime(
    kind: str, scratch: Path, socket: Path | None = None
) -> AsyncIterator[ContainerRuntime]:
    """Ends every Cargo in the end and asserts that nothing of any is left."""
    made = _runtime(kind, scratch, socket)
    try:
        await made.probe()
        FOUND[kind, socket] = made._engine if isinstance(made, EngineRuntime) else made._found
        yield made
        for name in list(made._started):
            await made.stop(Handle(name), 0)
        assert not [name for name in cgroups.names() if name.startswith(owner.prefix())]
        assert not folders_of(os.getpid(), scratch)
        assert f" {scratch}/" not in told(os.getpid(), "mountinfo")
    finally:
        for name in list(made._started):
            await made.stop(Handle(name), 0)
        if isinstance(made, EngineRuntime):
            await made.close()


def _runtime(kind: str, scratch: Path, socket: Path | None) -> DirectRuntime | EngineRuntime:
    found = FOUND.get((kind, socket))
    if socket is None:
        direct = DirectRuntime(scratch, executors=(kind,))
        direct._found = found
        return direct
    through = EngineRuntime(scratch, socket=socket)
    if found is not None:
        through._engine = replace(found, api=EngineApi(socket))
    return through


def folders_of(island: int, scratch: Path) -> list[Path]:
    """What an Island of this process id has below `scratch`."""
    return list(scratch.glob(f"archipelag-*-{island}.*"))


def container_of(runtime: ContainerRuntime, handle: Handle) -> Container:
    return runtime._started[handle.id].living


def processes_of(runtime: ContainerRuntime, handle: Handle) -> set[int]:
    """By the host's numbers."""
    group = container_of(runtime, handle).group
    assert group is not None
    return group.processes()


async def freeze(pid: int) -> None:
    """From then on it takes no signal but the last: of two that wait, the kernel gives SIGTERM before SIGSTOP."""
    os.kill(pid, signal.SIGSTOP)
    await until(lambda: status_of(pid)["State"].startswith("T"))


def told(pid: int, name: str) -> str:
    """What the kernel tells of a process: a file of its folder in /proc."""
    return Path(f"/proc/{pid}/{name}").read_text()


def status_of(pid: int) -> dict[str, str]:
    lines = told(pid, "status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def namespaces_of(pid: int) -> dict[str, str]:
    return {entry.name: str(entry.readlink()) for entry in Path(f"/proc/{pid}/ns").iterdir()}


def mounts_of(pid: int) -> dict[str, set[str]]:
    """Place → options."""
    lines = [line.split() for line in told(pid, "mountinfo").splitlines()]
    return {words[4]: set(words[5].split(",")) for words in lines}


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}").exists()}


async def until(holds: Callable[[], object], *, within_s: float = 30.0) -> None:
    for _ in range(int(within_s / 0.02)):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came")


def that_runs(spec: CargoSpec, script: str) -> CargoSpec:
    return replace(spec, command=(image_root.PYTHON, "-c", script))


def that_also(spec: CargoSpec, deed: str) -> CargoSpec:
    """The echo Cargo that does something beside, in a thread of its own, once it serves."""
    body = "\n".join(f"    {line}" for line in deed.strip().splitlines())
    return that_runs(
        spec,
        "import os, signal, sys, threading, time\n"
        f"from {ECHO_MODULE}.__main__ import main\n"
        "def say(what): print(what, file=sys.stderr, flush=True)\n"
        "def deed():\n"
        "    while not os.path.exists('/run/archipelag/sock/cargo.sock'): time.sleep(0.01)\n"
        "    time.sleep(0.3)\n"
        f"{body}\n"
        "threading.Thread(target=deed, daemon=True).start()\n"
        "main()\n",
    )
