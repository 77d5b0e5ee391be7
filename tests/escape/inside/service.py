"""The Cargo's side of its protocol, with bytes of its own making: a hostile Cargo need not use our library."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent import futures

import grpc
from archipelag_contracts.pb.archipelag.v1 import cargo_pb2 as pb

HERE = os.path.abspath(sys.argv[0])
RUN_S = 80


def event(position: int, text: str) -> bytes:
    return pb.RunEvent(first=position, texts=[text]).SerializeToString()


END = pb.RunEvent(end=pb.RunEnd(finish_reason="stop")).SerializeToString()


def try_probes(names: list[str], world: str) -> Iterator[bytes]:
    """Each result as an item. Files that are open here and not closed on exec are seen by the probes too."""
    pipe = subprocess.PIPE
    command = [sys.executable, HERE, "inside", *names]
    runner = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, close_fds=False)
    assert runner.stdin is not None and runner.stdout is not None
    runner.stdin.write(world.encode())
    runner.stdin.close()
    position = 0
    for line in runner.stdout:
        yield event(position, line.decode())
        position += 1
    runner.wait(RUN_S)
    if position < len(names):
        assert runner.stderr is not None
        why = runner.stderr.read().decode(errors="replace")[-500:]
        yield pb.RunEvent(
            end=pb.RunEnd(error=f"the probes ended with {runner.returncode}: {why}")
        ).SerializeToString()
        return
    yield END


def abuse(how: str, target: str) -> Iterator[bytes]:
    match how:
        case "huge item":
            yield event(0, "x" * (20 << 20))
        case "invalid utf-8":
            yield b"\x1a\x02\xff\xfe"
        case "not protobuf":
            yield b"\xff" * 100
        case "flood":
            for position in range(200_000):
                yield event(position, "x")
        case "large file part":
            part = pb.FilePart(name="x", data=b"x" * (1 << 20))
            yield pb.RunEvent(file=part).SerializeToString()
        case "deaf":
            yield event(0, "x")
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            threading.Event().wait()
        case "silent end":
            os._exit(7)
        case "long error":
            yield pb.RunEvent(end=pb.RunEnd(error="x" * (4 << 20))).SerializeToString()
        case "replaced socket":
            yield event(0, replace_socket(target))
    yield END


def replace_socket(target: str) -> str:
    """Puts a link in the socket's place: whoever opens it again goes where we say."""
    try:
        os.unlink(SOCKET[0])
        os.symlink(target, SOCKET[0])
    except OSError as error:
        return f"refused: {error.strerror}"
    return "replaced"


SOCKET = [""]


def run(request: pb.RunRequest, context: grpc.ServicerContext) -> Iterator[bytes]:
    asked = json.loads(request.input)
    if "abuse" in asked:
        yield from abuse(asked["abuse"], asked.get("target", ""))
    else:
        yield from try_probes(asked["probes"], json.dumps(asked["world"]))


def describe(request: pb.DescribeRequest, context: grpc.ServicerContext) -> bytes:
    state = pb.DescribeReply.STATE_READY
    return pb.DescribeReply(state=state, slots=2).SerializeToString()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", required=True)
    arguments, _ = parser.parse_known_args()
    SOCKET[0] = arguments.socket
    os.environ["ESCAPE_SOCKET"] = arguments.socket
    handlers = {
        "Run": grpc.unary_stream_rpc_method_handler(run, pb.RunRequest.FromString, bytes),
        "Describe": grpc.unary_unary_rpc_method_handler(
            describe, pb.DescribeRequest.FromString, bytes
        ),
    }
    server = grpc.server(
        futures.ThreadPoolExecutor(4), options=[("grpc.max_send_message_length", -1)]
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("archipelag.v1.Cargo", handlers),)
    )
    server.add_insecure_port(f"unix:{arguments.socket}")
    server.start()
    server.wait_for_termination()
