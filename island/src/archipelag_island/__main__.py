"""The agent's command: `archipelag-island join | run | status | earnings | drain | resume | doctor`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Final

from archipelag_contracts import logs, traces
from archipelag_contracts.commands import Parser
from archipelag_contracts.ids import IslandId
from archipelag_contracts.output import to_the_end

from archipelag_island import config
from archipelag_island.adapters import (
    doctor,
    earnings_page,
    live,
    orders,
    probe,
    status,
    status_page,
)
from archipelag_island.adapters.account import Account, span
from archipelag_island.adapters.enrolment import GrpcEnrolment
from archipelag_island.adapters.identity import Home
from archipelag_island.agent import Agent
from archipelag_island.clock import SystemClock
from archipelag_island.config import Settings
from archipelag_island.errors import IslandError, NotRunning, WrongUsage
from archipelag_island.services.drain import Progress

JOIN_HELP: Final = """\
Joins the network whose Coordinator is at HOST:PORT (https:// in front for TLS) with a pairing code from your account.
Both are kept: `run` needs neither. What is missing is asked for at a terminal.

exit status:
  0  it has joined, now or before
  1  the code was refused, no Coordinator answers there, or a setting or the folder of this Island is unfit
  2  a word is missing and nobody can be asked for it, or HOST:PORT is no address
"""
DRAIN_HELP: Final = """\
Takes no more work from this instant. What runs may finish for a while; what still runs then is handed over: another
Island goes on at the next position, and the reader does not notice. The drain lasts until `archipelag-island resume`
or until the agent ends: a restarted agent takes work. The command may be broken off, the drain goes on.

exit status:
  0  nothing runs any more and every report is delivered (--no-wait: the order was taken)
  1  no agent runs there, or it could not be asked
  3  something still runs, or a report still waits for the broker
  4  somebody resumed meanwhile
"""
DRAIN_LOOK_S: Final = 0.25
DRAIN_TELL_S: Final = 5.0
# After the time is up: to end what runs and to bring the last reports away.
DRAIN_GRACE_S: Final = 15.0
DAYS_MAX: Final = 366
STILL_RUNS: Final = 3
RESUMED: Final = 4
DRAINED_AFAR: Final = 5


def _help() -> str:
    lines = ["settings, from the environment:"]
    for name, default, meaning in config.SETTINGS:
        shown = f"{meaning} ({default})" if default else meaning
        lines.append(f"  ARCHIPELAG_{name:<24} {shown}".replace("`", ""))
    return "\n".join(
        [
            *lines,
            "",
            "first start:",
            "  archipelag-island join host:8421 ABC234",
            "  archipelag-island run",
            "",
            "exit status:",
            "  0 done   1 failed   2 wrong usage   130 interrupted; `drain --help` and `join --help` say more",
        ]
    )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="archipelag-island",
        description="Lends this machine to the Archipelag network: takes signed work, runs it, streams it back.",
        epilog=_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=probe.agent_version())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    join = commands.add_parser(
        "join",
        help="join the network with a pairing code, once",
        description=JOIN_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    join.add_argument("coordinator", nargs="?", metavar="HOST:PORT")
    join.add_argument("code", nargs="?", metavar="CODE")
    join.add_argument("--name", help="what people call this machine (default: its host name)")
    run = commands.add_parser("run", help="enrol if needed, then work until stopped")
    run.add_argument("--verbose", action="store_true", help="log more")
    told = commands.add_parser(
        "status", help="what the running agent is doing, each rule and cap with its reading"
    )
    told.add_argument("--json", action="store_true", help="the same for programs")
    told.add_argument("--once", action="store_true", help="print it and end, at a terminal too")
    earned = commands.add_parser(
        "earnings", help="what this Island earned, by day and by Cargo; needs a key of its owner's"
    )
    earned.add_argument("--days", type=_days, default=30, help="up to today (default: 30)")
    earned.add_argument("--json", action="store_true", help="the same for programs")
    stop = commands.add_parser(
        "drain",
        help="take no more work; finish or hand over what runs",
        description=DRAIN_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    when = stop.add_mutually_exclusive_group()
    when.add_argument(
        "--within", type=_seconds, metavar="SECONDS",
        help="let runs finish for so long (default: ARCHIPELAG_ISLAND_DRAIN_S of the agent, 60)",
    )  # fmt: skip
    when.add_argument(
        "--now", dest="within", action="store_const", const=0.0, help="hand over at once"
    )
    stop.add_argument(
        "--wait", action=argparse.BooleanOptionalAction, default=True,
        help="stay until nothing runs, and show how far it is",
    )  # fmt: skip
    commands.add_parser("resume", help="take work again after a drain")
    commands.add_parser(
        "doctor", help="what keeps this Island from working, and what to do about it"
    )
    commands.add_parser("enrol", help="join the network, without starting work")
    return parser


def _days(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= DAYS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to {DAYS_MAX} days")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= config.DRAIN_S_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not 0 to {config.DRAIN_S_MAX} seconds")
    return value


def main(arguments: list[str] | None = None) -> int:
    return to_the_end(lambda: _main(arguments))


def _main(arguments: list[str] | None) -> int:
    chosen = _parser().parse_args(arguments)
    try:
        settings = config.read(os.environ)
        _set_up_log(settings, chosen)
        match chosen.command:
            case "run":
                return asyncio.run(_run(settings))
            case "join":
                return asyncio.run(_join(settings, chosen.coordinator, chosen.code, chosen.name))
            case "status":
                return _status(settings, as_json=chosen.json, once=chosen.once)
            case "earnings":
                return _earnings(settings, chosen.days, as_json=chosen.json)
            case "drain":
                return asyncio.run(_drain(settings.home, chosen.within, wait=chosen.wait))
            case "resume":
                return _resume(settings.home)
            case "doctor":
                return asyncio.run(_doctor(settings))
            case _:
                return asyncio.run(_enrol(settings))
    except IslandError as error:
        print(f"archipelag-island: {error}", file=sys.stderr)
        return 2 if isinstance(error, WrongUsage) else 1
    except KeyboardInterrupt:
        print("archipelag-island: broken off", file=sys.stderr)
        return 130


def _set_up_log(settings: Settings, chosen: argparse.Namespace) -> None:
    level = logging.DEBUG if getattr(chosen, "verbose", False) else logging.INFO
    if chosen.command != "run":
        level = logging.WARNING
    follows = bool(settings.traces_url)
    logs.set_up(level, settings.log_format, trace_id=traces.trace_id if follows else lambda: "")


async def _run(settings: Settings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    log = logging.getLogger("archipelag_island")
    log.info(
        "starting version=%s home=%s slots=%d", probe.agent_version(), settings.home, settings.slots
    )
    log.debug("starting settings=%s", settings)
    await Agent(settings).run(stop)
    return 0


async def _enrol(settings: Settings) -> int:
    standing = await Agent(settings).enrol()
    print(f"enrolled as {standing.island_id}")
    if not standing.approved:
        print("an operator has yet to approve this Island; it gets no work until then")
    return 0


async def _doctor(settings: Settings) -> int:
    findings = await doctor.examine(settings, SystemClock())
    for finding in findings:
        print(f"{finding.state:<4} {finding.what}: {finding.found}")
        if finding.advice:
            print(f"     → {finding.advice}")
    return 0 if all(finding.well for finding in findings) else 1


async def _join(
    settings: Settings, coordinator: str | None, code: str | None, name: str | None
) -> int:
    home = Home(settings.home)
    home.prepare()
    if (standing := home.load()) is not None:
        print(f"already joined as {standing.island_id}; start it with `archipelag-island run`")
        print("to join another network, set ARCHIPELAG_ISLAND_HOME to another folder")
        return 0
    if (
        coordinator
        and not code
        and ":" not in coordinator
        and home.coordinator(settings.coordinator)
    ):
        # The address is known from the last try: only the code is new.
        coordinator, code = None, coordinator
    coordinator = coordinator or home.coordinator(settings.coordinator)
    coordinator = coordinator or _asked("Coordinator (host:port)", "HOST:PORT")
    if ":" not in coordinator:
        raise WrongUsage(f"{coordinator!r} is no HOST:PORT: archipelag-island join HOST:PORT CODE")
    code = config.plain_code(code or settings.pairing_code or _asked("Pairing code", "CODE"))
    settings = replace(
        settings, coordinator=coordinator, pairing_code=code, name=(name or settings.name)[:100]
    )
    # Somebody waits at a terminal: an address that is wrong is told at once, and not tried for ever.
    await GrpcEnrolment(coordinator, home.key()).reachable()
    status = await _enrol(settings)
    print("start it with `archipelag-island run`")
    return status


def _asked(question: str, name: str) -> str:
    """Raises WrongUsage where nobody can be asked."""
    if not sys.stdin.isatty():
        raise WrongUsage(f"{name} is missing: archipelag-island join HOST:PORT CODE")
    try:
        return input(f"{question}: ").strip()
    except EOFError:
        raise WrongUsage(f"{name} is missing") from None


def _status(settings: Settings, *, as_json: bool, once: bool) -> int:
    home = settings.home
    told = status.read(home)
    if told is None:
        raise NotRunning(f"no agent runs with {home}; start it with `archipelag-island run`")
    if as_json:
        print(json.dumps(told, indent=2))
        return 0
    known = _of_account(settings, str(told["island_id"]))
    if once or not sys.stdout.isatty():
        print("\n".join([*_page(home), *known]))
        return 0
    live.watch(lambda: [*_page(home), *known], sys.stdout, Event().wait)
    return 0


def _page(home: Path) -> list[str]:
    told = status.read(home)
    if told is None:
        return [f"no agent runs with {home} any more"]
    if not status.is_ours(told):
        return [
            f"an agent of another version runs, process {told['pid']}: start it again to see more"
        ]
    return status_page.page(told, SystemClock().now())


def _of_account(settings: Settings, island: str) -> list[str]:
    """Nothing without a key. Asked once: karma moves by the hour."""
    if not settings.api_key:
        return []
    try:
        account = Account(settings.api_url, settings.api_key, IslandId(island))
        return ["", *status_page.of_account(account.karma(), account.why())]
    except IslandError as error:
        return ["", f"karma is not known: {error}"]


def _earnings(settings: Settings, days: int, *, as_json: bool) -> int:
    standing = Home(settings.home).load()
    if standing is None:
        raise NotRunning(
            "this Island has not joined a network yet: `archipelag-island join HOST:PORT CODE`"
        )
    account = Account(settings.api_url, settings.api_key, standing.island_id)
    first, last = span(days, SystemClock().now().date())
    by_day = account.earnings("day", first, last)
    by_cargo = account.earnings("workload", first, last)
    if as_json:
        print(json.dumps(earnings_page.told(by_day, by_cargo), indent=2))
    else:
        print("\n".join(earnings_page.page(by_day, by_cargo)))
    return 0


def _resume(home: Path) -> int:
    far = orders.order(home, "resume")
    if far.afar:
        print(
            "it stays drained: so it was ordered on its page in the network; resume it there, "
            "or start it with ARCHIPELAG_ISLAND_REMOTE_ORDERS=no",
            file=sys.stderr,
        )
        return DRAINED_AFAR
    print("takes work again, unless a rule pauses it; see `archipelag-island status`")
    return 0


async def _drain(home: Path, within_s: float | None, *, wait: bool) -> int:
    details = {} if within_s is None else {"within_s": within_s}
    far = orders.order(home, "drain", **details)
    print(_far(far), flush=True)
    if not wait:
        return 0
    loop = asyncio.get_running_loop()
    until, told, told_at = loop.time() + far.left_s + DRAIN_GRACE_S, far, loop.time()
    while (far.runs or far.undelivered) and loop.time() < until:
        await asyncio.sleep(DRAIN_LOOK_S)
        try:
            far = orders.order(home, "progress")
        except NotRunning:
            print("the agent has ended; what it held it reports when it starts again")
            return 0
        if far.runs:
            # Somebody else may have given it more time.
            until = max(until, loop.time() + far.left_s + DRAIN_GRACE_S * bool(far.left_s))
        if not far.draining:
            print("somebody resumed it meanwhile: it takes work again", file=sys.stderr)
            return RESUMED
        if far.runs != told.runs or loop.time() - told_at >= DRAIN_TELL_S:
            print(_far(far), flush=True)
            told, told_at = far, loop.time()
    if far.runs or far.undelivered:
        print(f"gave up waiting: {_far(far)}", file=sys.stderr)
        return STILL_RUNS
    over = f", {far.handed_over} handed over" if far.handed_over else ""
    print(f"drained{over}; `archipelag-island resume` takes work again")
    return 0


def _far(far: Progress) -> str:
    if not far.runs:
        return f"nothing runs, {far.undelivered} reports to deliver"
    left = f"handed over in {far.left_s:.0f} s" if far.left_s else "being handed over"
    return f"{far.runs} still run, {left}"


if __name__ == "__main__":
    sys.exit(main())
