"""The Coordinator's command line: serve, and what an operator does once before."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import nats.errors
import psycopg
from archipelag_contracts import logs, traces
from archipelag_contracts.commands import Parser, of_file
from archipelag_contracts.errors import ContractError
from archipelag_contracts.output import to_the_end
from archipelag_contracts.tiers import TRUST_MAX

from archipelag_coordinator import (
    __version__,
    backup,
    commands,
    config,
    open_files,
    releasing,
    workers,
)
from archipelag_coordinator.adapters.files_folder import FilesFolder, FolderRefused
from archipelag_coordinator.adapters.nats.credentials import KeysUnusable
from archipelag_coordinator.adapters.postgres.dump import DumpFailed
from archipelag_coordinator.adapters.postgres.restored import NotEmpty
from archipelag_coordinator.admin import COLUMNS, Admin, cell, table
from archipelag_coordinator.backup_files import Bytes
from archipelag_coordinator.clock import SystemClock
from archipelag_coordinator.domain.user import Role
from archipelag_coordinator.errors import CoordinatorError
from archipelag_coordinator.services.bootstrap import FIRST_USER

DESCRIPTION = """\
The control plane of an Archipelag network.

First start, against your own PostgreSQL and NATS:

  archipelag-coordinator keys init --state-dir /var/lib/archipelag
  archipelag-coordinator broker-config --state-dir /var/lib/archipelag > nats.conf   # include it in the server's
  archipelag-coordinator migrate
  archipelag-coordinator bootstrap --email you@example.org --new-key --pairing-code --cargo MANIFEST
  archipelag-coordinator serve
"""
SETTINGS = """\
settings, from the environment:
  ARCHIPELAG_DATABASE_URL        postgresql://…                               required
  ARCHIPELAG_NATS_URL            nats://host:port, several by comma           required
  ARCHIPELAG_STATE_DIR           folder with the network's keys               required
  ARCHIPELAG_HTTP_HOST, _PORT    where the API listens                        127.0.0.1, 8420
  ARCHIPELAG_GRPC_HOST, _PORT    where Islands enrol                          127.0.0.1, 8421
  ARCHIPELAG_WORKERS             processes that share these ports             1
  ARCHIPELAG_WORKER_PORT         where each answers by itself, counted up     nowhere
  ARCHIPELAG_BROKER_PUBLIC_URLS  where Islands reach NATS, by comma           as ARCHIPELAG_NATS_URL
  ARCHIPELAG_REGION              where it stands, in a network of several     one region
  ARCHIPELAG_NATS_REPLICAS       servers of a cluster that keep the streams   1
  ARCHIPELAG_DATABASE_POOL_MAX   connections to PostgreSQL                    16
  ARCHIPELAG_REGISTRY            host of images whose names have none         none
  ARCHIPELAG_PUBLIC_URL          where people reach it; links in mails        http://HTTP_HOST:HTTP_PORT
  ARCHIPELAG_SMTP_URL            smtps://user:password@host, for sign-in mail none
  ARCHIPELAG_MAIL_FROM           whom that comes from
  ARCHIPELAG_OIDC_ISSUER, _CLIENT_ID, _CLIENT_SECRET
                                 a provider of sign-in by OpenID Connect      none
  ARCHIPELAG_RELEASES_DIR        releases of the Island's software to hand out none
  ARCHIPELAG_LOG_LEVEL           DEBUG, INFO, WARNING or ERROR                INFO
  ARCHIPELAG_LOG_FORMAT          text or json                                 text
  ARCHIPELAG_METRICS_TOKEN       what Prometheus shows at /metrics            this machine only
  ARCHIPELAG_NATS_MONITOR_URLS   http://host:8222, told at /metrics too       none
  ARCHIPELAG_TRACES_URL, _TRACES_SAMPLED
                                 OTLP over HTTP; which part, 0 to 1           none, 0
  ARCHIPELAG_POLICY_<NAME>       every limit and interval of domain/policy.py, for example
                                 ARCHIPELAG_POLICY_REQUESTS_PER_MINUTE=600
"""
UNDONE = (backup.BackupRefused, FolderRefused, DumpFailed, NotEmpty)


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed with a message, 2 wrong usage."""
    return to_the_end(lambda: _main(argv))


