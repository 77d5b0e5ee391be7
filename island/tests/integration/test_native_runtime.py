"""The native runtime with the echo Cargo: every promise of the protocol, and those that only it makes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from archipelag_contracts.tiers import TIERS
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_island.adapters.runtimes.exchange import Exchange
from archipelag_island.adapters.runtimes.native import NativeRuntime, Rights
from archipelag_island.adapters.runtimes.native.plan import Plan
from archipelag_island.adapters.runtimes.native.rights import candidates
from archipelag_island.adapters.runtimes.native.runtime import _furnish_for_trial, _start
from archipelag_island.errors import CargoDied, StartFailed
from archipelag_island.runtime import CargoSpec, Handle, RunRequest, Runtime
from archipelag_island.testing.builders import a_spec, an_input, the_echo_manifest
from archipelag_island.testing.check_runtime import CHECKS

from .containers import freeze


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[NativeRuntime]:
    made = NativeRuntime()
    yield made
    for name in list(made._started):
        await made.stop(Handle(name), 0)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_keeps_promise(
    check: Callable[[Runtime], Awaitable[None]], runtime: NativeRuntime
) -> None:
    await check(runtime)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: elsewhere a GPU is no device")
async def test_a_cargo_for_a_gpu_is_refused_before_anything_starts_where_there_is_none(
    runtime: NativeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipelag_island.adapters.runtimes.native.runtime.gpu_devices", list)
    spec = a_spec()
    wants = replace(spec, manifest=replace(spec.manifest, devices=("gpu",)))

    with pytest.raises(StartFailed, match="needs a GPU"):
        await runtime.start(wants)

    assert not runtime._started


async def test_death_in_a_run_tells_the_last_words(runtime: NativeRuntime) -> None:
    handle = await runtime.start(a_spec())
    request = RunRequest("run", an_input("a b c", die_at=1), output_items_max=10)

    said: list[str] = []

    async def listen() -> None:
        async with aclosing(runtime.run(handle, request)) as events:
            async for event in events:
                said.extend(event.texts)

    with pytest.raises(CargoDied, match=r"status 3.*told to die at position 1"):
        await listen()

    assert said == ["a "]


@pytest.mark.parametrize("lines_max", [0, 5])
async def test_what_a_cargo_says_in_a_run_is_in_our_log_where_its_owner_wants_it(
    lines_max: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "archipelag_island")
    runtime = NativeRuntime(lines_max=lines_max)
    handle = await runtime.start(a_spec())
    traced = "00-11112222333344445555666677778888-00f067aa0ba902b7-01"
    secret = an_input("a secret c", die_at=1)
    request = RunRequest("job_x.7", secret, output_items_max=10, traceparent=traced)

    async def listen() -> None:
        async with aclosing(runtime.run(handle, request)) as events:
            async for _ in events:
                pass

    with pytest.raises(CargoDied):
        await listen()
    await runtime.stop(handle, 0)

    said = [one.getMessage() for one in caplog.records if "cargo_says" in one.getMessage()]
    wanted = (
        f"cargo_says cargo={handle.id} job=job_x epoch=7 trace=11112222333344445555666677778888"
        " line=told to die at position 1"
    )
    assert said == ([wanted] if lines_max else [])
    assert "secret" not in caplog.text


async def test_engine_that_is_missing_says_so_and_leaves_nothing(runtime: NativeRuntime) -> None:
    manifest = the_echo_manifest()
    spec = CargoSpec(manifest, manifest.digest, "no_such_engine", None, 1, 1)

    with pytest.raises(StartFailed, match="no_such_engine"):
        await runtime.start(spec)

    assert not runtime._started


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def namespace(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def environment_of(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


async def test_cargo_has_no_rights_it_does_not_need(runtime: NativeRuntime) -> None:
    info = await runtime.probe()
    handle = await runtime.start(a_spec())
    pid = runtime._started[handle.id].living.pid

    status = status_of(pid)

    assert status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    if os.getuid() == 0:
        assert int(status["CapBnd"], 16) == 0
    if "user-of-its-own" in info.isolation:
        assert status["Uid"].split()[0] not in ("0", str(os.getuid()))
    if "no-network" in info.isolation:
        assert namespace(pid) != namespace(os.getpid())
    environment = environment_of(pid)
    told = {e.split(b"=")[0] for e in environment if e} - {b"PWD"}  # Bubblewrap says where we are.
    assert told == {b"PATH", b"HOME", b"TMPDIR", b"LANG"}
    assert os.getsid(pid) != os.getsid(0)


async def test_nothing_is_left_after_stop(runtime: NativeRuntime) -> None:
    handle = await runtime.start(a_spec())
    started = runtime._started[handle.id]

    await runtime.stop(handle, 2.0)

    with pytest.raises(ProcessLookupError):
        os.kill(started.living.pid, 0)
    assert not started.exchange.folder.exists()


async def test_stop_that_is_cancelled_leaves_nothing_either(runtime: NativeRuntime) -> None:
    handle = await runtime.start(a_spec())
    process = runtime._started[handle.id].living
    await freeze(process.pid)

    stopping = asyncio.create_task(runtime.stop(handle, 10 * PATIENCE_S))
    await asyncio.sleep(0.05)
    stopping.cancel()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(stopping, return_exceptions=True)

    assert process.ended and not runtime._started


async def test_cargo_that_ignores_sigterm_is_killed(runtime: NativeRuntime) -> None:
    handle = await runtime.start(a_spec())
    pid = runtime._started[handle.id].living.pid
    await freeze(pid)

    async with asyncio.timeout(PATIENCE_S):
        await runtime.stop(handle, 0.05)

    assert (await runtime.wait(handle)).status == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: a filter is the kernel's")
async def test_host_without_a_sandbox_still_sets_the_filter_of_system_calls() -> None:
    """The Island as one file has no bubblewrap: this is what stands behind a module that has broken out of wasmtime."""
    runtime = NativeRuntime()
    found = await runtime._find_host()
    tried = [one for one in candidates(found.interpreter) if not one.bubblewrap]
    holding = (one for one in tried if await runtime._holds(one, found.interpreter))
    rights = await anext(holding)
    script = """
