"""What a thread had of a core and waited for."""

from __future__ import annotations

import time
from pathlib import Path

from archipelag_coordinator.adapters.core import core_wanted_s


def test_a_thread_that_waits_for_its_core_is_as_busy_as_one_that_has_it(tmp_path: Path) -> None:
    told = tmp_path / "schedstat"
    told.write_text("1500000000 500000000 7\n")

    assert core_wanted_s(told) == 2.0


def test_where_the_kernel_tells_nothing_only_what_ran_counts(tmp_path: Path) -> None:
    before = time.thread_time()

    found = core_wanted_s(tmp_path / "none")

    assert before <= found <= time.thread_time()
