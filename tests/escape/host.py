"""What stands on the host for the probes to aim at: a file, a process, sockets, each giving the same token away."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from archipelag_embedded.process import free_port

CALL_S = 0.05


def _serve(door: socket.socket, token: str) -> None:
    """Until it is closed."""
    with suppress(OSError):
        while True:
            line, _ = door.accept()
            with line, suppress(OSError):
                line.sendall(token.encode())


def _call(port: int, over: threading.Event) -> None:
    """Knocks on the port that a probe may open, as anybody on this host could."""
    while not over.wait(CALL_S):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
            pass


def _own_address() -> str:
    """Another than loopback, where there is one."""
    with suppress(OSError):
        for _, _, _, _, address in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET):
            return str(address[0])
    return "127.0.0.1"


def _doors(folder: Path, token: str) -> tuple[list[socket.socket], dict[str, Any]]:
    abstract, path = f"escape-{token}", folder / "host.sock"
    tcp, named, nameless = (
        socket.socket(),
        socket.socket(socket.AF_UNIX),
        socket.socket(socket.AF_UNIX),
    )
    tcp.bind(("0.0.0.0", 0))
    named.bind(str(path))
    path.chmod(0o666)
    nameless.bind("\0" + abstract)
    doors = [tcp, named, nameless]
    for door in doors:
        door.listen(50)
        threading.Thread(target=_serve, args=(door, token), daemon=True).start()
    return doors, {"port": tcp.getsockname()[1], "socket": str(path), "abstract": abstract}


@contextmanager
def a_world() -> Iterator[dict[str, Any]]:
    """The fields of the probes' World. Sets the token in this process's environment, where nothing may inherit it."""
    token = secrets.token_hex(16)
    folder = Path(tempfile.mkdtemp(prefix="escape-", dir="/var/tmp"))
    folder.chmod(0o755)
    secret = folder / "secret"
    secret.write_text(token)
    secret.chmod(0o644)
    os.environ["ESCAPE_TOKEN"] = token
    code = "import sys; print('ready', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", code, token], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    doors, places = _doors(folder, token)
    over = threading.Event()
    call_back = free_port()
    caller = threading.Thread(target=_call, args=(call_back, over), daemon=True)
    caller.start()
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield {
            "token": token,
            "secret": str(secret),
            "pid": process.pid,
            "address": _own_address(),
            "call_back": call_back,
            **places,
        }
        assert process.poll() is None, "a probe killed a process of the host"
        assert secret.read_text() == token, "a probe changed a file of the host"
    finally:
        over.set()
        caller.join()
        for door in doors:
            with suppress(OSError):
                door.shutdown(socket.SHUT_RDWR)
            door.close()
        process.kill()
        process.communicate()
        del os.environ["ESCAPE_TOKEN"]
        shutil.rmtree(folder)
