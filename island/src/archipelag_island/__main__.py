"""The agent's command: `archipelag-island run | status | doctor | enrol`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from archipelag_island import config
from archipelag_island.adapters import doctor, probe, status
from archipelag_island.agent import Agent
from archipelag_island.clock import SystemClock
from archipelag_island.config import Settings
from archipelag_island.errors import IslandError

HELP = """\
settings, from the environment:
  ARCHIPELAG_COORDINATOR           host:port of the Coordinator's enrolment (https://… for TLS)
  ARCHIPELAG_PAIRING_CODE          needed once, to enrol; made on the Coordinator, valid 10 minutes
  ARCHIPELAG_ISLAND_HOME           own folder: key, identity, journal (default ~/.archipelag/island)
  ARCHIPELAG_ISLAND_NAME           what you call this machine (default: its host name)
  ARCHIPELAG_MODEL_DIR             where weights lie (default: models in the own folder)
  ARCHIPELAG_ISLAND_SLOTS          runs at once (default 4)
  ARCHIPELAG_ISLAND_THREADS        threads of each Cargo (default: one fewer than the usable cores)
  ARCHIPELAG_ISLAND_CARGOS         the only Cargos that may run here, by slug, with commas (default: all)
  ARCHIPELAG_ISLAND_EXTRA_ENGINES  engines beyond those installed: name=python.package, with commas
  ARCHIPELAG_ISLAND_REGION         where this machine stands, e.g. eu-west

first start:
  ARCHIPELAG_COORDINATOR=host:8421 ARCHIPELAG_PAIRING_CODE=ABC234 archipelag-island run
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="archipelag-island",
        description="Lends this machine to the Archipelag network: takes signed work, runs it, streams it back.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=probe.agent_version())
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    run = commands.add_parser("run", help="enrol if needed, then work until stopped")
    run.add_argument("--verbose", action="store_true", help="log more")
    commands.add_parser("status", help="what the running agent is doing")
    commands.add_parser(
        "doctor", help="what keeps this Island from working, and what to do about it"
    )
    commands.add_parser("enrol", help="join the network, without starting work")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if getattr(chosen, "verbose", False) else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    if chosen.command != "run":
        logging.getLogger().setLevel(logging.WARNING)
    try:
        settings = config.read(os.environ)
        match chosen.command:
            case "run":
                return asyncio.run(_run(settings))
            case "status":
                return _status(settings.home)
            case "doctor":
                return asyncio.run(_doctor(settings))
            case _:
                return asyncio.run(_enrol(settings))
    except IslandError as error:
        print(f"archipelag-island: {error}", file=sys.stderr)
        return 1


async def _run(settings: Settings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    logging.getLogger("archipelag_island").info("starting settings=%s", settings)
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
        print(f"{'ok  ' if finding.well else 'FIX '} {finding.what}: {finding.found}")
        if finding.advice:
            print(f"     → {finding.advice}")
    return 0 if all(finding.well for finding in findings) else 1


def _status(home: Path) -> int:
    told = status.read(home)
    if told is None:
        print(f"no agent runs with {home}")
        return 1
    print(f"Island {told['island_id']} ({told['name']}), process {told['pid']}")
    print(f"  broker        {_broker(told)}")
    print(f"  takes work    {_work(told)}")
    print(f"  slots         {told['slots_free']} of {told['slots']} free")
    print(f"  so far        {told['completed']} completed, {told['refused']} refused")
    if told["unsettled"] > len(told["runs"]):
        print(f"  unsettled     {told['unsettled'] - len(told['runs'])} reports wait to be settled")
    for cargo in told["cargos"]:
        reason = f" ({cargo['reason']})" if cargo["reason"] else ""
        print(f"  Cargo         {cargo['slug']}: {cargo['state']}{reason}")
    if not told["cargos"]:
        print("  Cargo         none: no Cargo of the catalogue has an engine here")
    for run in told["runs"]:
        print(f"  runs          {run['job']} ({run['cargo']}), {run['items']} items")
    return 0


def _broker(told: dict[str, Any]) -> str:
    if not told["broker_connected"]:
        return "not connected; trying again"
    return f"connected, round trip {told['broker_rtt_us'] / 1000:.1f} ms"


def _work(told: dict[str, Any]) -> str:
    notice = f": {told['notice']}" if told["notice"] else ""
    if not told["coordinator_answers"]:
        return "no, no Coordinator answers"
    return f"yes{notice}" if told["accepts_work"] else f"no{notice}"


if __name__ == "__main__":
    sys.exit(main())