import ctypes, errno, json, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def called(name, *arguments):
    return errno.errorcode.get(ctypes.get_errno()) if getattr(libc, name)(*arguments) < 0 else "done"
def reached(family):
    try:
        socket.socket(family)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
status = open("/proc/self/status").read()
said = [called("unshare", 0x10000000), called("ptrace", 0, 0, 0, 0), called("mount", 0, 0, 0, 0, 0)]
said += [reached(socket.AF_INET), reached(socket.AF_UNIX), "Seccomp:\\t2" in status]
sys.stderr.write(json.dumps(said))
"""

    with tempfile.TemporaryDirectory(prefix="archipelag-test-") as folder:
        exchange = Exchange(Path(folder))
        _furnish_for_trial(exchange, rights)
        arguments = ["-n1", "-r1", script]
        plan = Plan(rights, found.interpreter, exchange, TIERS["restricted"], "timeit", arguments)
        process = await _start(plan, None)
        async with asyncio.timeout(PATIENCE_S):
            ended = await process.wait()
        await process.stop(0)

    assert rights.filtered and ended.status == 0, ended
    assert json.loads(ended.last_words) == [*["EPERM"] * 3, "EAFNOSUPPORT", "done", True]
    runtime._host = replace(found, rights=rights)
    assert "system-call-filter" in (await runtime.probe()).isolation


@pytest.mark.parametrize(
    "rights",
    [
        Rights(),
        Rights(filtered=True),
        Rights(drop_capabilities=True),
        Rights(own_user_namespace=True),
    ],
    ids=["nothing", "filter", "no-capabilities", "user-namespace"],
)
async def test_weaker_hosts_run_cargos_too_and_say_what_is_missing(rights: Rights) -> None:
    runtime = NativeRuntime()
    host = await runtime._find_host()
    if not await runtime._holds(rights, host.interpreter):
        pytest.skip("needs more rights than this host gives")
    runtime._host = replace(host, rights=rights)

    handle = await runtime.start(a_spec())
    described = await runtime.describe(handle)
    info = await runtime.probe()
    await runtime.stop(handle, 2.0)

    assert described.slots == 4
    assert info.trust_min == 3
    assert "can read and change the files of the user that runs the Island" in info.not_isolated
    assert ("can reach the network" in info.not_isolated) == (not rights.own_user_namespace)


async def test_model_below_a_closed_folder_reaches_the_cargo(
    runtime: NativeRuntime, tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    weights = closed / "weights"
    weights.write_bytes(b"w")

    handle = await runtime.start(replace(a_spec(), model=weights))
    pid = runtime._started[handle.id].living.pid

    arguments = arguments_of(pid)
    given = arguments[arguments.index("--model") + 1]
    if given.startswith("/proc/self/fd/"):
        assert str(weights) in open_files(pid)
    else:
        assert content_of(f"/proc/{pid}/root{given}") == b"w"
    await runtime.stop(handle, 2.0)


def arguments_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")


def content_of(path: str) -> bytes:
    return Path(path).read_bytes()


def open_files(pid: int) -> list[str]:
    return [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
