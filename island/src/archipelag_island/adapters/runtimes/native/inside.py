"""The last step inside the sandbox: binds this process by Landlock where the kernel has it, then becomes the engine.

Run as a script, in the interpreter that the engine then goes on in, since another one would cost its start again.
Arguments: the most processes, the folders for sockets, for any files and with files that are written to (separated by
colons), the engine's package or a file to run, its arguments.
"""

from __future__ import annotations

import ctypes
import os
import resource
import runpy
import struct
import sys
from typing import Final

NOT_CONFINED: Final = 125
_CREATE, _ADD, _RESTRICT = 444, 445, 446  # Alike on every processor.
_PATH_BENEATH: Final = 1
_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_FILE, _MAKE_DEVICE, _MAKE_BLOCK, _MAKE_SOCKET = 1 << 5, 1 << 6, 1 << 11, 1 << 9
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
# Rights over files by version of the interface; those over TCP came with 4, over abstract sockets and signals with 6.
_FILE_RIGHTS: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP: Final = 0b11
_SCOPES: Final = 0b11


def landlock_version(libc: ctypes.CDLL | None = None) -> int:
    """0: the kernel has none, or it is switched off."""
    libc = libc or ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))))


def bind(sockets: str, anything: list[str], written: list[str], *, tcp: bool = False) -> int:
    """What this process and its children may do to files, however they reach them. Returns the interface's version.

    `sockets`: a folder in which sockets are made; `anything`: where any files are; `written`: where those that are
    there may be written to, and none be made.

    Raises OSError when the kernel knows Landlock and refuses it all the same.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = landlock_version(libc)
    if version == 0:
        return 0
    handled = _FILE_RIGHTS[max(known for known in _FILE_RIGHTS if known <= version)]
    attributes = struct.pack(
        "=QQQ", handled, 0 if tcp or version < 4 else _TCP, _SCOPES if version >= 6 else 0
    )[: 24 if version >= 6 else 16 if version >= 4 else 8]
    ruleset = _call(libc, _CREATE, attributes, len(attributes), 0)
    _allow(libc, ruleset, "/", _EXECUTE | _READ | _LIST)
    _allow(libc, ruleset, "/dev", (_WRITE | _IOCTL_DEVICE) & handled)
    # Nothing but sockets: no link that the Island might follow, no file that would fill its disk.
    _allow(libc, ruleset, sockets, _READ | _WRITE | _LIST | _MAKE_SOCKET | _REMOVE_FILE)
    for folder in anything:
        _allow(libc, ruleset, folder, handled & ~(_MAKE_DEVICE | _MAKE_BLOCK))
    for folder in written:
        _allow(libc, ruleset, folder, (_WRITE | _TRUNCATE) & handled)
    if libc.prctl(38, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no new privileges")
    _call(libc, _RESTRICT, ruleset, 0)
    os.close(ruleset)
    return version


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    handle = os.open(path, os.O_PATH)
    try:
        _call(libc, _ADD, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, handle), 0)
    finally:
        os.close(handle)


def _call(libc: ctypes.CDLL, number: int, *arguments: int | bytes) -> int:
    given = [a if isinstance(a, bytes) else ctypes.c_long(a) for a in arguments]
    result: int = libc.syscall(ctypes.c_long(number), *given)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock: {os.strerror(ctypes.get_errno())}")
    return result


def main() -> None:
    processes, sockets, anything, written, target, *arguments = sys.argv[1:]
    try:
        # Counted in this user namespace alone, so it could not be set before.
        most = int(processes)
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
        bind(sockets, _folders(anything), _folders(written))
    except OSError as error:
        sys.stderr.write(f"could not be confined: {error}\n")
        sys.stderr.flush()
        os._exit(NOT_CONFINED)
    sys.argv = [target, *arguments]
    if target.startswith("/"):
        runpy.run_path(target, run_name="__main__")
    else:
        runpy.run_module(target, run_name="__main__", alter_sys=True)


def _folders(text: str) -> list[str]:
    return [folder for folder in text.split(":") if folder]


if __name__ == "__main__":
    main()
