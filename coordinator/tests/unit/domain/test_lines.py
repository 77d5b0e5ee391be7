"""Lines kept as they change say what a plain look at each of them says, whatever happens to them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from archipelag_contracts.ids import CargoDigest, UserId
from archipelag_coordinator.domain.lines import Kept, Line, LineKey, Lines
from archipelag_coordinator.testing.fakes import START
from archipelag_coordinator.testing.plain_lines import plain_ahead_of
from hypothesis import given
from hypothesis import strategies as st

KEYS = [
    LineKey(UserId(user), CargoDigest(digest))
    for user in ("ada", "bob", "eve")
    for digest in ("sha256:chat", "sha256:images")
]
SMALL = st.integers(0, 4)


@dataclass(frozen=True)
class Act:
    """Something happens to a line; `many` is a count, or the second in which it happens."""

    kind: str
    key: LineKey
    many: int

    def at(self) -> datetime:
        return START + timedelta(seconds=self.many)


KINDS = ["joined", "left", "began", "began at once", "let go", "kept", "due", "load"]
ACTS = st.lists(st.builds(Act, st.sampled_from(KINDS), st.sampled_from(KEYS), SMALL), max_size=30)
LINES = st.lists(
    st.builds(
        Line,
        st.sampled_from(KEYS),
        SMALL,
        SMALL,
        SMALL.map(lambda n: START + timedelta(seconds=n)),
    ),
    unique_by=lambda line: line.key,
)


def do(lines: Lines, act: Act, kept: dict[Kept, Counter[LineKey]], loaded: list[Line]) -> None:
    match act.kind:
        case "joined":
            lines.joined(act.key, act.at())
        case "left":
            lines.left(act.key)
        case "began" | "began at once":
            lines.began(act.key, waited=act.kind == "began")
        case "let go":
            lines.let_go(act.key)
        case "load":
            lines.load(loaded)
        case _:
            kind = Kept.TOLD if act.kind == "kept" else Kept.DUE
            kept[kind][act.key] = act.many
            lines.keep(act.key, kind, act.many)


@given(acts=ACTS, loaded=LINES, before=st.none() | SMALL, second=SMALL)
def test_what_is_ahead_is_what_a_look_at_every_line_finds(
    acts: list[Act], loaded: list[Line], before: int | None, second: int
) -> None:
    lines = Lines()
    kept: dict[Kept, Counter[LineKey]] = {Kept.TOLD: Counter(), Kept.DUE: Counter()}
    since = START + timedelta(seconds=second)

    for act in [Act("load", KEYS[0], 0), *acts]:
        do(lines, act, kept, loaded)

        assert lines.waits() == any(line.queued for line in lines)
        for key in KEYS:
            stands = lines.ahead_of(key, before=before or 0, since=since)
            assert stands == plain_ahead_of(lines, key, before=before or 0, since=since)
            for kind in Kept:
                comes = lines.ahead_of(key, before=before, kept=kind)
                places = kept.get(kind)
                assert comes == plain_ahead_of(lines, key, before=before, kept=places)
