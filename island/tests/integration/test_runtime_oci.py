"""Every OCI runtime of this host with the echo Cargo in a container: the protocol's promises, then hostile Cargos."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from archipelag_contracts.tiers import TIERS
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_island.adapters.runtimes.oci import cgroups
from archipelag_island.adapters.runtimes.oci.bundle import USER
from archipelag_island.adapters.runtimes.oci.lifecycle import ContainerRuntime
from archipelag_island.errors import CargoDied, StartFailed
from archipelag_island.runtime import CargoSpec, Handle, InputFile, RunRequest, Runtime
from archipelag_island.testing import check_runtime
from archipelag_island.testing.builders import an_input
from archipelag_island.testing.check_runtime import CHECKS

from .containers import (
    alive,
    container_of,
    freeze,
    mounts_of,
    namespaces_of,
    processes_of,
    status_of,
    that_also,
    that_runs,
    told,
    until,
)

REQUEST = RunRequest("run", an_input("still there"), output_items_max=10)


async def texts(runtime: Runtime, handle: Handle, request: RunRequest) -> list[str]:
    async with asyncio.timeout(PATIENCE_S), aclosing(runtime.run(handle, request)) as events:
        return [text async for event in events for text in event.texts]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_keeps_promise(
    check: Callable[[Runtime], Awaitable[None]],
    oci_runtime: ContainerRuntime,
    echo_image: CargoSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(check_runtime, "a_spec", lambda *, slots: replace(echo_image, slots=slots))

    await check(oci_runtime)


async def test_container_has_no_rights_and_nothing_of_the_host(
    oci_runtime: ContainerRuntime, echo_image: CargoSpec
) -> None:
    handle = await oci_runtime.start(echo_image)
    pid = min(processes_of(oci_runtime, handle))

    status = status_of(pid)

    assert all(int(status[f"Cap{kind}"], 16) == 0 for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb"))
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert int(status["Uid"].split()[0]) >= USER and int(status["Gid"].split()[0]) >= USER
    assert set(status["Groups"].split()) <= {status["Gid"].split()[0]}
    here, there = namespaces_of(os.getpid()), namespaces_of(pid)
    info = await oci_runtime.probe()
    own = {"mnt", "pid", "net", "ipc", "uts", "cgroup"}
    if "user-namespace" in info.isolation:
        own.add("user")
    if "podman" in info.executor and cgroups.version() == 1:
        own.remove("cgroup")  # Podman 4 makes none there.
    assert {kind for kind in own if here[kind] == there[kind]} == set()
    assert told(pid, "limits").split("Max core file size")[1].split()[:2] == ["0", "0"]
    interfaces = told(pid, "net/dev").splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]


async def test_mounts_are_closed(oci_runtime: ContainerRuntime, echo_image: CargoSpec) -> None:
    handle = await oci_runtime.start(echo_image)

    mounts = mounts_of(min(processes_of(oci_runtime, handle)))

    for place in ("/tmp", "/dev/shm", "/run/archipelag/sock"):
        assert {"nosuid", "nodev", "noexec"} <= mounts[place], place
    for place in ("/", "/usr", "/run/archipelag/in", "/run/archipelag/manifest.json", "/proc/sys"):
        assert "ro" in mounts.get(place, mounts["/"]), place
    writable = {place for place, options in mounts.items() if "rw" in options}
    # Beside files of /dev, and those of /proc that a runtime hides behind /dev/null.
    theirs = {p for p in writable if p.startswith(("/dev/", "/proc/", "/sys/"))}
    bounded = {"/tmp", "/var/tmp", "/run", "/dev/shm", "/run/archipelag/sock"}
    assert writable - theirs <= bounded | {"/proc", "/dev"}


async def test_input_file_is_seen_by_its_run(
    oci_runtime: ContainerRuntime, echo_image: CargoSpec, tmp_path: Path
) -> None:
    given = tmp_path / "given"
    given.write_text("x")
    deed = """
