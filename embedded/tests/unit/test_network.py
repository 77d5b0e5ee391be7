"""What a network takes for its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from archipelag_embedded.api import Api


class Coordinator(BaseHTTPRequestHandler):
    """Ready for everybody, and knows one key."""

    def do_GET(self) -> None:
        known = self.headers["Authorization"] == "Bearer ak_ours"
        self.send_response(200 if known or self.path == "/api/v1/ready" else 401)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Coordinator)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_coordinator_that_is_ready_is_ours_only_if_it_knows_our_key(url: str) -> None:
    assert Api(url, "ak_ours").ready() and Api(url, "ak_ours").knows_us()
    assert Api(url, "ak_others").ready() and not Api(url, "ak_others").knows_us()
    assert not Api(url).knows_us()
