"""Serves the llm-chat Cargo: `python -m archipelag_llm_chat --socket PATH --manifest FILE --model FILE`."""

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
from pathlib import Path
from typing import Final

import grpc
from archipelag_contracts.errors import BadManifest
from archipelag_contracts.manifest import Manifest, parse_canonical, parse_toml
from archipelag_contracts.pb.archipelag.v1 import cargo_pb2_grpc

from archipelag_llm_chat.loading import Loader
from archipelag_llm_chat.service import SERVER_OPTIONS, CargoService

# The kernel's limit for a Unix socket's path, its final zero byte included.
_SOCKET_PATH_BYTES_MAX: Final = 107
_STDIN: Final = 0
_PARENT_CHECK_S: Final = 1.0
_GRACE_S: Final = 2.0
_PR_SET_PDEATHSIG: Final = 1
# glibc's mallopt: its parameters and the bytes up to which freed memory is kept.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_KEPT_BYTES: Final = 16 << 20


def main() -> int:
    args = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    parent = os.getppid()
    _die_with_parent()
    _keep_freed_memory()
    try:
        manifest = _read_manifest(args.manifest)
    except (BadManifest, OSError, UnicodeDecodeError) as error:
        print(f"{args.manifest}: not a manifest that can be used: {error}", file=sys.stderr)
        return 2
    if len(os.fsencode(args.socket)) > _SOCKET_PATH_BYTES_MAX:
        print(f"--socket: the path has more than {_SOCKET_PATH_BYTES_MAX} bytes", file=sys.stderr)
        return 2
    loader = Loader(manifest, args.model, slots=args.slots, threads=args.threads)
    asyncio.run(_serve(loader, args.socket, parent))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="archipelag_llm_chat", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True, help="Unix socket to serve on")
    parser.add_argument("--manifest", type=Path, required=True, help="TOML or canonical JSON")
    parser.add_argument("--model", type=Path, required=True, help="the GGUF file")
    parser.add_argument("--slots", type=_between(1, 64), default=8, help="runs at once")
    parser.add_argument(
        "--threads", type=_between(1, 256), default=max(1, (os.cpu_count() or 1) - 1)
    )
    return parser.parse_args()


def _between(lowest: int, highest: int) -> type[int]:
    def number(text: str) -> int:
        value = int(text)
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"must be {lowest} to {highest}")
        return value

    return number  # type: ignore[return-value]


def _read_manifest(path: Path) -> Manifest:
    data = path.read_bytes()
    return parse_canonical(data) if data.startswith(b"{") else parse_toml(data.decode())


async def _serve(loader: Loader, socket: Path, parent: int) -> None:
    """Until a signal, or until the Island that started us has gone."""
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    _remove(socket)
    server = grpc.aio.server(options=SERVER_OPTIONS)
    cargo_pb2_grpc.add_CargoServicer_to_server(CargoService(loader), server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    _make_private(socket)
    loader.start()
    async with asyncio.TaskGroup() as tasks:
        watches = [tasks.create_task(_parent_gone(parent, over))]
        if _is_pipe(_STDIN):
            loop.add_reader(_STDIN, _read_until_closed, loop, over)
        await over.wait()
        for watch in watches:
            watch.cancel()
    await server.stop(_GRACE_S)
    await asyncio.to_thread(loader.stop)
    _remove(socket)


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
    """The Island holds the other end of our standard input; its closing tells us to go."""
    if not os.read(_STDIN, 4096):
        loop.remove_reader(_STDIN)
        over.set()


def _die_with_parent() -> None:
    """On Linux the kernel ends this process when the Island's dies, however it dies."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _keep_freed_memory() -> None:
    """Sampling makes arrays of the vocabulary's size. Giving them back to the kernel each time takes thrice as long."""
    libc = ctypes.CDLL(None)
    if sys.platform.startswith("linux") and hasattr(libc, "mallopt"):
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)


if __name__ == "__main__":
    sys.exit(main())
