"""A page that is drawn again in its place, for as long as somebody looks at a terminal."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from typing import Final, TextIO

EVERY_S: Final = 1.0
HOME: Final = "\x1b[H"
CLEAR_LINE: Final = "\x1b[K"
CLEAR_REST: Final = "\x1b[J"
CLEAR_ALL: Final = "\x1b[2J"
HIDE_CURSOR: Final = "\x1b[?25l"
SHOW_CURSOR: Final = "\x1b[?25h"


def frame(lines: Sequence[str], columns: int, rows: int) -> str:
    """Over the last one, without flicker. What does not fit is left out, and said so; nothing steers the terminal."""
    plain = ["".join(c if c.isprintable() else "?" for c in line)[:columns] for line in lines]
    if len(plain) > rows:
        left = len(plain) - rows + 1
        plain = [*plain[: rows - 1], f"… {left} more lines: --once shows all"[:columns]]
    return HOME + "\n".join(line + CLEAR_LINE for line in plain) + CLEAR_REST


def watch(lines: Callable[[], Sequence[str]], out: TextIO, wait: Callable[[float], object]) -> None:
    """Until it is interrupted. `wait` takes seconds."""
    out.write(CLEAR_ALL + HIDE_CURSOR)
    try:
        while True:
            size = shutil.get_terminal_size()
            out.write(frame([*lines(), "", "Ctrl-C ends this view"], size.columns, size.lines))
            out.flush()
            wait(EVERY_S)
    except KeyboardInterrupt:
        pass
    finally:
        out.write("\n" + SHOW_CURSOR)
        out.flush()
