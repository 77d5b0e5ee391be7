"""The mail server as the operator's doctor asks it."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from archipelag_coordinator.config import Settings
from archipelag_coordinator.doctor import Finding, State, mail
from archipelag_embedded.process import free_port


class Mail(socketserver.StreamRequestHandler):
    """An SMTP server that knows one password, and no TLS."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            word = line.split()[0].upper()
            if word == b"EHLO":
                self.wfile.write(b"250-here\r\n250 AUTH PLAIN\r\n")
            elif word == b"AUTH":
                # NUL, user, NUL, good.
                right = line.split()[2] == b"AHVzZXIAZ29vZA=="
                self.wfile.write(b"235 yes\r\n" if right else b"535 no\r\n")
            elif word == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 fine\r\n")


@pytest.fixture
def mail_port() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            serving.join()


async def test_mail_server_is_asked_without_a_mail_being_sent(mail_port: int) -> None:
    async def told(url: str) -> Finding:
        (finding,) = await mail.examine(Settings("", "", Path(), smtp_url=url))
        return finding

    at = f"127.0.0.1:{mail_port}"
    plain, right = await told(f"smtp://{at}"), await told(f"smtp://user:good@{at}")
    wrong, secure = await told(f"smtp://user:bad@{at}"), await told(f"smtp+starttls://{at}")
    gone, nonsense = await told(f"smtp://127.0.0.1:{free_port()}"), await told("mail.example")

    assert (plain.state, right.state) == (State.OK, State.OK)
    assert wrong.state is State.FAIL and "does not take our password" in wrong.found
    assert secure.state is State.FAIL and "STARTTLS" in secure.found
    assert gone.state is State.FAIL and "refused" in gone.found
    assert nonsense.state is State.FAIL and "must be smtps://" in nonsense.advice
    assert (await told("")).state is State.WARN
    assert not any("good" in one.found or "bad" in one.found for one in (right, wrong))


async def test_what_the_coordinator_would_not_take_for_a_mail_server_is_no_good_here_either() -> (
    None
):
    (finding,) = await mail.examine(Settings("", "", Path(), smtp_url="smtp://a:b@mail.example"))

    assert finding.state is State.FAIL and "password in the clear" in finding.advice


async def test_mail_that_stays_on_this_machine_needs_no_server() -> None:
    (finding,) = await mail.examine(Settings("", "", Path(), local_mailbox=True))

    assert finding.state is State.OK and "http://127.0.0.1:8420/mailbox" in finding.found