def _main(argv: list[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        return _run(arguments)
    except BrokenPipeError:
        raise
    except (CoordinatorError, ContractError, KeysUnusable, OSError, ValueError, *UNDONE) as error:
        told = of_file(error) if isinstance(error, OSError) else error
        print(f"archipelag-coordinator: {told}", file=sys.stderr)
    except psycopg.Error as error:
        print(f"archipelag-coordinator: PostgreSQL: {error}", file=sys.stderr)
    except nats.errors.Error as error:
        print(f"archipelag-coordinator: NATS: {error!r}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "archipelag-coordinator",
        description=DESCRIPTION,
        epilog=SETTINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    sub = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = sub.add_parser("serve", help="run the Coordinator until SIGTERM")
    serve.add_argument("--worker", type=int, default=0, help=argparse.SUPPRESS)
    migrate = sub.add_parser("migrate", help="bring the database to the newest schema")
    migrate.add_argument(
        "--post", action="store_true", help="also what must wait until no older Coordinator runs"
    )
    sub.add_parser("doctor", help="what is wrong with this network, and what to do about it")
    _add_backup(sub)
    _add_admin(sub.add_parser("admin", help="Islands, people and credits of the running network"))
    _add_trust(sub)
    boot = sub.add_parser("bootstrap", help="first user, key, pairing code and Cargos; idempotent")
    boot.add_argument("--json", action="store_true", help="print one JSON object")
    boot.add_argument("--new-key", action="store_true", help="make an API key and print it once")
    boot.add_argument("--pairing-code", action="store_true", help="make a code for one Island")
    boot.add_argument("--cargo", type=Path, action="append", default=[], metavar="MANIFEST")
    boot.add_argument(
        "--email",
        default=FIRST_USER,
        help="the first administrator's address, to sign in by; default: %(default)s",
    )
    user = sub.add_parser("user", help="people")
    user.add_argument(
        "action", choices=["add"], help="make a user with a key, printed once as JSON"
    )
    user.add_argument("--email", required=True)
    user.add_argument("--credits", default="0", help="given at the start, decimal")
    user.add_argument(
        "--rate", type=int, help="requests a minute of the key; default: the network's"
    )
    user.add_argument(
        "--role", choices=[role.value for role in Role], default=Role.USER.value,
        help="of a user who is new; default: %(default)s",
    )  # fmt: skip
    releasing.add_commands(sub.add_parser("release", help="the Island's own software"))
    cargo = sub.add_parser("cargo", help="the catalogue")
    cargo.add_argument("action", choices=["publish"], help="sign and list a version")
    cargo.add_argument("manifest", type=Path)
    cargo.add_argument(
        "--trust", type=int, choices=range(TRUST_MAX + 1), default=TRUST_MAX,
        help="decides which sandbox tiers it may have; default: %(default)s",
    )  # fmt: skip
    return parser


def _add_trust(sub: argparse._SubParsersAction[Parser]) -> None:
    keys = sub.add_parser("keys", help="the network's private keys")
    keys.add_argument(
        "action",
        choices=["init", "link", "unlink"],
        help="init: make those that are missing; link: write what a region's broker shows to another's; "
        "unlink: take that back for good",
    )
    keys.add_argument("--region", help="of link and unlink: whose broker it is")
    keys.add_argument(
        "--number", type=int, default=1, metavar="N",
        help="of link and unlink: 2 for the region's next link when the first was taken back, and so on",
    )  # fmt: skip
    keys.add_argument("--to", type=Path, metavar="FOLDER", help="of link: where to write it, 0700")
    broker = sub.add_parser("broker-config", help="print the NATS server's part of the trust")
    keys.add_argument("--state-dir", type=Path, help="of init and link: folder of the keys, 0700")
    broker.add_argument("--state-dir", type=Path, required=True, help="folder of the keys, 0700")
    broker.add_argument(
        "--resolver-dir", type=Path, metavar="FOLDER",
        help="the broker's own, for what Coordinators tell it; default: accounts in the keys' folder",
    )  # fmt: skip
    broker.add_argument("--to", type=Path, metavar="FILE", help="write it there")
    joins = broker.add_mutually_exclusive_group()
    joins.add_argument(
        "--accept-links", type=int, default=0, metavar="PORT",
        help="where brokers of other regions may join this one",
    )  # fmt: skip
    joins.add_argument(
        "--link", action="append", default=[], metavar="URL",
        help="nats-leaf://host:port of another region's broker, to join it; again for each of its servers",
    )  # fmt: skip
    broker.add_argument(
        "--link-dir", type=Path, default=commands.Links.folder, metavar="FOLDER",
        help="where the broker finds what `keys link` wrote; default: %(default)s",
    )  # fmt: skip


def _add_backup(sub: argparse._SubParsersAction[Parser]) -> None:
    out = sub.add_parser("backup", help="write the database to a file while the network runs")
    back = sub.add_parser("restore", help="bring such a file into an empty database, and check it")
    out.add_argument(
        "file", type=Path, metavar="FILE", help="or a folder, where it gets a name by the time"
    )
    back.add_argument("file", type=Path, metavar="FILE")
    for one in (out, back):
        one.add_argument(
            "--passphrase-file", type=Path, metavar="PATH",
            help="its first line encrypts the backup",
        )  # fmt: skip
        one.add_argument(
            "--files", type=Path, metavar="FOLDER",
            help="the bytes of customers' files too: one folder for all backups, each file once",
        )  # fmt: skip
    back.add_argument(
        "--keep-sessions",
        action="store_true",
        help="leave people signed in, those too who signed out since the backup",
    )


def _add_admin(parser: argparse.ArgumentParser) -> None:
    """Over the HTTP API: ARCHIPELAG_API_URL, and ARCHIPELAG_API_KEY of an administrator."""
    parser.description = _add_admin.__doc__
    acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
    lists = {
        "islands": acts.add_parser("islands", help="every Island"),
        "users": acts.add_parser("users", help="people"),
        "cargos": acts.add_parser("cargos", help="Cargos, those that wait to be reviewed too"),
    }
    lists["users"].add_argument("search", nargs="?", help="part of an address, or an id")
    lists["cargos"].add_argument("--status", help="for example submitted")
    for one in lists.values():
        one.add_argument("--json", action="store_true", help="the same for programs")
    for act, what in (
        ("approve", "let an Island take work"),
        ("suspend", "cut an Island off; its work goes to others"),
        ("restore", "let a suspended Island come back"),
    ):
        acts.add_parser(act, help=what).add_argument("island", metavar="ISLAND")
    grant = acts.add_parser("grant", help="give credits to somebody")
    grant.add_argument("user", metavar="USER", help="usr_… or an address")
    grant.add_argument("credits", metavar="CREDITS", help="decimal")
    grant.add_argument("--cause", help="the same cause gives the same person nothing twice")


def _run(arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "keys":
            print(_keys(arguments))
        case "broker-config":
            folder, own = arguments.state_dir.absolute(), arguments.resolver_dir
            joined = commands.Links(
                arguments.accept_links, tuple(arguments.link), arguments.link_dir
            )
            print(commands.broker_config(folder, own, arguments.to, joined))
        case "migrate":
            print(commands.migrate_database(config.read(os.environ), post=arguments.post))
        case "bootstrap":
            wanted = commands.Wanted(
                arguments.new_key,
                arguments.pairing_code,
                tuple(arguments.cargo),
                email=arguments.email,
            )
            made = asyncio.run(commands.bootstrap(config.read(os.environ), wanted))
            if arguments.json:
                print(json.dumps(made))
            else:
                print("\n".join(f"{name}: {value}" for name, value in made.items()))
        case "user":
            settings = config.read(os.environ)
            role = Role(arguments.role)
            asked = commands.add_user(
                settings, arguments.email, arguments.credits, arguments.rate, role
            )
            print(json.dumps(asyncio.run(asked)))
        case "cargo":
            settings = config.read(os.environ)
            published = commands.publish_cargo(settings, arguments.manifest, arguments.trust)
            print(asyncio.run(published))
        case "release":
            print(releasing.run(arguments, SystemClock()))
        case "admin":
            print("\n".join(_admin(arguments, Admin(config.read_admin(os.environ)))))
        case "backup" | "restore":
            return asyncio.run(_back_up(arguments, config.read(os.environ)))
        case "doctor":
            return asyncio.run(_doctor())
        case "serve":
            return _serve(config.read(os.environ), arguments.worker)
    return 0


def _keys(arguments: argparse.Namespace) -> str:
    if arguments.action == "unlink":
        if not arguments.region:
            raise ValueError("keys unlink needs --region")
        link = commands.link_of(arguments.region, arguments.number)
        return asyncio.run(commands.unlink(config.read(os.environ), link))
    if arguments.state_dir is None:
        raise ValueError(f"keys {arguments.action} needs --state-dir")
    folder = arguments.state_dir.absolute()
    if arguments.action == "init":
        return commands.init_keys(folder)
    if not arguments.region or arguments.to is None:
        raise ValueError("keys link needs --region and --to")
    link = commands.link_of(arguments.region, arguments.number)
    return commands.link_keys(folder, link, arguments.to)


def _admin(arguments: argparse.Namespace, admin: Admin) -> list[str]:
    match arguments.act:
        case "islands":
            rows = admin.islands()
        case "users":
            rows = admin.users(arguments.search)
        case "cargos":
            rows = admin.cargos(arguments.status)
        case "grant":
            # Without a cause of its own, each command is another grant.
            cause = arguments.cause or f"by command at {SystemClock().now().isoformat()}"
            told = admin.grant(arguments.user, arguments.credits, cause)
            if not told["granted"]:
                return [f"nothing: {cell(told['email'])} had that cause's credits before"]
            return [f"{cell(told['email'])} has {told['credits']} credits now"]
        case act:
            told = admin.move_island(arguments.island, act)
            approved = "approved" if told["approved"] else "not approved"
            return [f"{told['id']} ({cell(told['name'])}): {told['status']}, {approved}"]
    if arguments.json:
        return [json.dumps(rows, indent=2)]
    return table(COLUMNS[arguments.act], rows)


async def _back_up(arguments: argparse.Namespace, settings: config.Settings) -> int:
    from archipelag_coordinator.compose import opened_blobs

    dsn, file = settings.database_url, arguments.file
    passphrase = backup.passphrase_of(arguments.passphrase_file)
    out = arguments.command == "backup"
    async with AsyncExitStack() as stack:
        files = None
        if arguments.files is not None:
            open_folder = FilesFolder.made if out else FilesFolder.found
            folder = await asyncio.to_thread(open_folder, arguments.files, passphrase)
            files = Bytes(await stack.enter_async_context(opened_blobs(settings)), folder)
        if out:
            path = backup.named(file, SystemClock().now())
            told = await backup.backup(dsn, path, passphrase, files)
            told["noted"] = await commands.note_backup(settings, told)
        else:
            told = await backup.restore(
                dsn,
                file,
                SystemClock(),
                passphrase,
                end_sessions=not arguments.keep_sessions,
                files=files,
            )
    print(json.dumps(told, indent=2))
    if not backup.whole(told):
        print("archipelag-coordinator: not all of it is whole, see above", file=sys.stderr)
        return 1
    return 0


async def _doctor() -> int:
    from archipelag_coordinator import doctor

    logging.getLogger().setLevel(logging.ERROR)
    findings = await doctor.examine(os.environ, SystemClock())
    for finding in findings:
        print(f"{finding.state:<4} {finding.what}: {finding.found}")
        if finding.advice:
            print(f"     → {finding.advice}")
    return int(any(finding.state is doctor.State.FAIL for finding in findings))


def _serve(settings: config.Settings, worker: int) -> int:
    """`worker`: which of several this process is; 0: the parent of them, or the only one."""
    logs.set_up(
        settings.log_level,
        settings.log_format,
        sys.stderr,
        traces.trace_id if settings.traces_url else lambda: "",
    )
    if settings.workers > 1 and not worker:
        return asyncio.run(workers.supervise(settings.workers))
    if worker:
        settings = replace(settings, worker=worker)
        workers.end_with_parent()

    open_files.raise_limit()

    import uvloop

    from archipelag_coordinator.compose import serve

    logging.getLogger(__name__).info("coordinator_starting %s", settings.describe())
    uvloop.run(serve(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
