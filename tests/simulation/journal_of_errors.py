"""Listens to the logs of the code under test: errors with a trace that no fault explains are broken promises."""

from __future__ import annotations

import asyncio
import logging
import traceback

import nats.errors
import nats.js.errors
import psycopg
from archipelag_coordinator.adapters.nats.broker import BrokerUnreachable

from simulation.party import PARTY
from simulation.trace import Trace

EXPECTED = (
    psycopg.OperationalError,
    ConnectionError,
    TimeoutError,
    OSError,
    nats.errors.Error,
    nats.js.errors.Error,
    BrokerUnreachable,
)


class Listener(logging.Handler):
    """`words`: every record goes to the trace's ring as well, for whoever reads it."""

    def __init__(self, trace: Trace, *, words: bool) -> None:
        super().__init__(logging.DEBUG if words else logging.ERROR)
        self._trace = trace
        self._words = words
        self.unexpected: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        party = PARTY.get()
        if party is not None and party.dead:
            return
        if self._words:
            now = asyncio.get_running_loop().time()
            self._trace.ring.append(f"{now:12.6f} {party} {record.getMessage()[:300]}")
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not _is_expected(error):
            frames = traceback.extract_tb(error.__traceback__)[-3:]
            where = " < ".join(
                f"{f.filename.rsplit('/', 1)[-1]}:{f.lineno}" for f in reversed(frames)
            )
            self.unexpected.append(f"{record.getMessage()[:100]}: {error!r} at {where}")
            if self._words:
                self._trace.ring.append("".join(traceback.format_exception(error))[-2000:])


def _is_expected(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_is_expected(one) for one in error.exceptions)
    return isinstance(error, EXPECTED)