folder = '/run/archipelag/in'
while not os.listdir(folder) or not os.listdir(f'{folder}/run'): time.sleep(0.01)
say(open(f'{folder}/run/name.txt').read())
try:
    os.unlink(f'{folder}/run/name.txt')
except OSError as error:
    say(error.strerror)
os._exit(8)
"""
    handle = await oci_runtime.start(that_also(echo_image, deed))
    slow = an_input("a b c", items=1000, delay_ms=20)
    request = RunRequest("run", slow, files=(InputFile("name.txt", given),), output_items_max=1000)

    with pytest.raises(CargoDied):
        await texts(oci_runtime, handle, request)

    ended = await oci_runtime.wait(handle)
    assert (ended.status, ended.last_words) == (8, "x | Read-only file system")
    inputs = container_of(oci_runtime, handle).exchange.inputs
    assert not list(inputs.iterdir()), "it is taken away again"


async def test_model_is_shown_read_only(
    oci_runtime: ContainerRuntime, echo_image: CargoSpec, tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    weights = closed / "weights"
    weights.write_bytes(b"w")
    deed = "say(open(sys.argv[sys.argv.index('--model') + 1]).read())\nos._exit(9)"

    handle = await oci_runtime.start(that_also(replace(echo_image, model=weights), deed))
    ended = await oci_runtime.wait(handle)

    assert (ended.status, ended.last_words) == (9, "w")


async def test_missing_command_fails_and_leaves_nothing(
    oci_runtime: ContainerRuntime, echo_image: CargoSpec
) -> None:
    with pytest.raises(StartFailed, match="no/such/thing"):
        await oci_runtime.start(replace(echo_image, command=("/no/such/thing",)))


async def test_command_that_ends_at_once_fails_with_its_words(
    oci_runtime: ContainerRuntime, echo_image: CargoSpec
) -> None:
    script = "import sys; print('no thanks', file=sys.stderr); sys.exit(4)"

    with pytest.raises(StartFailed, match=r"status 4: no thanks"):
        await oci_runtime.start(that_runs(echo_image, script))


async def test_socket_that_is_a_link_is_not_followed(
    oci_runtime: ContainerRuntime, echo_image: CargoSpec
) -> None:
    script = (
        "import os, sys, time\n"
        "os.symlink('/run/docker.sock', sys.argv[sys.argv.index('--socket') + 1])\n"
        "time.sleep(60)"
    )

    with pytest.raises(StartFailed, match="something else where its socket belongs"):
        await oci_runtime.start(that_runs(echo_image, script))


async def test_working_directory_may_not_be_a_link(
    oci_runtime: ContainerRuntime, echo_image: CargoSpec
) -> None:
    for wish in ("/proc/self/fd/7", "/sys", "/no/such"):
        with pytest.raises(StartFailed, match="working directory"):
            await oci_runtime.start(replace(echo_image, working_dir=wish))


async def test_cargo_that_ignores_sigterm_is_killed(
    oci_runtime: ContainerRuntime, echo_image: CargoSpec
) -> None:
    handle = await oci_runtime.start(echo_image)
    pid = min(processes_of(oci_runtime, handle))
    await freeze(pid)

    async with asyncio.timeout(PATIENCE_S):
        await oci_runtime.stop(handle, 0.05)

    assert (await oci_runtime.wait(handle)).status == -signal.SIGKILL
    assert not alive({pid})


async def test_stop_that_is_given_up_leaves_no_cargo_running(
    oci_runtime: ContainerRuntime, echo_image: CargoSpec
) -> None:
    handle = await oci_runtime.start(echo_image)
    pids = processes_of(oci_runtime, handle)
    await freeze(min(pids))

    stopping = asyncio.create_task(oci_runtime.stop(handle, 10 * PATIENCE_S))
    await asyncio.sleep(0.05)
    stopping.cancel()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(stopping, return_exceptions=True)

    assert stopping.cancelled()
    assert (await oci_runtime.wait(handle)).status == -signal.SIGKILL
    assert not alive(pids)


async def test_fork_bomb_is_bounded_and_ends_as_a_whole(
    oci_runtime: ContainerRuntime, echo_image: CargoSpec
) -> None:
    script = """
