"""The command `archipelag`: everything here goes through the client's public names."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from archipelag import (
    ArchipelagError,
    AuthenticationError,
    Client,
    ConnectionError,  # noqa: A004 - it is the builtin one too
    PermissionDeniedError,
)
from archipelag.cli import plugins
from archipelag.cli.parser import parser

FAILED: Final = 1
WRONG_USAGE: Final = 2
UNREACHABLE: Final = 3
NOT_ALLOWED: Final = 4
INTERRUPTED: Final = 130

ClientOf = Callable[[str | None, str | None], Client]


def main(argv: Sequence[str] | None = None, client_of: ClientOf = Client) -> int:
    """Runs one command and gives its exit status."""
    before, name, after = plugins.split(sys.argv[1:] if argv is None else argv)
    if name in plugins.offered():
        return _plugin(name, [*before, *after])
    arguments = parser().parse_args(argv)
    try:
        with client_of(arguments.url, arguments.key) as client:
            return int(arguments.run(client, arguments) or 0)
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader (`head`, a pager) has had enough. Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ConnectionError as error:
        hint = "Start a network with `make up`, or say where one is: --url or ARCHIPELAG_API_URL."
        return _say(f"{error}\n{hint}", UNREACHABLE)
    except AuthenticationError as error:
        hint = "Give an API key: --key or ARCHIPELAG_API_KEY."
        return _say(f"{error}\n{hint}", NOT_ALLOWED)
    except PermissionDeniedError as error:
        return _say(str(error), NOT_ALLOWED)
    except (ArchipelagError, TimeoutError) as error:
        return _say(str(error), FAILED)
    except ValueError as error:
        return _say(str(error), WRONG_USAGE)


def _plugin(name: str, argv: Sequence[str]) -> int:
    """A command of another package, which takes `--url` and `--key` as we do."""
    try:
        command = plugins.find(name)
    except ImportError as error:
        return _say(f"`archipelag {name}` is installed, but not whole: {error}", FAILED)
    if command is None:
        package = plugins.KNOWN[name].package
        return _say(f"`archipelag {name}` comes with a package: pip install '{package}'", FAILED)
    return command(argv)


def _say(message: str, status: int) -> int:
    sys.stderr.write(f"archipelag: {message}\n")
    return status
