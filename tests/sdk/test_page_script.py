"""The client's script for pages in a real browser, under a strict policy: a session, and a line that breaks."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from archipelag_embedded.fixtures import PATIENCE_S, chromium
from playwright import sync_api

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "coordinator/src/archipelag_coordinator/apps/web/static/archipelag.js"
POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'"
SEAL = hashlib.sha256(b"seal").hexdigest()
TOKENS = ["an ", "ísland ", "🏝️ ", "in the ", "sea"]
PAGE = '<!doctype html><meta charset="utf-8"><title>x</title><script type="module" src="/page.js"></script>'
PROGRAM = """
import { Client, NotFoundError } from "/static/archipelag.js";
const client = new Client({ baseUrl: "", csrfToken: () => "csrf-1" });
const states = [];
const answer = await client.chatStream("Tell.", {
  model: "m",
  onToken: () => fetch("/got"),
  onStatus: ({ state }) => states.push(state),
});
const refused = await client.getJob("job_0").catch((error) => error);
const blob = await client.downloadFile("file_1");
document.body.id = "told";
document.body.textContent = JSON.stringify({
  text: answer.text, usage: answer.usage, states,
  refused: [refused instanceof NotFoundError, refused.name, refused.requestId],
  file: await blob.text(),
});
"""


class Site(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.got = threading.Semaphore(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    """Breaks each chat off after one more token."""

    server: Site
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        self._note()
        body = b'{"error": {"code": "not_found", "message": "no job"}}'
        match self.path:
            case "/":
                self._send(200, "text/html", PAGE.encode())
            case "/got":
                self.server.got.release()
                self._send(200, "text/plain", b"")
            case "/page.js":
                self._send(200, "text/javascript", PROGRAM.encode())
            case "/static/archipelag.js":
                self._send(200, "text/javascript", SCRIPT.read_bytes())
            case "/api/v1/files/file_1":
                about = {"id": "file_1", "bytes": 4, "media_type": "text/plain", "sha256": SEAL}
                self._send(200, "application/json", json.dumps(about).encode())
            case "/api/v1/files/file_1/content":
                self._send(200, "text/plain", b"seal")
            case _:
                self._send(404, "application/json", body)

    def do_POST(self) -> None:
        self._note()
        self.rfile.read(int(self.headers["Content-Length"]))
        after = int(self.headers.get("Last-Event-ID", 0))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if after == len(TOKENS):
            usage = {"prompt_tokens": 1, "completion_tokens": 5, "credits_used": "0.000071"}
            self._event(after, {"choices": [{"delta": {}, "finish_reason": "stop"}]})
            self._event(after, {"choices": [], "usage": usage})
            self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")
        else:
            self._event(after + 1, {"choices": [{"delta": {"content": TOKENS[after]}}]})
            # Half an event, and the line is gone; not before the page has the token, since a browser throws away what
            # came at the same moment as the end.
            self._chunk(b"id: 99\nda")
            assert self.server.got.acquire(timeout=PATIENCE_S)
        self.close_connection = True

    def _event(self, at: int, value: Any) -> None:
        self._chunk(f"id: {at}\ndata: {json.dumps(value)}\n\n".encode())

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Request-Id", "req-7")
        if self.path == "/":
            self.send_header("Set-Cookie", "session=s-1; HttpOnly; SameSite=Lax; Path=/")
        self.end_headers()
        self.wfile.write(body)

    def _note(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.command, self.path, headers))


@pytest.fixture
def site() -> Iterator[Site]:
    one = Site()
    thread = threading.Thread(target=one.serve_forever, args=(0.05,))
    thread.start()
    yield one
    one.shutdown()
    thread.join()
    one.server_close()


@pytest.mark.timeout(120)
def test_in_a_page_with_a_session(site: Site) -> None:
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = browser.new_page()
        said: list[str] = []
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(site.url)
        try:
            told = json.loads(page.locator("#told").text_content(timeout=30_000) or "")
        except sync_api.TimeoutError:
            pytest.fail(f"the page did not get there: {said}, {site.asked}")
        browser.close()

    assert told["text"] == "".join(TOKENS)
    assert told["usage"]["creditsUsed"] == "0.000071"
    assert told["states"] == ["waiting", *["running", "reconnecting"] * 5, "running", "completed"]
    assert told["refused"] == [True, "NotFoundError", "req-7"]
    assert told["file"] == "seal"
    asked = [(method, path, headers) for method, path, headers in site.asked if "/api/" in path]
    posts = [headers for method, _, headers in asked if method == "POST"]
    assert [headers.get("last-event-id") for headers in posts] == [None, *"12345"]
    assert len({headers["idempotency-key"] for headers in posts}) == 1
    assert all(headers["x-csrf-token"] == "csrf-1" for headers in posts)
    gets = [headers for method, _, headers in asked if method == "GET"]
    assert gets and not any("x-csrf-token" in headers for headers in gets)
    assert all(headers["cookie"] == "session=s-1" for _, _, headers in asked)
    assert not any("authorization" in headers for _, _, headers in asked)
