"""The commands that list, show, make and end things."""

from __future__ import annotations

import argparse
import sys

from archipelag import AuthenticationError, Client, Job, PermissionDeniedError
from archipelag.cli import printing


def models(client: Client, arguments: argparse.Namespace) -> None:
    found = client.list_models()
    if arguments.json:
        printing.as_json(found)
        return
    rows = [(model.id, model.kind, model.owned_by) for model in found]
    printing.table(("MODEL", "KIND", "BY"), rows, "No model is on offer.")


def hosts(client: Client, arguments: argparse.Namespace) -> None:
    found = client.list_islands()
    if arguments.json:
        printing.as_json(found)
        return
    rows = [(host.name, host.status, host.region or "–", host.id) for host in found]
    printing.table(("ISLAND", "STATUS", "REGION", "ID"), rows, "No Island is connected.")


def account(client: Client, arguments: argparse.Namespace) -> None:
    found = client.get_account()
    if arguments.json:
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
    if arguments.json:
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


def list_jobs(client: Client, arguments: argparse.Namespace) -> None:
    found = tuple(client.list_jobs(limit=arguments.limit, status=arguments.status))
    if arguments.json:
        printing.as_json(found)
        return
    rows = [(job.id, job.status, job.workload, printing.moment(job.created_at)) for job in found]
    printing.table(("JOB", "STATUS", "WORKLOAD", "CREATED"), rows, "No jobs.")


def show_job(client: Client, arguments: argparse.Namespace) -> None:
    _show(client.get_job(arguments.id), arguments)


def cancel_job(client: Client, arguments: argparse.Namespace) -> None:
    _show(client.cancel_job(arguments.id), arguments)


def _show(job: Job, arguments: argparse.Namespace) -> None:
    if arguments.json:
        printing.as_json(job)
        return
    rows = {
        "job": job.id,
        "status": job.status,
        "workload": job.workload,
        "created": printing.moment(job.created_at),
        "completed": printing.moment(job.completed_at),
    }
    if job.usage is not None:
        rows["tokens"] = f"{job.usage.prompt_tokens} read, {job.usage.completion_tokens} written"
        rows["price"] = printing.credits_text(job.usage.credits_used)
    for attempt in job.attempts:
        told = f": {attempt.reason}" if attempt.reason else ""
        rows[f"attempt {attempt.epoch}"] = f"{attempt.island}{told}"
    if job.error:
        rows["error"] = job.error
    printing.facts(rows)
    if job.output:
        print(f"\n{printing.clean(job.output)}")


def list_keys(client: Client, arguments: argparse.Namespace) -> None:
    found = client.list_keys()
    if arguments.json:
        printing.as_json(found)
        return
    rows = [
        (key.id, key.name, f"{key.prefix}…", ",".join(key.scopes), printing.moment(key.created_at))
        for key in found
    ]
    printing.table(("ID", "NAME", "KEY", "SCOPES", "CREATED"), rows, "No keys.")


def create_key(client: Client, arguments: argparse.Namespace) -> None:
    scopes = arguments.scope or ["read", "write"]
    made = client.create_key(arguments.name, scopes, budget=arguments.budget)
    if arguments.json:
        printing.as_json(made)
        return
    # The secret alone on standard output, so that it can be piped to where it belongs.
    print(made.key or "")
    print("Keep it now: it is not shown again.", file=sys.stderr)


def revoke_key(client: Client, arguments: argparse.Namespace) -> None:
    client.revoke_key(arguments.id)
    print(f"{arguments.id} is revoked.")
