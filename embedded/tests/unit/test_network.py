"""What a network takes for its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from archipelag_embedded.api import Api
from archipelag_embedded.network import Network
from archipelag_embedded.settings import Settings
from archipelag_embedded.state import State


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


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "ada@example.org"),
        ({"ARCHIPELAG_SMTP_URL": "smtp://127.0.0.1"}, ""),
        ({"ARCHIPELAG_PUBLIC_URL": "https://net.example.org"}, ""),
        ({"ARCHIPELAG_LOCAL_MAILBOX": "no"}, ""),
    ],
)
def test_the_banner_names_the_mailbox_where_mail_comes_into_it(
    given: dict[str, str], named: str, tmp_path: Path
) -> None:
    network = Network(Settings(home=tmp_path, inherited=given), State(tmp_path))
    (tmp_path / "postgres").mkdir()
    network._take_bootstrap('{"email": "ada@example.org"}')

    assert network.facts({}).sign_in_as == named
