"""What may be typed after `archipelag cargo`, and what the help says.

Each command's module is imported when it is run: `init` needs no registry, and an author's machine may lack the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Final

from archipelag_contracts.commands import Parser

TEMPLATES: Final = ("python", "grpc", "wasm-c", "wasm-rust")
RUNTIMES: Final = ("oci", "wasm", "native")

EPILOG: Final = """\
the way of a Cargo:
  archipelag cargo init shout      a folder with a Cargo that works
  archipelag cargo build           what an Island pulls, and its digest
  archipelag cargo test            the conformance suite, in the real sandbox
  archipelag cargo keygen          once: your signing key
  archipelag cargo sign            with it
  archipelag cargo push --registry HOST[:PORT]
  archipelag cargo submit          to a network, which checks it and lists it
  archipelag cargo status ID       where it stands

environment:
  ARCHIPELAG_API_URL            where the network is (default http://127.0.0.1:8420)
  ARCHIPELAG_API_KEY            your API key; to submit, one with the scope `write`
  ARCHIPELAG_CARGO_KEY          the signing key's file (default cargo.key in ~/.config/archipelag)
  ARCHIPELAG_CARGO_PASSPHRASE   its passphrase
  ARCHIPELAG_REGISTRY           the registry to push to
  ARCHIPELAG_REGISTRY_USER, ARCHIPELAG_REGISTRY_PASSWORD   credentials for it

exit status:
  0 done   1 failed   2 wrong usage   3 registry or network not reachable   4 not allowed
  5 the Cargo did not pass its checks   6 something that this needs is not installed   130 interrupted
"""


def parser() -> argparse.ArgumentParser:
    top = Parser(
        prog="archipelag cargo",
        description="Write, build, test, sign and publish Cargos: packages of work for an Archipelag network.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--url", metavar="URL", default="", help="where the network is")
    top.add_argument("--key", metavar="KEY", default="", help="API key; better in the environment")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _init(commands)
    _build(commands)
    _test(commands)
    _keygen(commands)
    _sign(commands)
    _push(commands)
    _submit(commands)
    _review(commands)
    return top


_Commands = argparse._SubParsersAction


def _init(commands: _Commands[Parser]) -> None:
    made = _command(
        commands,
        "init",
        "start a Cargo: a folder with manifest, code, tests and README that works as it is",
        "starting:init",
    )
    made.add_argument("name", help="lower-case letters, digits and dashes; also the folder's name")
    made.add_argument(
        "--template",
        choices=TEMPLATES,
        default="python",
        help="python: one async function (default); grpc: a plain server without the kit; "
        "wasm-c, wasm-rust: a module of a few KB that runs in milliseconds",
    )
    made.add_argument("--into", type=Path, default=Path(), metavar="FOLDER", help="default: here")


def _build(commands: _Commands[Parser]) -> None:
    made = _command(
        commands,
        "build",
        "make what an Island pulls: an OCI image without a base image, or a WASM module; the same "
        "source gives the same digest",
        "building:build",
    )
    _folder(made)
    _json(made)


def _test(commands: _Commands[Parser]) -> None:
    made = _command(
        commands,
        "test",
        "run the conformance suite in the sandbox that Islands use: what fails here fails the review",
        "testing:test",
    )
    _folder(made)
    made.add_argument("--runtime", choices=RUNTIMES, help="default: what the manifest names")
    made.add_argument(
        "--model", type=Path, metavar="FILE", help="the model that the manifest names"
    )
    _json(made)


def _keygen(commands: _Commands[Parser]) -> None:
    made = _command(
        commands,
        "keygen",
        "make your signing key (P-256, PEM) and its public half beside it; one key for all your Cargos",
        "signing:keygen",
    )
    made.add_argument("--out", type=Path, metavar="FILE", help="default: ARCHIPELAG_CARGO_KEY")


def _sign(commands: _Commands[Parser]) -> None:
    made = _command(
        commands,
        "sign",
        "sign what was built, in cosign's format: the image and the manifest that names it",
        "signing:sign",
    )
    _folder(made)
    made.add_argument(
        "--signing-key", type=Path, metavar="FILE", help="default: ARCHIPELAG_CARGO_KEY"
    )
    _json(made)


def _push(commands: _Commands[Parser]) -> None:
    made = _command(
        commands,
        "push",
        "send image, manifest and signatures to an OCI registry",
        "pushing:push_cargo",
    )
    _folder(made)
    _registry(made)
    _json(made)


def _submit(commands: _Commands[Parser]) -> None:
    submit = _command(
        commands,
        "submit",
        "hand a pushed Cargo in to a network, to be checked and listed",
        "submitting:submit",
    )
    _folder(submit)
    _registry(submit)
    _json(submit)
    _json(
        _command(commands, "list", "list the Cargos that you have submitted", "submitting:listing")
    )
    status = _command(
        commands, "status", "show where a submitted Cargo stands, and why", "submitting:status"
    )
    status.add_argument("id", help="what `submit` printed")
    status.add_argument("--wait", action="store_true", help="until it is listed or refused")
    _json(status)


def _review(commands: _Commands[Parser]) -> None:
    made = _command(
        commands,
        "review",
        "for operators: pull what was submitted, check it, run it in the sandbox and report to the "
        "Coordinator, which never touches a stranger's bytes itself; needs an API key with the scope `admin`",
        "reviewing:review",
    )
    made.add_argument("--once", action="store_true", help="what is there now, then end")
    made.add_argument(
        "--interval-s", type=float, default=10.0, metavar="S", help="between looks (10)"
    )
    made.add_argument(
        "--plain-http", action="append", default=[], metavar="HOST", help="a registry without TLS"
    )
    made.add_argument(
        "--image-mb-max", type=int, default=4096, metavar="MB", help="refuse larger images (4096)"
    )
    _json(made)


def _folder(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "folder", nargs="?", type=Path, default=Path(), help="the Cargo's folder (default: here)"
    )


def _json(made: argparse.ArgumentParser) -> None:
    made.add_argument("--json", action="store_true", help="JSON on standard output, for programs")


def _registry(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--registry",
        default="",
        metavar="HOST[:PORT]",
        help="where a repository without a host lies (default: ARCHIPELAG_REGISTRY)",
    )
    made.add_argument(
        "--plain-http", action="append", default=[], metavar="HOST", help="a registry without TLS"
    )


def _command(
    commands: _Commands[Parser], name: str, about: str, place: str
) -> argparse.ArgumentParser:
    short = about.partition(":")[0].partition(";")[0]
    made = commands.add_parser(name, help=short, description=about[0].upper() + about[1:] + ".")
    made.set_defaults(run=_late(place))
    return made


def _late(place: str) -> Callable[[argparse.Namespace], int | None]:
    module, _, function = place.partition(":")

    def run(arguments: argparse.Namespace) -> int | None:
        found = import_module(f"archipelag_kit.commands.{module}")
        result: int | None = getattr(found, function)(arguments)
        return result

    return run
