"""Attempts to take what others need: processes, memory, disk, files."""

from __future__ import annotations

import mmap
import os
import resource
import shutil
import signal
from pathlib import Path

from probe import Refused, World, probe, within

# Each more than the restricted tier gives, and little enough for a host where nothing stops it.
PROCESSES, MEMORY_MIB, DISK_MIB, FILES, HANDLES = 160, 400, 160, 9_000, 70_000


@probe("fork without end", "anybody", may_kill=True)
def fork_bomb(world: World) -> str:
    children = []
    try:
        for _ in range(PROCESSES):
            child = os.fork()
            if child == 0:
                signal.pause()
                os._exit(0)
            children.append(child)
    except OSError as error:
        raise Refused(f"{len(children)} and then {error.strerror}") from None
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return f"made {PROCESSES} processes"


@probe("eat memory", "anybody", may_kill=True)
def memory(world: World) -> str:
    kept = []
    for taken in range(0, MEMORY_MIB, 16):
        try:
            block = mmap.mmap(-1, 16 << 20)
        except OSError as error:
            raise Refused(f"{taken} MiB and then {error.strerror}") from None
        for page in range(0, 16 << 20, 4096):
            block[page] = 1
        kept.append(block)
    return f"took {MEMORY_MIB} MiB"


@probe("eat memory by many processes", "anybody", may_kill=True)
def memory_of_many(world: World) -> str:
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            block = mmap.mmap(-1, MEMORY_MIB // 4 << 20)
            for page in range(0, len(block), 4096):
                block[page] = 1
            signal.pause()
        children.append(child)
    try:
        resident = 0
        goes_on = within(6)
        while goes_on() and resident < MEMORY_MIB * 9 // 10:
            resident = sum(_resident_mib(child) for child in children)
            if any(os.waitpid(child, os.WNOHANG)[0] for child in children):
                raise Refused("one was killed")
    finally:
        for child in children:
            try:
                os.kill(child, signal.SIGKILL)
            except OSError:
                pass
    if resident < MEMORY_MIB * 9 // 10:
        raise Refused(f"got {resident} MiB")
    return f"took {resident} MiB"


def _resident_mib(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 >> 20
    except (OSError, IndexError):
        return 0


def _writable_folders() -> list[str]:
    wanted = ("/tmp", "/dev/shm", "/run/archipelag/sock", "/run", "/var/tmp", "/dev")
    return [f for f in wanted if os.access(f, os.W_OK | os.X_OK)]


@probe("fill the disk, wherever it may write", "anybody", may_kill=True)
def disk(world: World) -> str:
    """By files of 16 MiB, since the size of one may be bounded apart."""
    block, said = b"\xa5" * (1 << 20), []
    for folder in _writable_folders():
        place, wrote = f"{folder}/escape-disk", 0
        try:
            os.mkdir(place)
            while wrote < DISK_MIB:
                with open(f"{place}/{wrote // 16}", "ab", buffering=0) as file:
                    wrote += file.write(block) >> 20
            return f"wrote {DISK_MIB} MiB to {folder}"
        except OSError as error:
            said.append(f"{wrote} MiB in {folder}: {error.strerror}")
        finally:
            shutil.rmtree(place, ignore_errors=True)
    raise Refused("; ".join(said) or "nowhere to write")


@probe("use up the disk's inodes, wherever it may write", "anybody", may_kill=True)
def inodes(world: World) -> str:
    said = []
    for folder in _writable_folders():
        place, made = f"{folder}/escape-inodes", 0
        try:
            os.mkdir(place)
            while made < FILES:
                os.close(os.open(f"{place}/{made}", os.O_CREAT | os.O_WRONLY))
                made += 1
            return f"made {FILES} files in {folder}"
        except OSError as error:
            said.append(f"{made} in {folder}: {error.strerror}")
        finally:
            shutil.rmtree(place, ignore_errors=True)
    raise Refused("; ".join(said) or "nowhere to write")


@probe("make a huge file", "maybe")
def huge_file(world: World) -> str:
    path = "/tmp/escape-huge"
    try:
        handle = os.open(path, os.O_CREAT | os.O_WRONLY)
        os.posix_fallocate(handle, 0, 1 << 30)
        return "has a GiB"
    finally:
        if os.path.lexists(path):
            os.unlink(path)


@probe("open files without end", "maybe")
def handles(world: World) -> str:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    opened = 0
    try:
        for opened in range(HANDLES):
            os.open("/dev/null", os.O_RDONLY)
    except OSError as error:
        raise Refused(f"{opened} and then {error.strerror}") from None
    return f"opened {HANDLES}"


@probe("lock memory, so that it can't be swapped", "maybe")
def locked_memory(world: World) -> str:
    import ctypes

    block = mmap.mmap(-1, 128 << 20)
    address = ctypes.addressof(ctypes.c_char.from_buffer(block))
    if (
        ctypes.CDLL(None, use_errno=True).mlock(
            ctypes.c_void_p(address), ctypes.c_size_t(len(block))
        )
        != 0
    ):
        raise OSError(ctypes.get_errno(), "")
    return "locked 128 MiB"
