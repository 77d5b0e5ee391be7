"""`archipelag chat` as a conversation, on a real terminal and with a file; and completion, in a real shell."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from archipelag.cli import completion, main
from archipelag.cli.parser import parser
from stub import TEXTS, Network, chunks

Out = pytest.CaptureFixture[str]
WAIT_S = 60


def said(network: Network) -> list[list[tuple[str, str]]]:
    """The messages of each chat that was asked for."""
    asked = [json.loads(one.content) for one in network.requests if one.method == "POST"]
    return [[(one["role"], one["content"]) for one in body["messages"]] for body in asked]


def test_a_session_is_remembered_by_its_file(tmp_path: Path) -> None:
    file, network = tmp_path / "talk.json", Network()
    chat = ("chat", "--model", "m", "--session", str(file))

    assert main((*chat, "first", "--system", "be brief"), network.client) == 0
    assert main((*chat, "second"), network.client) == 0

    assert said(network)[1] == [
        ("system", "be brief"),
        ("user", "first"),
        ("assistant", "".join(TEXTS)),
        ("user", "second"),
    ]
    assert len(json.loads(file.read_text())["messages"]) == 4


@pytest.mark.parametrize("written", ["no", "[]", "{}", '{"messages": [{"role": 1, "content": 2}]}'])
def test_a_file_that_is_no_session_is_not_written_to(
    written: str, tmp_path: Path, capsys: Out
) -> None:
    file, network = tmp_path / "talk.json", Network()
    file.write_text(written)

    assert main(("chat", "x", "--session", str(file)), network.client) == 2
    assert network.requests == [] and file.read_text() == written


def test_a_long_conversation_sends_its_newest_part(tmp_path: Path) -> None:
    file, network = tmp_path / "talk.json", Network()
    turns = [{"role": r, "content": f"{r} {n}"} for n in range(80) for r in ("user", "assistant")]
    file.write_text(json.dumps({"system": "s", "messages": turns}))

    main(("chat", "new", "--model", "m", "--session", str(file)), network.client)

    sent = said(network)[0]
    assert sent[0] == ("system", "s") and sent[1][0] == "user" and sent[-1] == ("user", "new")
    assert len(sent) <= 101 and len(json.loads(file.read_text())["messages"]) == 162


PROMPT = "> "


class Answers(BaseHTTPRequestHandler):
    asked: list[Any] = []  # noqa: RUF012 - one server a test, emptied there

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(chunks(TEXTS))

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class Typed:
    """A command on a terminal of its own, and somebody who types when it asks."""

    def __init__(self, url: str, tmp_path: Path) -> None:
        ours, theirs = pty.openpty()
        settings = {
            "ARCHIPELAG_API_URL": url,
            "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
            "XDG_CONFIG_HOME": str(tmp_path / "c"),
            "XDG_STATE_HOME": str(tmp_path / "s"),
            "TERM": "dumb",
        }
        program = [sys.executable, "-m", "archipelag.cli", "chat", "--model", "m"]
        self.process = subprocess.Popen(
            program,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=settings,
            start_new_session=True,
        )
        os.close(theirs)
        self.ours = ours
        self.seen = ""

    def until(self, text: str) -> None:
        """Reads until this was shown, after what was waited for before."""
        while text not in self.seen:
            self.seen += os.read(self.ours, 1000).decode(errors="replace")
        self.seen = self.seen.partition(text)[2]

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())


def test_a_conversation_on_a_terminal(tmp_path: Path) -> None:
    Answers.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        typed = Typed(f"http://127.0.0.1:{server.server_port}", tmp_path)
        try:
            typed.until(PROMPT)
            for line, shown in [
                ("first\n", TEXTS[-1]),
                ("/system be brief\n", PROMPT),
                ("second\n", TEXTS[-1]),
                ("/new\n", PROMPT),
                (f"/save {tmp_path / 'kept.json'}\n", PROMPT),
                ("/what\n", "/quit"),
                ("third\n", TEXTS[-1]),
            ]:
                typed.type(line)
                typed.until(shown)
                if shown != PROMPT:
                    typed.until(PROMPT)
            typed.type("\x04")
            assert typed.process.wait(WAIT_S) == 0
        finally:
            typed.process.kill()
            typed.process.wait()
            os.close(typed.ours)
            server.shutdown()

    asked = [[(m["role"], m["content"]) for m in one["messages"]] for one in Answers.asked]
    whole = "".join(TEXTS)
    assert asked == [
        [("user", "first")],
        [
            ("system", "be brief"),
            ("user", "first"),
            ("assistant", whole),
            ("user", "second"),
        ],
        [("system", "be brief"), ("user", "third")],
    ]
    assert json.loads((tmp_path / "kept.json").read_text())["messages"] == []
    history = tmp_path / "s" / "archipelag" / "chat_history"
    assert history.stat().st_mode & 0o077 == 0


def completed(*typed: str) -> list[str]:
    """What bash offers for the last of these words."""
    script = completion.script("bash", parser())
    words = " ".join(f"'{word}'" for word in ("archipelag", *typed))
    ask = f'COMP_WORDS=({words}); COMP_CWORD={len(typed)}; _archipelag; echo "${{COMPREPLY[@]}}"'
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run(
        [bash, "--norc", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        (("isl",), ["islands"]),
        (("jobs", "s"), ["submit", "stream"]),
        (("--url", "http://x", "jobs", "wh"), ["why"]),
        (("jobs", "list", "--st"), ["--status"]),
        (("completion", "f"), ["fish"]),
        (("chat", "jobs", "--se"), ["--session", "--seed"]),
        (("nonsense", "x"), []),
    ],
)
def test_bash_completes_commands_options_and_choices(
    typed: tuple[str, ...], wanted: list[str]
) -> None:
    assert sorted(completed(*typed)) == sorted(wanted)


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_shell_has_a_script_with_every_command(shell: str, capsys: Out) -> None:
    assert main(("completion", shell)) == 0

    told = capsys.readouterr().out
    for name in ("auth", "login", "why", "transfers", "batch"):
        assert name in told
    program = shutil.which(shell)
    if program is not None:
        done = subprocess.run(
            [program, "-n"], input=told, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
