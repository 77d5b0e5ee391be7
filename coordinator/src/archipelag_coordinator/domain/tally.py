"""What one Coordinator process has done since it started, in plain numbers that whoever measures reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from archipelag_coordinator.domain.answer import Answer
from archipelag_coordinator.domain.attempt import Attempt, AttemptStatus
from archipelag_coordinator.domain.histogram import FAST_S, LONG_S, SOON_S, Example, Histogram
from archipelag_coordinator.domain.job import Job


class Tally:
    """Guards numbers that only grow, but for `drifted`. Not for two threads.

    Nothing here is touched for a single token: what an answer's items tell is added up when somebody looks, and once
    more when an attempt or the job has ended. Keys are bounded: slugs by the catalogue, causes and codes by their own
    lists.
    """

    def __init__(self) -> None:
        self.submitted: Counter[str] = Counter()
        """Jobs taken, by workload."""
        self.jobs: Counter[tuple[str, str, str]] = Counter()
        """Jobs that ended here, by workload, status and cause."""
        self.attempts: Counter[tuple[str, str]] = Counter()
        """Attempts that ended here, by status and cause."""
        self.failovers = 0
        """Attempts that ended too early, after which another went on."""
        self.items: Counter[str] = Counter()
        """Items that were accepted here, by workload: up to the last `flowed`."""
        self.output_bytes = 0
        """Of answers of jobs that succeeded here."""
        self.prompt_tokens: Counter[str] = Counter()
        """Prompt tokens of ended jobs, by workload."""
        self.cached_tokens: Counter[str] = Counter()
        """Of these, what did not have to be read again, by workload."""
        self.begun_with: Counter[bool] = Counter()
        """Attempts of chats that an Island accepted, by whether it was taken to remember some of the prompt."""
        self.charged: Counter[str] = Counter()
        """Micro-credits that customers paid, by workload."""
        self.assignments: Counter[str] = Counter()
        """What Islands said to assignments: accepted, refused or unreachable."""
        self.unplaced = 0
        """Tries to place a job that found no Island."""
        self.requests: Counter[int] = Counter()
        """Answers of the HTTP door, by status."""
        self.refused: Counter[str] = Counter()
        """Requests that were refused, by the code of the error."""
        self.heartbeats: Counter[str] = Counter()
        """Heartbeats, by whether they were taken."""
        self.reports: Counter[str] = Counter()
        """Reports, by what became of them."""
        self.turns: Counter[str] = Counter()
        """Turns of the loops that ended well, by loop."""
        self.failures: Counter[str] = Counter()
        """Turns that ended with an error."""
        self.turned_at: dict[str, float] = {}
        """Monotonic seconds of the last turn that ended well, or was another process's to take."""
        self.drifted = 0
        """Accounts that differed from their entries when the books were last rebuilt here."""
        self.books_at: datetime | None = None
        """When that was."""
        self.audit_broken = False
        """Whether the audit log was not whole when it was last followed here."""
        self.first_item = Histogram(LONG_S)
        """From the submission of a job to its first item here."""
        self.between_items = Histogram(FAST_S)
        """The mean time between items of an answer; one figure for each answer that succeeded."""
        self.queue_wait = Histogram(LONG_S)
        """From the submission to the Island that accepted the job first."""
        self.placement = Histogram(FAST_S)
        """The choice of an Island."""
        self.assigning = Histogram(SOON_S)
        """From the assignment's sending to the Island's word."""
        self.settlement = Histogram(SOON_S)
        """From a report's coming to the committed end of its attempt."""
        self.reader_round_trip = Histogram(SOON_S)
        """To whoever connected, and back; one figure for each stream that was measured, when its reader has gone."""

    def took(self, slug: str) -> None:
        """A job was submitted."""
        self.submitted[slug] += 1

    def ended(self, job: Job, attempt: Attempt | None) -> None:
        """An attempt, the job, or both at once have ended and are settled."""
        if attempt is not None:
            self.attempts[attempt.status.value, attempt.cause.value if attempt.cause else ""] += 1
            too_early = attempt.status in (AttemptStatus.FAILED, AttemptStatus.LOST)
            self.failovers += too_early and not job.finished
        if job.finished:
            cause = job.cause.value if job.cause else ""
            self.jobs[job.cargo_slug, job.status.value, cause] += 1
            self.prompt_tokens[job.cargo_slug] += job.prompt_tokens
            self.charged[job.cargo_slug] += job.charged

    def flowed(self, answers: Iterable[Answer]) -> None:
        """Counts what has come since the last time, of those whose home this process is. For whoever is about to read
        `items`. A position that is made anew is counted once."""
        for answer in answers:
            if answer.next > answer.counted and not answer.follows:
                self.items[answer.workload] += answer.next - answer.counted
                answer.counted = answer.next

    def answered(self, answer: Answer, example: Example | None = None) -> None:
        """The answer of a job that succeeded has ended; how fast it was is told by who saw its beginning."""
        self.output_bytes += answer.size_bytes
        if answer.first_item_at is None or answer.recalled:
            return
        waited = answer.first_item_at - answer.opened_at
        self.first_item.add(waited, example)
        if answer.next > 1 and answer.heard_at > answer.first_item_at:
            between = (answer.heard_at - answer.first_item_at) / (answer.next - 1)
            self.between_items.add(between)

    def turned(self, loop: str, now: float) -> None:
        """A turn of a loop ended well. `now` is monotonic."""
        self.turns[loop] += 1
        self.turned_at[loop] = now

    def rebuilt(self, drifted: int, now: datetime) -> None:
        """The books were rebuilt from their entries."""
        self.drifted = drifted
        self.books_at = now
