"""Rows as CSV (RFC 4180) that a spreadsheet shows as they are: no text of anybody's becomes a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import Response

_FORMULA: Final = tuple("=+-@\t\r\n＝＋－＠")
_DECIMAL: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def cell(value: Any) -> str:
    """A cell's text. What begins like a formula, and is no plain number, gets an apostrophe before it."""
    if value is None:
        return ""
    text = str(value)
    if text.startswith(_FORMULA) and not _DECIMAL.fullmatch(text):
        return f"'{text}"
    return text


def csv_of(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """A heading and the rows, each line ended by CR LF."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([cell(row.get(name)) for name in columns] for row in rows)
    return text.getvalue()


def csv_response(
    name: str,
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    headers: Mapping[str, str] | None = None,
) -> Response:
    """To be saved under `name`, which is ours."""
    told = {"Content-Disposition": f'attachment; filename="{name}.csv"'} | dict(headers or {})
    return Response(csv_of(columns, rows), headers=told, media_type="text/csv; charset=utf-8")