import os, signal, sys, time
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while not os.path.exists('/run/archipelag/sock/cargo.sock'):
        time.sleep(0.05)
    while True:
        try:
            if os.fork() == 0:
                os.setsid()
                time.sleep(600)
        except OSError as error:
            print('no more:', error, file=sys.stderr, flush=True)
            time.sleep(600)
from archipelag_island.testing.echo_engine.__main__ import main
main()
"""
    handle = await oci_runtime.start(that_runs(echo_image, script))
    # A process that is not there yet counts too, so those that are seen never quite reach the limit.
    half = echo_image.tier.pids // 2
    await until(lambda: len(processes_of(oci_runtime, handle)) > half)
    await asyncio.sleep(0.2)
    bombs = processes_of(oci_runtime, handle)

    assert len(bombs) <= echo_image.tier.pids
    await oci_runtime.stop(handle, 0.2)
    assert not alive(bombs)


async def test_eating_memory_ends_with_words_that_say_so(
    oci_runtime: ContainerRuntime, echo_image: CargoSpec
) -> None:
    deed = "held = []\nwhile True: held.append(bytearray(os.urandom(1 << 20)))"
    handle = await oci_runtime.start(that_also(echo_image, deed))

    async with asyncio.timeout(60):
        ended = await oci_runtime.wait(handle)

    assert ended.status == -signal.SIGKILL
    assert "killed: more than 256 MB of memory" in str(ended)
    used = oci_runtime.usage(handle)
    assert used.oom_kills == 1
    # An engine keeps some pages of its own beside the Cargo.
    assert 200 << 20 < used.memory_peak_bytes <= 260 << 20
    with pytest.raises(CargoDied, match="more than 256 MB"):
        await texts(oci_runtime, handle, REQUEST)


FILL_BYTES = """
try:
    with open('/tmp/big', 'wb') as file:
        while True: file.write(bytes(1 << 20))
except OSError as error:
    say(error.strerror)
os._exit(5)
"""
FILL_FILES = """
try:
    for number in range(10_000_000): open(f'{place}/{number}', 'wb').close()
except OSError as error:
    say(f'{error.strerror} at {number}')
os._exit(5)
"""


async def test_tmp_is_bounded_in_bytes(
    oci_runtime: ContainerRuntime, echo_image: CargoSpec
) -> None:
    handle = await oci_runtime.start(that_also(echo_image, FILL_BYTES))

    ended = await oci_runtime.wait(handle)

    assert ended.status == 5
    assert "No space left" in ended.last_words or "too large" in ended.last_words


@pytest.mark.parametrize("place", ["/tmp", "/dev/shm", "/run/archipelag/sock"])
async def test_writable_places_are_bounded_in_files(
    place: str, oci_runtime: ContainerRuntime, echo_image: CargoSpec
) -> None:
    handle = await oci_runtime.start(that_also(echo_image, f"place = {place!r}{FILL_FILES}"))

    ended = await oci_runtime.wait(handle)

    # Where the number of files has no limit of its own, each takes memory, and that has.
    assert "No space left" in ended.last_words or "more than 256 MB" in ended.last_words


async def test_endless_errors_are_bounded_and_block_nothing(
    oci_runtime: ContainerRuntime, echo_image: CargoSpec
) -> None:
    handle = await oci_runtime.start(that_also(echo_image, "while True: os.write(2, b'x' * 65536)"))

    said = await texts(oci_runtime, handle, REQUEST)
    await oci_runtime.stop(handle, 0.2)

    assert said == ["still ", "there "]
    assert len((await oci_runtime.wait(handle)).last_words) <= 1000


async def test_figures_are_the_kernels_and_stay_after_the_end(
    oci_runtime: ContainerRuntime, echo_image: CargoSpec
) -> None:
    deed = """
