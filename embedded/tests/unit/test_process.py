"""Processes: they end with us, log to bounded files, say why they failed; ports are kept."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import psutil
import pytest
from archipelag_embedded.errors import CannotStart
from archipelag_embedded.network import choose_port, manifests, modules
from archipelag_embedded.process import (
    STATE_MARK,
    Process,
    bound_log,
    free_port,
    kept_port,
    launched,
    tail,
)
from archipelag_embedded.supervisor import end_orphans

SLEEP = [sys.executable, "-c", "print('up', flush=True); input()"]


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_a_program_that_ends_shows_its_code_and_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("of an earlier start\n")
    process = Process("Thing", python("import sys; sys.exit('the reason')"), log=log)

    assert process.wait(30)
    error = str(process.failed("did not start"))

    assert "ended with code 1" in error
    assert "the reason" in error
    assert "earlier" not in error


def test_a_program_that_ignores_us_is_killed_with_its_children(tmp_path: Path) -> None:
    program = (
        "import signal, subprocess, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True); child.wait()"
    )
    process = Process("Deaf", python(program), log=tmp_path / "log")
    while not (tmp_path / "log").read_text().endswith("\n"):
        assert process.running
    child = psutil.Process(int((tmp_path / "log").read_text()))

    process.stop(grace_s=0.1)

    assert process.exit_code == -signal.SIGKILL
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_program_started_by_a_dead_parent_does_not_run(tmp_path: Path) -> None:
    command = launched(python("print('ran')"))
    command[command.index(str(os.getpid()))] = "1"  # Not who started it.

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout == ""


def test_what_cannot_be_run_says_so(tmp_path: Path) -> None:
    process = Process("Missing", [tmp_path / "missing"], log=tmp_path / "log")

    assert process.wait(30)
    assert "cannot run" in process.log_tail()


def test_a_long_log_keeps_one_older_copy(tmp_path: Path) -> None:
    log = tmp_path / "island.log"
    process = Process(
        "Writer",
        python("print('x' * 100, flush=True); input(); print('after')"),
        log=log,
    )
    process.wait(30)
    size = log.stat().st_size

    assert not bound_log(log, bytes_max=size)
    assert bound_log(log, bytes_max=size - 1)
    assert log.stat().st_size == 0
    assert (tmp_path / "island.log.1").stat().st_size == size
    assert not bound_log(tmp_path / "none.log")


def test_the_tail_of_a_log_is_bounded(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(10_000)))

    assert tail(log).splitlines()[-1].strip() == "line 9999"
    assert len(tail(log).splitlines()) == 15
    assert tail(tmp_path / "none").strip() == "(nothing)"


def test_a_port_is_kept_while_it_is_free_and_left_to_who_took_it(tmp_path: Path) -> None:
    file = tmp_path / "port"

    first = kept_port(file)
    again = kept_port(file)
    with socket.socket() as taker:
        taker.bind(("127.0.0.1", first))
        taker.listen()
        other = kept_port(file)

    assert again == first
    assert other != first
    assert kept_port(file) == other


def test_an_ordered_port_that_is_taken_is_an_error_a_usual_one_is_not(tmp_path: Path) -> None:
    kept = tmp_path / "http-port"
    with socket.socket() as taker:
        taker.bind(("127.0.0.1", 0))
        taker.listen()
        taken = taker.getsockname()[1]

        with pytest.raises(CannotStart, match=f"port {taken} is taken"):
            choose_port("ARCHIPELAG_HTTP_PORT", taken, free_port(), kept)
        other = choose_port("ARCHIPELAG_HTTP_PORT", None, taken, kept)
        assert choose_port("ARCHIPELAG_HTTP_PORT", None, taken, kept) == other != taken
    assert choose_port("ARCHIPELAG_HTTP_PORT", None, taken, kept) == taken


def test_orphans_are_found_by_the_directory_they_work_for(tmp_path: Path) -> None:
    def start(mark: Path) -> subprocess.Popen[bytes]:
        started = subprocess.Popen(
            SLEEP,
            env={**os.environ, STATE_MARK: str(mark)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert started.stdout is not None
        started.stdout.readline()
        return started

    ours, part, other = (
        start(tmp_path / "a"),
        start(tmp_path / "a" / "nats"),
        start(tmp_path / "ab"),
    )

    ended = end_orphans(tmp_path / "a")

    assert ended == 2
    assert [psutil.pid_exists(process.pid) for process in (ours, part, other)] == [
        False,
        False,
        True,
    ]
    for process in (ours, part, other):
        process.kill()
        process.communicate()


def test_the_bundled_manifests_are_found_chat_first() -> None:
    assert [path.parent.name for path in manifests()][:1] == ["llm-chat"]
    assert "hash" in [path.parent.name for path in modules()]


def test_a_cargo_without_what_it_needs_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make up` brings chat, modules and pictures; the engines of the others are extras."""
    missing = {"onnxruntime", "imageio-ffmpeg"}
    real = metadata.distribution

    def distribution(name: str) -> metadata.Distribution:
        if name in missing:
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "distribution", distribution)

    listed = {path.parent.name for path in manifests()}

    assert not listed & {"image-gen", "ocr", "transcode"}
    assert {"llm-chat", "embeddings"} <= listed
