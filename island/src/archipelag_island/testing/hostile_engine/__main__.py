"""Serves the hostile Cargo: `mode` in a run's input, or a word in the manifest's description, says what it does wrong.

It writes its messages as bytes, since half of them are none.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
from archipelag_contracts.pb.archipelag.v1 import cargo_pb2 as pb

from archipelag_island.testing.hostile_engine import files

SERVICE: Final = "archipelag.v1.Cargo"
END: Final = pb.RunEvent(end=pb.RunEnd(finish_reason="stop")).SerializeToString()

Said = AsyncIterator[bytes]
NEST: Final[list[socket.socket]] = []


def item(text: str, first: int = 0) -> bytes:
    return pb.RunEvent(first=first, texts=[text]).SerializeToString()


async def good() -> Said:
    for position, text in enumerate(("still", "there")):
        yield item(text, position)
    yield END


async def exits() -> Said:
    yield item("one")
    await asyncio.sleep(0.05)  # What was said before shall arrive.
    print("goodbye", file=sys.stderr, flush=True)
    os._exit(7)


async def hangs() -> Said:
    yield item("one")
    await asyncio.Event().wait()


async def freezes() -> Said:
    """The whole process: it answers nobody any more, not even a cancel."""
    yield item("one")
    await asyncio.sleep(0.05)
    while True:
        signal.pause()


async def floods() -> Said:
    step = 0
    while True:
        step += 1
        yield pb.RunEvent(progress=pb.RunEvent.Progress(step=step)).SerializeToString()


async def floods_items() -> Said:
    position = 0
    while True:
        yield item("", position)
        position += 1


async def huge_message() -> Said:
    yield item("x" * (16 << 20))


async def huge_item() -> Said:
    yield item("x" * (200 << 10))


async def bad_text() -> Said:
    # Field 3, texts: two bytes that are no UTF-8.
    yield b"\x1a\x02\xff\xfe"


async def garbage() -> Said:
    yield b"\xff" * 64


async def skips() -> Said:
    yield item("one", 5)


async def goes_back() -> Said:
    yield item("one", 0)
    yield item("one again", 0)


async def tokens_amiss() -> Said:
    yield pb.RunEvent(texts=["one", "two"], tokens=[1]).SerializeToString()


async def negative() -> Said:
    """As far below zero as the wire can say."""
    yield pb.RunEvent(first=(1 << 32) - 1, texts=["one"]).SerializeToString()


async def never_ends() -> Said:
    yield item("one")


async def full_late() -> Said:
    yield item("one")
    raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room, after all")


async def ignores_cancel() -> Said:
    yield item("one")
    threading.Thread(target=_spin, daemon=True).start()
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            continue


async def forks() -> Said:
    NEST[0].send(b"go")
    NEST[0].setblocking(False)
    yield item((await asyncio.get_running_loop().sock_recv(NEST[0], 100)).decode())
    yield END


async def eats_memory() -> Said:
    yield item("one")
    await asyncio.sleep(0.05)
    kept = []
    while True:
        kept.append(b"x" * (1 << 20))


async def fills_tmp() -> Said:
    yield item(_fill(Path("/tmp/fill")))  # noqa: S108
    yield END


async def endless_errors() -> Said:
    for _ in range(200):
        os.write(2, b"\x1b[31m\xff" + b"woe " * 20_000)
    async for said in good():
        yield said


async def burns() -> Said:
    """Time in itself and in children, and memory; says what the kernel told it of that."""
    before = _cpu_ms()
    kept = b"x" * (64 << 20)
    code = "import time\nwhile time.process_time() < 0.5: pass"
    children = [await asyncio.create_subprocess_exec(sys.executable, "-c", code) for _ in range(2)]
    for _ in range(1 << 23):
        pass
    statuses = [await child.wait() for child in children]
    told = {"cpu_ms": _cpu_ms() - before, "bytes": len(kept), "statuses": statuses}
    yield item(json.dumps(told))
    yield END


def _cpu_ms() -> float:
    each = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return 1000 * sum(one.ru_utime + one.ru_stime for one in each)


def _make_nest() -> None:
    """A child that forks without end when it is told to: gRPC does not let its own process fork any more."""
    ours, theirs = socket.socketpair()
    NEST.append(ours)
    if os.fork() != 0:
        theirs.close()
        return
    ours.close()
    if not theirs.recv(2):
        os._exit(0)
    made = 0
    try:
        while os.fork() != 0:
            made += 1
        os.setsid()
    except OSError as error:
        theirs.send(f"{made} {error.strerror}".encode())
    while True:
        signal.pause()


def _spin() -> None:
    for _ in range(1 << 26):
        pass


def _fill(folder: Path) -> str:
    """File after file, since one of them has a bound of its own; returns what stopped it, and takes all away."""
    # An earlier run may have been stopped before it took its own away.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        for number in range(1000):
            try:
                with (folder / str(number)).open("wb", buffering=0) as file:
                    while True:
                        file.write(bytes(1 << 20))
            except OSError as error:
                if error.errno != errno.EFBIG:
                    return str(error.strerror)
    finally:
        shutil.rmtree(folder)
    return "nothing stopped it"


class Refused(Exception):
    """A status of the call."""

    def __init__(self, code: grpc.StatusCode, words: str) -> None:
        super().__init__(words)
        self.code, self.words = code, words


MODES: Final[dict[str, Callable[[], Said]]] = {
    one.__name__: one
    for one in (
        good, exits, hangs, freezes, floods, floods_items, huge_message, huge_item, bad_text, garbage, skips,
        goes_back, tokens_amiss, negative, never_ends, full_late, ignores_cancel, forks, eats_memory, fills_tmp,
        endless_errors, burns, *files.MODES,
    )
}  # fmt: skip


async def _run(request: bytes, context: Any) -> Said:
    mode = json.loads(pb.RunRequest.FromString(request).input)["mode"]
    try:
        async for said in MODES[mode]():
            yield said
    except Refused as error:
        await context.abort(error.code, error.words)


def _describe(start: str) -> Callable[[bytes, Any], Any]:
    async def describe(request: bytes, context: Any) -> bytes:
        del request, context
        if start == "mute":
            await asyncio.Event().wait()
        if start == "garbled":
            return b"\xff" * 64
        reply = pb.DescribeReply(state=pb.DescribeReply.STATE_READY, slots=4)
        return reply.SerializeToString()

    return describe


async def serve(place: str, start: str) -> None:
    server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
    # Without (de)serializers, bytes come and go as they are.
    handlers = {
        "Describe": grpc.unary_unary_rpc_method_handler(_describe(start)),
        "Run": grpc.unary_stream_rpc_method_handler(_run),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(f"unix:{place}")
    await server.start()
    await server.wait_for_termination()


def _before_serving(place: str, start: str) -> None:
    """What goes wrong before there is a server, or instead of one."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if start == "ordinary":
        _make_nest()
    if start == "exits":
        print("no thanks", file=sys.stderr, flush=True)
        sys.exit(4)
    if start == "silent":
        signal.pause()
    if start in ("deaf", "babbles"):
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(place)
            door.listen(64)
            while True:
                guest, _ = door.accept()
                with contextlib.suppress(OSError):
                    if start == "babbles":
                        guest.sendall(b"220 mail.example.com ready\r\n" * 100)


def main() -> None:
    parser = argparse.ArgumentParser(prog="hostile_engine", description=__doc__)
    parser.add_argument("--socket", required=True, help="Unix socket to serve on")
    parser.add_argument("--manifest", required=True, help="its description names the mode")
    told, _ = parser.parse_known_args()
    start = json.loads(Path(told.manifest).read_bytes())["description"]
    _before_serving(told.socket, start)
    asyncio.run(serve(told.socket, start))


if __name__ == "__main__":
    main()