end = time.process_time() + 0.5
while time.process_time() < end: pass
held = bytearray(os.urandom(40 << 20))
os._exit(6)
"""
    handle = await oci_runtime.start(that_also(echo_image, deed))
    await oci_runtime.wait(handle)

    used = oci_runtime.usage(handle)

    assert used.cpu_ms >= 500 and used.memory_peak_bytes >= 40 << 20
    assert used.memory_bytes == 0 and used.oom_kills == 0
    assert oci_runtime.usage(handle) == used
    await oci_runtime.stop(handle, 0)
    assert oci_runtime.usage(handle) == used


def granted(spec: CargoSpec, *hosts: str) -> CargoSpec:
    tier = replace(TIERS["elevated"], memory_bytes=256 << 20, syscalls="network")
    return replace(spec, manifest=replace(spec.manifest, egress=hosts), tier=tier)


async def test_way_out_is_the_proxy_alone(
    oci_runtime: ContainerRuntime, echo_image: CargoSpec
) -> None:
    deed = """
import socket
with socket.socket(socket.AF_UNIX) as way:
    way.connect(os.environ['ARCHIPELAG_EGRESS'])
    way.send(b'CONNECT other.example.com:443 HTTP/1.1\\r\\n\\r\\n')
    say(way.recv(100).decode().split()[1])
for address in ('1.1.1.1', '169.254.169.254', '10.0.0.1'):
    try:
        socket.create_connection((address, 443), 2)
    except OSError as error:
        say(error.strerror)
os._exit(8)
"""
    handle = await oci_runtime.start(that_also(granted(echo_image, "api.example.com"), deed))

    ended = await oci_runtime.wait(handle)

    assert ended.status == 8
    assert ended.last_words == " | ".join(["403", *["Network is unreachable"] * 3])


async def test_no_way_out_without_a_grant(
    oci_runtime: ContainerRuntime, echo_image: CargoSpec
) -> None:
    deed = """
import socket
say(os.listdir('/run/archipelag'))
try:
    socket.socket(socket.AF_INET)
except OSError as error:
    say(error.strerror)
os._exit(8)
"""
    spec = replace(granted(echo_image, "api.example.com"), tier=echo_image.tier)
    handle = await oci_runtime.start(that_also(spec, deed))

    ended = await oci_runtime.wait(handle)

    assert ended.status == 8 and "egress" not in ended.last_words
    assert "Address family not supported" in ended.last_words


async def test_limits_are_the_tiers(oci_runtime: ContainerRuntime, echo_image: CargoSpec) -> None:
    tier = replace(TIERS["restricted"], memory_bytes=128 << 20, pids=33)
    handle = await oci_runtime.start(replace(echo_image, tier=tier, cpus=(0,)))
    group = cgroups.of_process(min(processes_of(oci_runtime, handle)))

    assert group is not None
    if cgroups.version() == 1:
        expected = {
            "memory/memory.limit_in_bytes": 128 << 20,
            "pids/pids.max": 33,
            "cpu/cpu.cfs_quota_us": 100_000,
            "cpuset/cpuset.cpus": 0,
        }
        if cgroups.limits_swap():
            expected["memory/memory.memsw.limit_in_bytes"] = 128 << 20
        folders = {name: cgroups.ROOT / name.split("/")[0] / group.path for name in expected}
    else:
        expected = {"memory.max": 128 << 20, "memory.swap.max": 0, "pids.max": 33}
        folders = dict.fromkeys(expected, cgroups.ROOT / group.path)
    found = {name: (folders[name] / name.split("/")[-1]).read_text() for name in expected}
    assert {name: int(text) for name, text in found.items()} == expected
