"""Requests about jobs, batches and files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from archipelag import values, values_of_batches, values_of_why
from archipelag.operations import (
    PAGE_MAX,
    Headers,
    Operation,
    Page,
    Upload,
    counted,
    data,
    given,
    listed,
    of_use_within,
    segment,
)


def create_job(
    workload: str,
    input_: Mapping[str, Any],
    priority: int | None,
    key: str | None,
    within_s: float | None = None,
) -> Operation[values.Job]:
    if not isinstance(input_, Mapping):
        kind = type(input_).__name__
        raise TypeError(f"the input is a mapping such as {{'prompt': '…'}}, not {kind}")
    body = {"workload": workload, "input": dict(input_)} | given(priority=priority)
    headers = of_use_within(within_s) | ({"Idempotency-Key": key} if key else {})
    return Operation("POST", "/jobs", data(values.job), body, headers=headers)


def list_jobs(
    offset: int,
    limit: int,
    *,
    status: str | Iterable[str] | None,
    workload: str | None,
    created_after: datetime | None,
    created_before: datetime | None,
) -> Operation[Page[values.Job]]:
    asked = status if status is None or isinstance(status, str) else list(status)
    params = {"limit": min(limit, PAGE_MAX), "offset": offset} | given(
        status=asked,
        workload=workload,
        created_after=created_after,
        created_before=created_before,
    )
    return Operation("GET", "/jobs", counted(values.job, offset), params=params)


def get_job(job_id: str) -> Operation[values.Job]:
    return Operation("GET", f"/jobs/{segment(job_id)}", data(values.job))


def job_output(job_id: str) -> Operation[str | None]:
    def read(body: Any) -> str | None:
        found = body.get("output") if isinstance(body, Mapping) else body
        return None if found is None else str(found)

    return Operation("GET", f"/jobs/{segment(job_id)}/output", data(read))


def job_stream(job_id: str) -> Operation[None]:
    return Operation("GET", f"/jobs/{segment(job_id)}/stream", lambda _, __: None)


def cancel_job(job_id: str) -> Operation[values.Job]:
    return Operation("DELETE", f"/jobs/{segment(job_id)}", data(values.job))


def job_files(job_id: str) -> Operation[tuple[values.File, ...]]:
    return Operation("GET", f"/jobs/{segment(job_id)}/files", listed(values.file))


def job_why(job_id: str) -> Operation[values_of_why.JobWhy]:
    return Operation("GET", f"/jobs/{segment(job_id)}/why", data(values_of_why.job_why))


def submit_batch(
    workload: str,
    inputs: Iterable[Mapping[str, Any]],
    key: str | None,
    options: Mapping[str, Any],
) -> Operation[values_of_batches.Batch]:
    body = {"workload": workload, "inputs": [dict(one) for one in inputs]} | given(**options)
    headers = {"Idempotency-Key": key} if key else {}
    return Operation("POST", "/jobs/batch", data(values_of_batches.batch), body, headers=headers)


def batch_status(batch_id: str) -> Operation[values_of_batches.Batch]:
    return Operation(
        "GET", f"/jobs/{segment(batch_id)}/batch-status", data(values_of_batches.batch)
    )


def list_batches(
    offset: int, limit: int, status: str | Iterable[str] | None
) -> Operation[Page[values_of_batches.Batch]]:
    asked = status if status is None or isinstance(status, str) else list(status)
    params = {"limit": min(limit, PAGE_MAX), "offset": offset} | given(status=asked)
    read = counted(values_of_batches.batch, offset)
    return Operation("GET", "/jobs/batches", read, params=params)


def cancel_batch(batch_id: str) -> Operation[values_of_batches.Batch]:
    return Operation("DELETE", f"/jobs/{segment(batch_id)}", data(values_of_batches.batch))


def upload_file(upload: Upload, purpose: str) -> Operation[values.File]:
    def read(body: Any, _: Headers) -> values.File:
        return values.file(body)

    return Operation("POST", "/files", read, form={"purpose": purpose}, file=upload)


def list_files(limit: int, after: str | None, purpose: str | None) -> Operation[Page[values.File]]:
    params = {"limit": limit} | given(after=after, purpose=purpose)

    def read(body: Any, headers: Headers) -> Page[values.File]:
        rows = listed(values.file)(body, headers)
        return Page(rows, body.get("has_more") is True)

    return Operation("GET", "/files", read, params=params)


def get_file(file_id: str) -> Operation[values.File]:
    return Operation("GET", f"/files/{segment(file_id)}", lambda body, _: values.file(body))


def file_content(file_id: str, offset: int = 0, tag: str = "") -> Operation[None]:
    """From this byte on; from the beginning where the file is not the one that this tag names."""
    headers = {"Accept": "*/*"}
    if offset and tag:
        headers |= {"Range": f"bytes={offset}-", "If-Range": tag}
    path = f"/files/{segment(file_id)}/content"
    return Operation("GET", path, lambda _, __: None, headers=headers)


def delete_file(file_id: str) -> Operation[None]:
    return Operation("DELETE", f"/files/{segment(file_id)}", lambda _, __: None, gone_is_done=True)
