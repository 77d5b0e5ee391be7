"""What may be typed after `archipelag`, and what the help says."""

from __future__ import annotations

import argparse
from importlib.metadata import version
from typing import Any

from archipelag.cli import (
    asking,
    completion,
    drawing,
    keeping,
    mistakes,
    plugins,
    running,
    showing,
    signing_in,
    talking,
    working,
)

EPILOG = """\
where the network is and which key to use, the first that is there:
  1. --url, --key
  2. ARCHIPELAG_API_URL (several Coordinators by comma), ARCHIPELAG_API_KEY
  3. the profile that `archipelag auth login` has kept, in ~/.config/archipelag/config.toml:
     the one named by --profile or ARCHIPELAG_PROFILE, or `default`
  4. http://127.0.0.1:8420
NO_COLOR, when set: no colour.

exit status:
  0 done   1 failed   2 wrong usage   3 network not reachable   4 not allowed   5 not enough credits
  6 the job failed   7 not now: nobody can take it, too many requests, out of time   130 interrupted

examples:
  archipelag auth login
  archipelag chat "Name three islands."
  archipelag jobs submit llm-chat prompt="Name a sea." --wait
  archipelag batch questions.jsonl --workload llm-chat
  archipelag jobs list --status failed --format json
"""

_Commands = argparse._SubParsersAction


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = mistakes.Parser(
        prog="archipelag",
        description="Ask an Archipelag network, and look after your jobs, keys and credits there.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"archipelag {version('archipelag')}")
    top.add_argument("--url", metavar="URL", help="where the network is")
    top.add_argument("--key", metavar="KEY", help="API key; better kept by `auth login`")
    top.add_argument("--profile", metavar="NAME", help="of the config file; default: default")
    _format(top, "table")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _auth(commands)
    _chat(commands)
    _image(commands)
    _jobs(commands)
    _batch(commands)
    _files(commands)
    _network(commands)
    _credits(commands)
    _keys(commands)
    about = 'completion for your shell: eval "$(archipelag completion bash)"'
    made = _command(commands, "completion", about, completion.run_with(parser), network=False)
    made.add_argument("shell", choices=completion.SHELLS)
    for name in plugins.offered():
        # For the help only: they are run before anything is parsed here.
        about = plugins.KNOWN[name].about if name in plugins.KNOWN else "of another package"
        commands.add_parser(name, help=about, add_help=False)
    return top


def _auth(commands: _Commands[mistakes.Parser]) -> None:
    inner = _group(commands, "auth", "keep an API key for the commands, show it, forget it")
    about = "try a key and keep it: --key, standard input, or typed unseen"
    _command(inner, "login", about, signing_in.login, network=False)
    _command(inner, "status", "which network and key are used, and whose it is", signing_in.status)
    out = _command(inner, "logout", "forget the key", signing_in.logout, network=False)
    out.add_argument("--revoke", action="store_true", help="and end it, so that nobody can use it")


def _chat(commands: _Commands[mistakes.Parser]) -> None:
    demo = _command(commands, "demo", "ask one question and show what it took", asking.demo)
    demo.add_argument("prompt", nargs="?", default=asking.DEMO_PROMPT, help="another question")
    demo.add_argument("--max-tokens", type=_positive, default=asking.DEMO_TOKENS, metavar="N")
    about = "ask, and print the answer as it is made; without a question, talk"
    chat = _command(commands, "chat", about, talking.chat)
    chat.set_defaults(kind="chat")
    chat.add_argument(
        "prompt", nargs="?", help="the question; - reads it from standard input; none: talk"
    )
    chat.add_argument("--model", metavar="NAME", help="default: the first the network offers")
    chat.add_argument("--system", metavar="TEXT", help="instructions for the model")
    chat.add_argument("--session", metavar="FILE", help="a conversation: goes on with it, keeps it")
    chat.add_argument("--max-tokens", type=_positive, metavar="N", help="end after so many tokens")
    chat.add_argument("--temperature", type=float, metavar="T", help="0 is always the likeliest")
    chat.add_argument("--seed", type=int, metavar="N", help="the same seed gives the same answer")
    chat.add_argument("--verbose", "-v", action="store_true", help="tell Island, time and tokens")


def _image(commands: _Commands[mistakes.Parser]) -> None:
    image = _command(commands, "image", "draw a picture and write it to a file", drawing.image)
    image.set_defaults(kind="image")
    image.add_argument("prompt", help="what to draw")
    image.add_argument(
        "--output", "-o", metavar="FILE", help="default: after the prompt; - is the output"
    )
    image.add_argument("--force", action="store_true", help="replace a file that is there")
    image.add_argument("--model", metavar="NAME", help="default: the first the network offers")
    image.add_argument("--negative", metavar="TEXT", help="what shall not be in it")
    for name in ("width", "height", "steps"):
        image.add_argument(f"--{name}", type=_positive, metavar="N")
    image.add_argument(
        "--guidance", type=float, metavar="X", help="how closely it keeps to the prompt"
    )
    image.add_argument("--seed", type=int, metavar="N", help="the same seed draws the same picture")


def _jobs(commands: _Commands[mistakes.Parser]) -> None:
    inner = _group(commands, "jobs", "list, submit, read, follow, cancel and explain jobs")
    listing = _command(inner, "list", "list your newest jobs", working.list_jobs)
    listing.add_argument("--limit", type=_positive, default=20, metavar="N", help="default: 20")
    listing.add_argument(
        "--status",
        action="append",
        metavar="STATUS",
        help="queued, running, completed, failed, timeout, cancelled",
    )
    listing.add_argument("--workload", metavar="SLUG", help="only of this one")
    listing.add_argument("--after", metavar="TIME", help="made after this, such as 2026-11-27")
    listing.add_argument("--before", metavar="TIME", help="made before this")
    submit = _command(inner, "submit", "submit a job and print its id", working.submit)
    submit.add_argument("workload", help="a slug, see `archipelag workloads`")
    submit.add_argument("input", nargs="*", help="JSON, @FILE, name=value …; none: standard input")
    submit.add_argument("--priority", type=int, metavar="N", help="0 to 10")
    submit.add_argument(
        "--within", type=float, metavar="S", help="not to be begun where it takes longer than this"
    )
    submit.add_argument("--idempotency-key", metavar="KEY", help="the same key is the same job")
    submit.add_argument("--wait", action="store_true", help="wait, and print what it says")
    submit.add_argument("--timeout", type=float, default=300.0, metavar="S", help="of --wait: 300")
    get = _command(inner, "get", "show one job, its attempts and its output", working.get)
    get.add_argument("id")
    get.add_argument("--output", action="store_true", help="the output alone, as it is")
    stream = _command(inner, "stream", "follow a job to its end", working.stream)
    stream.add_argument("id")
    stream.add_argument("--last-event-id", metavar="ID", help="go on after this event")
    _command(inner, "cancel", "cancel a job", working.cancel).add_argument("id")
    about = "why these Islands, why it still waits, what would help"
    _command(inner, "why", about, working.why).add_argument("id")


def _batch(commands: _Commands[mistakes.Parser]) -> None:
    about = "a job for each line of a JSONL file; the same command again goes on where it was left"
    batch = _command(commands, "batch", about, running.batch)
    batch.add_argument("file", help="each line an input as JSON, or a text to ask")
    batch.add_argument("--workload", required=True, metavar="SLUG")
    batch.add_argument("--output", "-o", metavar="FILE", help="default: FILE.results.jsonl")
    batch.add_argument(
        "--parallel", type=_parallel, default=8, metavar="N", help="at once; default: 8"
    )
    listing = _command(commands, "batches", "list what was handed over whole", working.list_batches)
    listing.add_argument("--limit", type=_positive, default=20, metavar="N", help="default: 20")
    listing.add_argument(
        "--status",
        action="append",
        metavar="STATUS",
        help="running, stopping, completed, failed, cancelled",
    )


def _files(commands: _Commands[mistakes.Parser]) -> None:
    inner = _group(commands, "files", "upload, list, get and delete files")
    upload = _command(inner, "upload", "upload files", keeping.upload)
    upload.add_argument("path", nargs="+", help="a file on this machine")
    upload.add_argument("--purpose", default="user_data", help="default: user_data")
    listing = _command(inner, "list", "list your newest files", keeping.list_files)
    listing.add_argument("--limit", type=_positive, default=20, metavar="N", help="default: 20")
    listing.add_argument("--job", metavar="ID", help="only what this job has made")
    get = _command(inner, "get", "download a file", keeping.get)
    get.add_argument("id")
    get.add_argument(
        "-o", "--output", metavar="PATH", help="default: under its own name, here; - is the output"
    )
    _command(inner, "delete", "delete a file", keeping.delete).add_argument("id")


def _network(commands: _Commands[mistakes.Parser]) -> None:
    _command(commands, "models", "list the models on offer", showing.models)
    about = "list the catalogue, or show one Cargo with its input's schema"
    made = _command(commands, "workloads", about, showing.workloads)
    made.add_argument("slug", nargs="?", help="show this one")
    about = "list the Islands you may see, or show one"
    islands = _command(commands, "islands", about, showing.islands)
    islands.add_argument("id", nargs="?", help="show this one, by its id or its name")
    islands.add_argument("--why", action="store_true", help="why your Island gets no work")
    islands.add_argument("--earnings", action="store_true", help="what your Island earned")
    islands.add_argument("--by", choices=["day", "workload"], help="of --earnings; default: day")
    about = "show whether the network answers, and how large it is"
    _command(commands, "status", about, showing.status)


def _credits(commands: _Commands[mistakes.Parser]) -> None:
    _command(commands, "account", "show your account and its credits", showing.account)
    about = "show your credits, what they went for, and every movement of them"
    inner = _group(commands, "credits", about, required=False)
    inner_parser = commands.choices["credits"]
    inner_parser.set_defaults(run=showing.balance, network=True)
    usage = _command(inner, "usage", "what was used and paid", showing.usage)
    usage.add_argument("--by", choices=["day", "key", "workload"], help="default: day")
    usage.add_argument("--since", metavar="DAY", help="such as 2026-11-01; default: 30 days ago")
    usage.add_argument("--until", metavar="DAY", help="default: today")
    made = _command(inner, "transfers", "every movement, newest first", showing.transfers)
    made.add_argument("--limit", type=_positive, default=20, metavar="N", help="default: 20")


def _keys(commands: _Commands[mistakes.Parser]) -> None:
    inner = _group(commands, "keys", "list, create, change and revoke API keys")
    _command(inner, "list", "list your keys", showing.list_keys)
    create = _command(inner, "create", "make a key; it is shown once", showing.create_key)
    create.add_argument("name", help="what the key is for")
    create.add_argument(
        "--scope", action="append", choices=["read", "write"], help="may be repeated; default: both"
    )
    change = _command(inner, "change", "rename a key, or bound it more", showing.change_key)
    change.add_argument("id")
    change.add_argument("--name", metavar="NAME", help="a new name")
    for one in (create, change):
        one.add_argument("--budget", metavar="CREDITS", help="the key may spend so much at most")
        one.add_argument("--rate", type=_positive, metavar="N", help="so many requests a minute")
    _command(inner, "revoke", "revoke a key at once", showing.revoke_key).add_argument("id")


def _group(
    commands: _Commands[mistakes.Parser], name: str, about: str, *, required: bool = True
) -> _Commands[mistakes.Parser]:
    made = commands.add_parser(name, help=about, description=_sentence(about))
    _format(made)
    return made.add_subparsers(title="commands", metavar="COMMAND", required=required)


def _command(
    commands: _Commands[mistakes.Parser],
    name: str,
    about: str,
    run: Any,
    *,
    network: bool = True,
) -> argparse.ArgumentParser:
    """`network`: it is handed a client; without, it is handed what makes one."""
    made = commands.add_parser(name, help=about, description=_sentence(about))
    made.set_defaults(run=run, network=network)
    _format(made)
    return made


def _format(parser: argparse.ArgumentParser, default: str = argparse.SUPPRESS) -> None:
    """Wherever it stands. Given to a command, it is not undone by one that is inside of it."""
    if default == argparse.SUPPRESS:
        # The help of `archipelag` tells of these once.
        for name in ("--url", "--key", "--profile"):
            parser.add_argument(name, default=default, help=argparse.SUPPRESS)
    parser.add_argument(
        "--format", choices=["table", "json"], default=default, help="for people, or for programs"
    )
    parser.add_argument(
        "--json",
        dest="format",
        action="store_const",
        const="json",
        default=default,
        help="the same",
    )


def _sentence(about: str) -> str:
    return about[0].upper() + about[1:] + "."


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _parallel(text: str) -> int:
    number = _positive(text)
    if number > 64:
        raise argparse.ArgumentTypeError("must be 64 or less")
    return number
