"""What the sandbox of a native Cargo keeps from a hostile one: tried from inside, on the real kernel."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import textwrap
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from archipelag_contracts.tiers import TIERS, Tier
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_island.adapters.runtimes.exchange import Exchange
from archipelag_island.adapters.runtimes.native import NativeRuntime
from archipelag_island.adapters.runtimes.native.cgroups import Cgroup
from archipelag_island.adapters.runtimes.native.host import Host
from archipelag_island.adapters.runtimes.native.inside import landlock_version
from archipelag_island.adapters.runtimes.native.meter import tree
from archipelag_island.adapters.runtimes.native.plan import Plan
from archipelag_island.adapters.runtimes.native.process import ConfinedProcess
from archipelag_island.adapters.runtimes.native.runtime import _furnish_for_trial, _start
from archipelag_island.adapters.runtimes.native.sandbox import MODELS
from archipelag_island.runtime import Consumption, Exit

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: bubblewrap")

SMALL = replace(
    TIERS["restricted"], memory_bytes=96 << 20, tmp_bytes=8 << 20, tmp_files=64, pids=24
)
PRELUDE = """
import errno, json, os, sys, time
def attempt(action):
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
def say(value):
    print(json.dumps(value), file=sys.stderr, flush=True)
"""


@dataclass
class Inside:
    """Runs scripts as a Cargo would be; what they say on standard error comes back."""

    host: Host
    folder: Path
    tier: Tier = SMALL
    cgroup: Cgroup | None = None

    async def start(self, script: str) -> ConfinedProcess:
        file = self.folder / "script.py"
        file.write_text(PRELUDE + textwrap.dedent(script))
        file.chmod(0o644)
        exchange = Exchange(self.folder / "exchange")
        exchange.folder.mkdir()
        _furnish_for_trial(exchange, self.host.rights)
        target = str(MODELS / file.name)
        plan = Plan(
            self.host.rights, self.host.interpreter, exchange, self.tier, target, model=file
        )
        if self.host.groups:
            name = f"archipelag-{os.getpid()}-{self.folder.name}"
            self.cgroup = self.host.groups.make(name, self.tier)
        return await _start(plan, self.cgroup)

    async def run(self, script: str) -> tuple[Exit, Consumption]:
        process = await self.start(script)
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await process.wait(), process.usage()
        finally:
            await process.stop(0)

    async def says(self, script: str) -> object:
        ended, _ = await self.run(script)
        assert ended.status == 0, ended
        return json.loads(ended.last_words)


FOUND: list[Host] = []
"""Once for all tests: what a host can do does not change under them."""


@pytest.fixture
async def inside() -> AsyncIterator[Inside]:
    if not FOUND:
        FOUND.append(await NativeRuntime()._find_host())
    if not FOUND[0].rights.bubblewrap:
        pytest.skip("needs user namespaces: bubblewrap builds no sandbox on this host")
    # Not pytest's own folder, which is closed to the Cargo's user.
    with tempfile.TemporaryDirectory(prefix="archipelag-test-") as folder:
        Path(folder).chmod(0o755)  # noqa: ASYNC240
        yield Inside(FOUND[0], Path(folder))


async def until_it_speaks(process: ConfinedProcess) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not process.words._lines:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_host_that_can_lets_unknown_publishers_run(inside: Inside) -> None:
    info = await NativeRuntime().probe()

    assert info.trust_min == 0 and "bubblewrap" in info.executor
    assert {"private-root", "no-network", "system-call-filter"} <= set(info.isolation)


async def test_root_holds_nothing_of_the_host(inside: Inside) -> None:
    secret = inside.folder / "secret"
    secret.write_text("key")
    secret.chmod(0o644)

    seen = await inside.says(f"""
    say({{
        "etc": sorted(os.listdir("/etc")),
        "gone": [p for p in ("/etc/shadow", "/var", "/boot", "/bin", "/sbin", "/mnt", "/sys/fs",
                             {str(secret)!r}) if os.path.exists(p)],
        "programs": os.listdir("/usr/bin") if os.path.exists("/usr/bin") else [],
        "homes": [os.listdir(p) for p in ("/home", "/root") if os.path.exists(p)],
        "run": sorted(os.listdir("/run")),
        "environment": sorted(os.environ),
    }})
    """)

    assert isinstance(seen, dict)
    assert set(seen["etc"]) <= {"alternatives", "group", "hosts", "ld.so.cache", "passwd"}
    assert seen["gone"] == [] and seen["run"] == ["archipelag"]
    # Nothing but an interpreter of the system's, where it is the one that runs us.
    assert all(name.startswith("python3") for name in seen["programs"])
    assert all(home in ([], [".pyenv"]) for home in seen["homes"])
    assert set(seen["environment"]) <= {"PATH", "HOME", "TMPDIR", "LANG", "PWD", "LC_CTYPE"}


async def test_only_bounded_memory_can_be_written_to(inside: Inside) -> None:
    seen = await inside.says("""
    def fill(folder):
        with open(folder + "/fill", "wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
    def create(folder):
        for number in range(100_000):
            os.close(os.open(f"{folder}/{number}", os.O_CREAT | os.O_WRONLY))
    places = ("/", "/etc", "/dev", "/run/archipelag", "/run/archipelag/in", "/usr/lib", sys.prefix)
    result = {place: attempt(lambda: open(place + "/new", "w")) for place in places}
    result["fill"] = attempt(lambda: fill("/tmp"))
    os.unlink("/tmp/fill")
    result["files"] = attempt(lambda: create("/tmp"))
    say(sorted(set(result.items())))
    """)

    told = dict(seen)  # type: ignore[call-overload]
    assert told.pop("fill") == told.pop("files") == "ENOSPC"
    assert set(told.values()) <= {"EROFS", "EACCES"}


async def test_folder_of_the_socket_takes_sockets_only_and_never_the_hosts_disk(
    inside: Inside,
) -> None:
    process = await inside.start("""
    import socket
    at = "/run/archipelag/sock/"
    def listen():
        socket.socket(socket.AF_UNIX).bind(at + "cargo.sock")
    say([attempt(lambda: os.symlink("/etc", at + "link")), attempt(lambda: os.mkdir(at + "folder")),
         attempt(lambda: open(at + "file", "w")), attempt(lambda: os.mkfifo(at + "fifo")), attempt(listen)])
    """)
    ended = await process.wait()

    *others, listening = json.loads(ended.last_words)
    assert listening == "done"
    if landlock_version():
        assert set(others) <= {"EACCES", "EPERM"}
    assert list((inside.folder / "exchange" / "sock").iterdir()) == []


async def test_memory_ends_at_the_tiers(inside: Inside) -> None:
    if not inside.host.groups or "memory" not in inside.host.groups.controllers:
        pytest.skip("needs root or a delegated control group: nothing limits memory here")

    ended, usage = await inside.run("""
    kept = []
    while True:
        kept.append(bytearray(os.urandom(1 << 20)))
    """)

    assert ended.status < 0 and usage.oom_kills >= 1
    assert usage.memory_peak_bytes <= SMALL.memory_bytes


async def test_forks_end_at_the_tiers_and_all_end_with_the_cargo(inside: Inside) -> None:
    process = await inside.start("""
    children = 0
    try:
        while True:
            if os.fork() == 0:
                os.setsid()
                time.sleep(1000)
            children += 1
    except OSError as error:
        say([children, errno.errorcode[error.errno]])
    time.sleep(1000)
    """)
    await until_it_speaks(process)
    living = tree(process.outer)

    await process.stop(0)

    made, why = json.loads(process.words._lines[0])
    assert why == "EAGAIN" and made <= SMALL.pids
    assert len(living) > made
    assert [pid for pid in living if alive(pid)] == []


@pytest.mark.parametrize("groups", [True, False], ids=["by-group", "by-process"])
async def test_what_children_use_is_metered(inside: Inside, groups: bool) -> None:
    if groups and not inside.host.groups:
        pytest.skip("needs root or a delegated control group")
    if not groups:
        inside.host = replace(inside.host, groups=None)
    process = await inside.start("""
    for _ in range(2):
        if os.fork() == 0:
            os.setsid()
            until = time.process_time() + 0.3
            while time.process_time() < until:
                pass
            os._exit(0)
    for _ in range(2):
        os.wait()
    say(time.process_time())
    time.sleep(1000)
    """)
    await until_it_speaks(process)

    used = process.usage()
    await process.stop(0)

    assert used.cpu_ms >= 600
    assert process.usage().cpu_ms >= used.cpu_ms and used.memory_peak_bytes > 1 << 20


ATTEMPTS: dict[str, str] = {
    "mount": "libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)",
    "unmount": "libc.umount2(b'/proc', 0)",
    "new user namespace": "libc.unshare(0x10000000)",
    "trace init": "libc.ptrace(16, 1, 0, 0)",
    "raw socket": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "internet": "socket.create_connection(('169.254.169.254', 80), 1)",
    "broker": "socket.create_connection(('127.0.0.1', 4222), 1)",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "device": "os.mknod('/tmp/disk', 0o060600, os.makedev(254, 0))",
    "setuid root": "os.setuid(0)",
    "clock": "time.clock_settime(time.CLOCK_REALTIME, 0)",
    "host name": "socket.sethostname('mine')",
    "kernel memory": "open('/proc/kcore', 'rb').read(1)",
    "system request": "open('/proc/sysrq-trigger', 'w').write('b')",
    "kernel setting": "open('/proc/sys/kernel/hostname', 'w').write('mine')",
    "root by init": "os.listdir('/proc/1/root/home')",
    "files of init": "os.readlink('/proc/1/fd/2')",
    "memory of init": "open('/proc/1/mem', 'rb')",
    "keys": "libc.syscall(248, b'user', b'x', b'x', 1, -3)",
    "change root": "os.chroot('/tmp')",
    "priority": "os.nice(-5)",
    "abstract socket": "socket.socket(socket.AF_UNIX).connect('\\0archipelag-test')",
}


async def test_ways_out_are_closed(inside: Inside) -> None:
    script = """
    import ctypes, socket
    library = ctypes.CDLL(None, use_errno=True)
    class Checked:
        def __getattr__(self, name):
            def call(*arguments):
                ctypes.set_errno(0)
                if getattr(library, name)(*arguments) == -1:
                    raise OSError(ctypes.get_errno(), name)
            return call
    libc = Checked()
    attempts = json.loads(sys.argv[1]) if len(sys.argv) > 1 else ATTEMPTS
    say([name for name, code in attempts.items() if attempt(lambda: eval(code)) == "done"])
    """

    opened = await inside.says(f"ATTEMPTS = {ATTEMPTS!r}\n" + textwrap.dedent(script))

    assert opened == []


async def test_host_processes_cannot_be_seen_or_signalled(inside: Inside) -> None:
    seen = await inside.says(f"""
    processes = [int(p) for p in os.listdir("/proc") if p.isdigit()]
    say([max(processes) < 10, attempt(lambda: os.kill({os.getpid()}, 0))])
    """)

    assert seen == [True, "ESRCH"]


async def test_cargo_dies_with_its_island(inside: Inside) -> None:
    # In a folder of its own, since Islands of other tests tidy up what is left where all are.
    island = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        """
import asyncio, sys
from pathlib import Path
from archipelag_island.adapters.runtimes.native import NativeRuntime
from archipelag_island.testing.builders import a_spec
async def main():
    runtime = NativeRuntime(Path(sys.argv[1]))
    handle = await runtime.start(a_spec())
    print(runtime._started[handle.id].living.pid, flush=True)
    await asyncio.sleep(1000)
asyncio.run(main())
""",
        str(inside.folder),
        stdout=asyncio.subprocess.PIPE,
    )
    assert island.stdout is not None
    pid = int(await island.stdout.readline())
    assert alive(pid)

    island.kill()
    await island.wait()

    async with asyncio.timeout(PATIENCE_S):
        while alive(pid):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await NativeRuntime(inside.folder).recover() >= 1


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
