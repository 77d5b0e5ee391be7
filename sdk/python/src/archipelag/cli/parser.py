"""What may be typed after `archipelag`, and what the help says."""

from __future__ import annotations

import argparse

from archipelag.cli import asking, keeping, plugins, showing

EPILOG = """\
environment:
  ARCHIPELAG_API_URL  where the network is (default http://127.0.0.1:8420); several Coordinators by comma
  ARCHIPELAG_API_KEY  your API key
  NO_COLOR            when set, no colour

exit status:
  0 done   1 failed   2 wrong usage   3 network not reachable   4 not allowed   130 interrupted
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="archipelag",
        description="Ask questions of an Archipelag network and look after your jobs and keys.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--url", metavar="URL", help="where the network is")
    top.add_argument("--key", metavar="KEY", help="API key; better kept in the environment")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    demo = _command(commands, "demo", "ask one question and show what it took", asking.demo)
    demo.add_argument("prompt", nargs="?", default=asking.DEMO_PROMPT, help="another question")
    demo.add_argument("--max-tokens", type=_positive, default=asking.DEMO_TOKENS, metavar="N")

    chat = _command(commands, "chat", "ask, and print the answer as it is made", asking.chat)
    chat.add_argument(
        "prompt", nargs="?", help="the question; without it, read from standard input"
    )
    chat.add_argument("--model", metavar="NAME", help="default: the first the network offers")
    chat.add_argument("--system", metavar="TEXT", help="instructions for the model")
    chat.add_argument("--max-tokens", type=_positive, metavar="N", help="end after so many tokens")
    chat.add_argument("--temperature", type=float, metavar="T", help="0 is always the likeliest")
    chat.add_argument("--seed", type=int, metavar="N", help="the same seed gives the same answer")
    chat.add_argument("--json", action="store_true", help="one JSON object instead of text")

    _jobs(commands)
    _files(commands)
    for name, about, run in (
        ("models", "list the models on offer", showing.models),
        ("hosts", "list the Islands you may see", showing.hosts),
        ("account", "show your account and its credits", showing.account),
        ("status", "show whether the network answers, and how large it is", showing.status),
    ):
        _json(_command(commands, name, about, run))
    _keys(commands)
    for name in plugins.offered():
        # For the help only: they are run before anything is parsed here.
        about = plugins.KNOWN[name].about if name in plugins.KNOWN else "of another package"
        commands.add_parser(name, help=about, add_help=False)
    return top


def _jobs(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "list, show and cancel jobs"
    jobs = commands.add_parser("jobs", help=about, description=about.capitalize() + ".")
    inner = jobs.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing = _json(_command(inner, "list", "list your newest jobs", showing.list_jobs))
    listing.add_argument("--limit", type=_positive, default=20, metavar="N", help="at most 100")
    listing.add_argument("--status", metavar="STATUS", help="only queued, running, completed, …")
    _json(_command(inner, "show", "show one job", showing.show_job)).add_argument("id")
    _json(_command(inner, "cancel", "cancel a job", showing.cancel_job)).add_argument("id")


def _files(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "upload, list, get and delete files"
    files = commands.add_parser("files", help=about, description=about.capitalize() + ".")
    inner = files.add_subparsers(title="commands", metavar="COMMAND", required=True)
    upload = _json(_command(inner, "upload", "upload files", keeping.upload))
    upload.add_argument("path", nargs="+", help="a file on this machine")
    upload.add_argument("--purpose", default="user_data", help="default: user_data")
    listing = _json(_command(inner, "list", "list your newest files", keeping.list_files))
    listing.add_argument("--limit", type=_positive, default=20, metavar="N", help="at most 1000")
    listing.add_argument("--job", metavar="ID", help="only what this job has made")
    get = _command(inner, "get", "download a file", keeping.get)
    get.add_argument("id")
    get.add_argument(
        "-o", "--output", metavar="PATH", help="default: under its own name, here; - is the output"
    )
    _command(inner, "delete", "delete a file", keeping.delete).add_argument("id")


def _keys(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "list, create and revoke API keys"
    keys = commands.add_parser("keys", help=about, description=about.capitalize() + ".")
    inner = keys.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _json(_command(inner, "list", "list your keys", showing.list_keys))
    create = _json(_command(inner, "create", "make a key; it is shown once", showing.create_key))
    create.add_argument("name", help="what the key is for")
    create.add_argument(
        "--scope", action="append", choices=["read", "write"], help="may be repeated; default: both"
    )
    create.add_argument("--budget", metavar="CREDITS", help="the key may spend so much at most")
    _command(inner, "revoke", "revoke a key at once", showing.revoke_key).add_argument("id")


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    about: str,
    run: object,
) -> argparse.ArgumentParser:
    made = commands.add_parser(name, help=about, description=about.capitalize() + ".")
    made.set_defaults(run=run)
    return made


def _json(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("--json", action="store_true", help="JSON instead of a table")
    return command


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number
