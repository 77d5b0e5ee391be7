"""The command `archipelag`: everything here goes through the client's public names."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from archipelag import (
    ArchipelagError,
    AuthenticationError,
    Client,
    ConnectionError,  # noqa: A004 - it is the builtin one too
    InsufficientCreditsError,
    JobFailedError,
    PermissionDeniedError,
    RateLimitError,
    ServiceUnavailableError,
    TimeoutError,  # noqa: A004
)
from archipelag.cli import mistakes, plugins, printing, settings
from archipelag.cli.parser import parser
from archipelag.cli.printing import ClientOf

# Which error ends with which status; the first that fits.
STATUSES = (
    (ConnectionError, printing.UNREACHABLE),
    (AuthenticationError, printing.NOT_ALLOWED),
    (PermissionDeniedError, printing.NOT_ALLOWED),
    (InsufficientCreditsError, printing.NO_CREDITS),
    (JobFailedError, printing.JOB_FAILED),
    (RateLimitError, printing.TRY_LATER),
    (ServiceUnavailableError, printing.TRY_LATER),
    (TimeoutError, printing.TRY_LATER),
    (ArchipelagError, printing.FAILED),
    (ValueError, printing.WRONG_USAGE),
    (FileNotFoundError, printing.WRONG_USAGE),
    (OSError, printing.FAILED),
)
HINTS = {
    printing.UNREACHABLE: (
        "Start a network with `make up`, or say where one is: --url or ARCHIPELAG_API_URL."
    ),
    printing.NOT_ALLOWED: "Give another: `archipelag auth login`, --key or ARCHIPELAG_API_KEY.",
}
NO_KEY = """\
Make one on the network's pages, under Keys, and keep it: `archipelag auth login`.
For once: --key or ARCHIPELAG_API_KEY. Of a network of `make up`: eval "$(make -s env)"."""


def main(argv: Sequence[str] | None = None, client_of: ClientOf = Client) -> int:
    """Runs one command and gives its exit status."""
    return printing.to_the_end(lambda: _main(argv, client_of))


def _main(argv: Sequence[str] | None, client_of: ClientOf) -> int:
    before, name, after = plugins.split(sys.argv[1:] if argv is None else argv)
    if name in plugins.offered():
        return _plugin(name, before, after)
    arguments = parser().parse_args(argv)
    try:
        return _run(arguments, client_of)
    except KeyboardInterrupt:
        return _say("interrupted", printing.INTERRUPTED)
    except BrokenPipeError:
        raise
    except (ArchipelagError, ValueError, OSError) as error:
        return _refused(error)


def _run(arguments: argparse.Namespace, client_of: ClientOf) -> int:
    if not arguments.network:
        return int(arguments.run(arguments, client_of) or 0)
    chosen = settings.choose(arguments.url, arguments.key, arguments.profile)
    settings.must_be_kept(arguments.profile)
    with client_of(chosen.url, chosen.key) as client:
        try:
            return int(arguments.run(client, arguments) or 0)
        except AuthenticationError as error:
            if not chosen.key:
                return _say(
                    f"this needs an API key, and none is set\n{NO_KEY}", printing.NOT_ALLOWED
                )
            return _refused(error, mistakes.hint(error, client, arguments))
        except ArchipelagError as error:
            return _refused(error, mistakes.hint(error, client, arguments))


def _refused(error: Exception, hint: str = "") -> int:
    status = next(status for kind, status in STATUSES if isinstance(error, kind))
    ours = isinstance(error, ArchipelagError)
    told = str(error) if ours or not isinstance(error, OSError) else mistakes.of_file(error)
    # What a person must do; a refusal for want of a scope or a role says so itself.
    usual = "" if isinstance(error, PermissionDeniedError) else HINTS.get(status, "")
    return _say("\n".join(filter(None, (told, hint, usual))), status)


def _plugin(name: str, before: list[str], after: list[str]) -> int:
    """A command of another package, which takes `--url` and `--key` as we do; of profiles it need not know."""
    try:
        given, others = plugins.options().parse_known_args(before)
        chosen = settings.choose(given.url, given.key, given.profile)
        settings.must_be_kept(given.profile)
        if chosen.key_from.startswith("profile"):
            before = ["--url", chosen.url or "", "--key", chosen.key or "", *others]
        elif given.profile:
            raise ValueError(f"profile {chosen.profile} has no key for this")
        command = plugins.find(name)
    except ValueError as error:
        return _say(str(error), printing.WRONG_USAGE)
    except ImportError as error:
        return _say(f"`archipelag {name}` is installed, but not whole: {error}", printing.FAILED)
    if command is None:
        package = plugins.KNOWN[name].package
        said = f"`archipelag {name}` comes with a package: pip install '{package}'"
        return _say(said, printing.FAILED)
    return command([*before, *after])


def _say(message: str, status: int) -> int:
    sys.stderr.write(f"archipelag: {printing.clean(message)}\n")
    return status
