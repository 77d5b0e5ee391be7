"""What a Cargo's command does: reads the Island's arguments, serves, and ends with its parent."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
from archipelag_contracts.errors import BadManifest
from archipelag_contracts.manifest import Manifest, parse_canonical, parse_toml
from archipelag_contracts.pb.archipelag.v1 import cargo_pb2_grpc

from archipelag_kit.marking import Marked
from archipelag_kit.serving.loading import Loader
from archipelag_kit.serving.service import SERVER_OPTIONS, CargoService

# The kernel's limit for a Unix socket's path, its final zero byte included.
_SOCKET_PATH_BYTES_MAX: Final = 107
_STDIN: Final = 0
_PARENT_CHECK_S: Final = 1.0
_GRACE_S: Final = 2.0
_PR_SET_PDEATHSIG: Final = 1
_WRONG_USAGE: Final = 2


def main(marked: Callable[[], Marked], argv: Sequence[str] | None = None) -> int:
    """Serves until a signal, or until whoever started this has gone. `marked` may take long: it is called late."""
    args = _arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    parent = os.getppid()
    _die_with_parent()
    try:
        manifest = _read_manifest(args.manifest)
    except (BadManifest, OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"{args.manifest}: not a manifest that can be used: {error}\n")
        return _WRONG_USAGE
    if len(os.fsencode(args.socket)) > _SOCKET_PATH_BYTES_MAX:
        sys.stderr.write(f"--socket: the path has more than {_SOCKET_PATH_BYTES_MAX} bytes\n")
        return _WRONG_USAGE
    loader = Loader(manifest, marked, model=args.model, threads=args.threads, slots=args.slots)
    asyncio.run(_serve(loader, args.socket, parent))
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Serves a Cargo on a Unix socket. The Island starts it; by hand, for a try."
    )
    parser.add_argument("--socket", type=Path, required=True, help="Unix socket to serve on")
    parser.add_argument("--manifest", type=Path, required=True, help="TOML or canonical JSON")
    parser.add_argument("--model", type=Path, help="the model's file")
    parser.add_argument("--slots", type=_between(1, 64), default=1, help="runs at once")
    parser.add_argument("--threads", type=_between(1, 256), default=1, help="threads to use")
    return parser.parse_args(argv)


def _between(lowest: int, highest: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"must be {lowest} to {highest}")
        return value

    return number


def _read_manifest(path: Path) -> Manifest:
    data = path.read_bytes()
    return parse_canonical(data) if data.startswith(b"{") else parse_toml(data.decode())


async def _serve(loader: Loader, socket: Path, parent: int) -> None:
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    _remove(socket)
    server = grpc.aio.server(options=SERVER_OPTIONS)
    service = CargoService(loader)
    cargo_pb2_grpc.add_CargoServicer_to_server(service, server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    _make_private(socket)
    tasks = [asyncio.create_task(loader.load()), asyncio.create_task(_parent_gone(parent, over))]
    if _is_pipe(_STDIN):
        loop.add_reader(_STDIN, _read_until_closed, loop, over)
    await over.wait()
    for task in tasks:
        task.cancel()
    await server.stop(0)
    clean = await service.close(_GRACE_S)
    _remove(socket)
    if not clean or not loader.settled:
        # A thread of the author's does not end by itself, and both loop and interpreter would wait for it.
        sys.stderr.flush()
        os._exit(0)


def _remove(socket: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        socket.unlink()


def _make_private(socket: Path) -> None:
    socket.chmod(stat.S_IRUSR | stat.S_IWUSR)


async def _parent_gone(parent: int, over: asyncio.Event) -> None:
    """Where the kernel has no death signal: a new parent means that the old one has died."""
    while os.getppid() == parent:  # noqa: ASYNC110 (nobody could set an event)
        await asyncio.sleep(_PARENT_CHECK_S)
    over.set()


def _is_pipe(descriptor: int) -> bool:
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False  # Closed before we began.
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _read_until_closed(loop: asyncio.AbstractEventLoop, over: asyncio.Event) -> None:
    """The Island may hold the other end of our standard input; its closing tells us to go."""
    if not os.read(_STDIN, 4096):
        loop.remove_reader(_STDIN)
        over.set()


def _die_with_parent() -> None:
    """On Linux the kernel ends this process when the Island's dies, however it dies."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
