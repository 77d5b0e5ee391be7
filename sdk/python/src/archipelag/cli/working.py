"""`archipelag jobs`: listed, submitted, read, followed, cancelled, explained."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from archipelag import Client, Job, JobEvent, Obstacle
from archipelag.cli import mistakes, printing

INPUT_CHARACTERS_MAX = 256 * 1024


def list_jobs(client: Client, arguments: argparse.Namespace) -> None:
    found = tuple(
        client.list_jobs(
            status=arguments.status,
            workload=arguments.workload,
            created_after=_moment("--after", arguments.after),
            created_before=_moment("--before", arguments.before),
            limit=arguments.limit,
        )
    )
    if arguments.format == "json":
        printing.as_json(found)
        return
    rows = [(job.id, job.status, job.workload, printing.moment(job.created_at)) for job in found]
    printing.table(("JOB", "STATUS", "CARGO", "CREATED"), rows, "No jobs.")


def list_batches(client: Client, arguments: argparse.Namespace) -> None:
    found = tuple(client.list_batches(status=arguments.status, limit=arguments.limit))
    if arguments.format == "json":
        printing.as_json(found)
        return
    rows = [
        (
            one.id,
            one.status,
            one.workload,
            f"{one.ended} of {one.total}",
            printing.moment(one.created_at),
        )
        for one in found
    ]
    heading = ("BATCH", "STATUS", "CARGO", "ENDED", "CREATED")
    printing.table(heading, rows, "No batches.")


def _moment(name: str, given: str | None) -> datetime | None:
    if given is None:
        return None
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        raise ValueError(f"{name}: not a day or a time, such as 2026-11-27: {given!r}") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def submit(client: Client, arguments: argparse.Namespace) -> None:
    job = client.create_job(
        arguments.workload,
        input_of(arguments.input),
        priority=arguments.priority,
        within_s=arguments.within,
        idempotency_key=arguments.idempotency_key,
    )
    if arguments.wait:
        job = client.wait_for_job(job.id, timeout_s=arguments.timeout)
    if arguments.format == "json":
        printing.as_json(job)
    elif arguments.wait:
        print(printing.clean(job.output or ""))
    else:
        # The id alone, so that it can be handed on.
        print(job.id)


def input_of(given: list[str]) -> dict[str, Any]:
    """One JSON object, `@FILE` or `-` with one, or `name=value` pairs whose values are JSON where they can be."""
    if not given:
        given = ["-"]
    if len(given) == 1 and (given[0] == "-" or given[0][:1] in "{@"):
        return _object(given[0])
    found: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ValueError(f"an input is JSON, @FILE, - or name=value: {pair[:80]!r}")
        try:
            found[name] = json.loads(value)
        except (ValueError, RecursionError):
            found[name] = value
    return found


def _object(given: str) -> dict[str, Any]:
    where = "the input"
    if given == "-":
        where, text = "standard input", sys.stdin.read(INPUT_CHARACTERS_MAX)
    elif given.startswith("@"):
        where = given[1:]
        try:
            text = Path(where).read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(mistakes.of_file(error)) from None
        except UnicodeDecodeError:
            raise ValueError(f"{where}: not text in UTF-8") from None
    else:
        text = given
    if not text.strip():
        raise ValueError(f"{where} is empty: give an input as JSON, @FILE or name=value …")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{where} must be a JSON object")
    return found


def get(client: Client, arguments: argparse.Namespace) -> None:
    if arguments.output:
        sys.stdout.write(client.get_job_output(arguments.id) or "")
        return
    _show(client.get_job(arguments.id), arguments)


def cancel(client: Client, arguments: argparse.Namespace) -> None:
    _show(client.cancel_job(arguments.id), arguments)


def _show(job: Job, arguments: argparse.Namespace) -> None:
    if arguments.format == "json":
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
        told = ": ".join(one for one in (attempt.status, attempt.reason) if one)
        rows[f"attempt {attempt.epoch}"] = f"{attempt.island}  {told}".strip()
    if job.waiting_for:
        rows["waits, for"] = "; ".join(job.waiting_for)
    if job.error:
        rows["error"] = job.error
    printing.facts(rows)
    if job.output:
        print(f"\n{printing.clean(job.output)}")


def stream(client: Client, arguments: argparse.Namespace) -> int:
    """The answer to standard output as it is made, everything else to standard error. 6 where the job fails."""
    last: JobEvent | None = None
    for event in client.stream_job(arguments.id, last_event_id=arguments.last_event_id or ""):
        last = event
        if arguments.format == "json":
            printing.as_json_line(event)
        elif event.type == "token":
            sys.stdout.write(printing.clean(event.text))
            sys.stdout.flush()
        elif event.type in ("status", "progress"):
            _aside(event)
    if arguments.format != "json":
        print()
    if last is not None and last.type == "error":
        print(f"archipelag: {printing.clean(last.text)}", file=sys.stderr)
        return printing.JOB_FAILED
    return 0


def _aside(event: JobEvent) -> None:
    told = event.text
    if event.total:
        told = f"step {event.step} of {event.total} {told}"
    if event.reasons:
        told = f"{told}: {'; '.join(event.reasons)}"
    if event.ahead is not None:
        told = f"{told}; {_place(event.ahead, event.expected_wait_s)}"
    print(printing.dim(printing.clean(told)), file=sys.stderr)


def _place(ahead: int, expected_wait_s: float | None) -> str:
    jobs = "1 job" if ahead == 1 else f"{ahead} jobs"
    if expected_wait_s is None:
        return f"{jobs} before it."
    return f"{jobs} before it, about {expected_wait_s:.0f} s to wait."


def why(client: Client, arguments: argparse.Namespace) -> None:
    found = client.why_job(arguments.id)
    if arguments.format == "json":
        printing.as_json(found)
        return
    for attempt in found.attempts:
        print(printing.bold(f"Attempt {attempt.epoch} on {printing.clean(attempt.island)}"))
        print(f"  {printing.clean(attempt.why)}")
        if attempt.asked:
            print(f"  {attempt.fit} of {attempt.asked} Islands could take it.")
        for one in attempt.preferences:
            gave = f"{one.weight:g} · {one.value:g} = {one.gave:g}"
            print(f"  {printing.clean(one.name)}: {gave}")
        _obstacles(attempt.kept_out)
    if found.reader_round_trip_ms is not None:
        away = f"{found.reader_round_trip_ms:.1f} ms"
        print(f"Whoever last followed it, or the proxy before them, is {away} away.")
    waiting = found.waiting
    if waiting is not None:
        print(printing.bold(f"It waits since {printing.moment(waiting.since)}"))
        print(f"  {waiting.fit} of {waiting.asked} Islands could take it now.")
        print(f"  {_place(waiting.ahead, waiting.expected_wait_s)}")
        _obstacles(waiting.reasons)
        if waiting.hint:
            print(f"  {printing.clean(waiting.hint)}")
    if not found.attempts and waiting is None:
        print(f"The job is {found.status}; no Island was asked.")


def _obstacles(found: Iterable[Obstacle]) -> None:
    for one in found:
        islands = "Island" if one.count == 1 else "Islands"
        print(f"  {one.count} {islands}: {printing.clean(one.meaning or one.rule)}")
