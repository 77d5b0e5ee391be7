"""Over a real connection: pieces arrive as they are made, and Ctrl-C ends the job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from archipelag import Client
from archipelag_embedded.fixtures import PATIENCE_S
from stub import ISLAND, JOB, TEXTS, chunks


class Slow(ThreadingHTTPServer):
    """Sends the first pieces of an answer, and the rest only when told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.go_on = threading.Event()
        self.cancelled = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    server: Slow

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        whole = chunks(TEXTS)
        cut = whole.index(b"is ") - 20
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("X-Archipelag-Job", JOB)
        self.send_header("X-Archipelag-Island", ISLAND)
        self.end_headers()
        self.wfile.write(whole[:cut])
        self.wfile.flush()
        if self.server.go_on.wait(PATIENCE_S):
            self.wfile.write(whole[cut:])

    def do_DELETE(self) -> None:
        assert self.path == f"/api/v1/jobs/{JOB}"
        self.server.cancelled.set()
        body = json.dumps({"data": {"id": JOB, "status": "cancelled"}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[Slow]:
    with Slow() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.go_on.set()
        made.shutdown()
        thread.join()


def test_pieces_arrive_before_the_answer_is_whole(server: Slow) -> None:
    with Client(server.url, "ak_x") as client, client.chat_stream("hi", "m") as stream:
        pieces = iter(stream)
        first = next(pieces)
        server.go_on.set()
        rest = "".join(piece.text for piece in pieces)

    assert first.text == TEXTS[0]
    assert first.text + rest == "".join(TEXTS)


def test_ctrl_c_ends_the_job_and_leaves_no_traceback(server: Slow) -> None:
    source = str(Path(__file__).parents[2] / "src")
    asked = [sys.executable, "-m", "archipelag.cli", "chat", "hi", "--model", "m"]
    settings = {"ARCHIPELAG_API_URL": server.url, "PYTHONPATH": source}
    with subprocess.Popen(
        asked,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=settings,
        # A shell starts background jobs with SIGINT ignored, and the tests may run in one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        assert process.stdout is not None
        assert os.read(process.stdout.fileno(), 100).decode() in "".join(TEXTS)

        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 130
    assert server.cancelled.is_set()
    assert b"Traceback" not in complaint


def test_a_reader_that_has_had_enough_is_no_error(server: Slow) -> None:
    source = str(Path(__file__).parents[2] / "src")
    asked = [sys.executable, "-m", "archipelag.cli", "chat", "hi", "--model", "m"]
    settings = {"ARCHIPELAG_API_URL": server.url, "PYTHONPATH": source}
    with subprocess.Popen(
        asked,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=settings,
        # A shell starts background jobs with SIGINT ignored, and the tests may run in one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        os.read(process.stdout.fileno(), 1)
        process.stdout.close()
        server.go_on.set()
        complaint = process.stderr.read()
        process.wait(PATIENCE_S)

    assert process.returncode == 0
    assert complaint == b""
