"""The commands that list, show, make and end things."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import date

from archipelag import AuthenticationError, Client, Earning, PermissionDeniedError, Workload
from archipelag.cli import printing


def models(client: Client, arguments: argparse.Namespace) -> None:
    found = client.list_models()
    if arguments.format == "json":
        printing.as_json(found)
        return
    rows = [(model.id, model.kind, model.owned_by) for model in found]
    printing.table(("MODEL", "KIND", "BY"), rows, "No model is on offer.")


def workloads(client: Client, arguments: argparse.Namespace) -> None:
    if arguments.slug:
        _workload(client.get_workload(arguments.slug), arguments)
        return
    found = client.list_workloads()
    if arguments.format == "json":
        printing.as_json(found)
        return
    rows = [
        (
            one.slug,
            one.kind,
            printing.credits_text(one.price_per_job),
            printing.short(one.description, 60),
        )
        for one in found
    ]
    printing.table(("CARGO", "KIND", "PER JOB", "WHAT IT DOES"), rows, "No Cargo is listed.")


def _workload(found: Workload, arguments: argparse.Namespace) -> None:
    """With its input's schema, which is what one needs to ask for it."""
    shown = {name: found.raw.get(name) for name in ("input_schema", "example", "price")}
    if arguments.format == "json":
        printing.as_json(printing.plain(found) | shown)
        return
    printing.facts(
        {
            "workload": found.slug,
            "name": found.name,
            "about": found.description,
            "kind": found.kind,
            "model": found.model or "–",
            **{
                f"price {name.replace('_', ' ')}": f"{value} credits"
                for name, value in (shown["price"] or {}).items()
            },
        }
    )
    for name in ("input_schema", "example"):
        if shown[name]:
            told = json.dumps(shown[name], indent=2, ensure_ascii=False)
            print(f"\n{printing.bold(name.replace('_', ' '))}\n{printing.clean(told)}")


def islands(client: Client, arguments: argparse.Namespace) -> None:
    if arguments.id:
        arguments.id = _id_of(client, arguments.id)
        _island(client, arguments)
        return
    found = client.list_islands()
    if arguments.format == "json":
        printing.as_json(found)
        return
    rows = [(one.name, one.status, one.region or "–", one.id) for one in found]
    printing.table(("ISLAND", "STATUS", "REGION", "ID"), rows, "No Island is connected.")


def _id_of(client: Client, given: str) -> str:
    """An Island's id, also by its name. Raises ValueError where several have that name."""
    if given.startswith("isl_"):
        return given
    found = [one.id for one in client.list_islands() if given in (one.name, one.id)]
    if len(found) > 1:
        raise ValueError(f"{len(found)} Islands are called {given}; name one by its id")
    return found[0] if found else given


def _island(client: Client, arguments: argparse.Namespace) -> None:
    if arguments.earnings:
        _earnings(client.get_island_earnings(arguments.id, by=arguments.by), arguments)
        return
    if arguments.why:
        reasons = client.why_island(arguments.id)
        if arguments.format == "json":
            printing.as_json(reasons)
            return
        print("It gets work." if reasons.gets_work else "It gets no work now:")
        for one in reasons.reasons:
            print(f"  {printing.clean(one.reason)}")
        return
    found, karma = client.get_island(arguments.id), client.get_island_karma(arguments.id)
    if arguments.format == "json":
        printing.as_json(
            printing.plain(found) | {"karma": karma, "cargos": found.raw.get("cargos")}
        )
        return
    printing.facts(
        {
            "Island": found.name,
            "id": found.id,
            "status": found.status,
            "region": found.region or "–",
            "karma": f"{karma.points:g} ({karma.tier})",
        }
    )
    offers = found.raw.get("cargos") or []
    rows = [(str(one.get("slug")), str(one.get("state")), f"{one.get('slots')}") for one in offers]
    print()
    printing.table(("CARGO", "STATE", "SLOTS"), rows, "It offers nothing.")


def _earnings(found: tuple[Earning, ...], arguments: argparse.Namespace) -> None:
    if arguments.format == "json":
        printing.as_json(found)
        return
    rows = [
        (
            str(one.day or one.workload or ""),
            str(one.attempts),
            str(one.output_items),
            printing.credits_text(one.credits),
            printing.credits_text(one.owed),
        )
        for one in found
    ]
    printing.table(
        ("WHEN", "ATTEMPTS", "ITEMS", "PAID", "OWED"), rows, "It has earned nothing yet."
    )


def account(client: Client, arguments: argparse.Namespace) -> None:
    found = client.get_account()
    if arguments.format == "json":
        printing.as_json(found)
        return
    printing.facts(
        {
            "account": found.id,
            "mail": found.email or "–",
            "credits": printing.credits_text(found.credits),
            "since": printing.moment(found.created_at),
        }
    )


def status(client: Client, arguments: argparse.Namespace) -> None:
    version, stats = client.get_version(), client.get_stats()
    try:
        left = printing.credits_text(client.get_account().credits)
    except (AuthenticationError, PermissionDeniedError):
        left = "no API key that may tell"
    if arguments.format == "json":
        printing.as_json(
            {
                "url": ", ".join(client.settings.addresses),
                "version": version,
                "online_islands": stats.online_islands,
                "jobs_completed": stats.jobs_completed,
            }
        )
        return
    printing.facts(
        {
            "network": ", ".join(client.settings.addresses),
            "version": version or "not told",
            "Islands": str(stats.online_islands),
            "jobs done": str(stats.jobs_completed),
            "your credits": left,
        }
    )


def balance(client: Client, arguments: argparse.Namespace) -> None:
    found = client.get_account()
    shown = {"credits": found.credits, "held": found.held, "available": found.available}
    if arguments.format == "json":
        printing.as_json(shown)
        return
    printing.facts({name: printing.credits_text(amount) for name, amount in shown.items()})


def usage(client: Client, arguments: argparse.Namespace) -> None:
    found = client.get_usage(
        since=_day("--since", arguments.since),
        until=_day("--until", arguments.until),
        by=arguments.by,
    )
    if arguments.format == "json":
        printing.as_json(found)
        return
    rows = [
        (
            str(one.day or one.key_name or one.key_id or one.workload or "–"),
            str(one.jobs),
            str(one.prompt_tokens),
            str(one.completion_tokens),
            printing.credits_text(one.credits),
        )
        for one in found
    ]
    titles = ((arguments.by or "day").upper(), "JOBS", "READ", "WRITTEN", "PRICE")
    printing.table(titles, rows, "Nothing was used in that time.")


def _day(name: str, given: str | None) -> date | None:
    try:
        return None if given is None else date.fromisoformat(given)
    except ValueError:
        raise ValueError(f"{name}: not a day such as 2026-11-27: {given!r}") from None


def transfers(client: Client, arguments: argparse.Namespace) -> None:
    found = tuple(client.list_transfers(limit=arguments.limit))
    if arguments.format == "json":
        printing.as_json(found)
        return
    rows = [
        (
            printing.moment(one.at),
            one.account,
            one.kind,
            f"{one.amount.normalize():f}",
            "–" if one.balance_after is None else f"{one.balance_after.normalize():f}",
            one.job_id or one.note or "",
        )
        for one in found
    ]
    titles = ("WHEN", "ACCOUNT", "KIND", "CREDITS", "BALANCE", "FOR")
    printing.table(titles, rows, "No credits have moved yet.")


def list_keys(client: Client, arguments: argparse.Namespace) -> None:
    found = client.list_keys()
    if arguments.format == "json":
        printing.as_json(found)
        return
    rows = [
        (
            key.id,
            key.name,
            f"{key.prefix}…",
            ",".join(key.scopes),
            "–"
            if key.budget is None
            else f"{key.used.normalize():f} of {key.budget.normalize():f}",
            "revoked" if key.revoked_at else printing.moment(key.created_at),
        )
        for key in found
    ]
    printing.table(("ID", "NAME", "KEY", "SCOPES", "BUDGET", "CREATED"), rows, "No keys.")


def create_key(client: Client, arguments: argparse.Namespace) -> None:
    scopes = arguments.scope or ["read", "write"]
    made = client.create_key(
        arguments.name, scopes, budget=arguments.budget, rate_per_minute=arguments.rate
    )
    if arguments.format == "json":
        printing.as_json(made)
        return
    # The secret alone on standard output, so that it can be piped to where it belongs.
    print(made.key or "")
    print("Keep it now: it is not shown again.", file=sys.stderr)


def change_key(client: Client, arguments: argparse.Namespace) -> None:
    made = client.update_key(
        arguments.id, name=arguments.name, budget=arguments.budget, rate_per_minute=arguments.rate
    )
    if arguments.format == "json":
        printing.as_json(made)
        return
    print(f"{made.id} is changed.")


def revoke_key(client: Client, arguments: argparse.Namespace) -> None:
    client.revoke_key(arguments.id)
    printing.done(arguments, f"{arguments.id} is revoked.", id=arguments.id, revoked=True)
