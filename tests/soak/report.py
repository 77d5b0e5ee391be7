"""The report of a soak: Markdown for people, with pictures of memory over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.chaos.report import percentile

from .gauges import Sample, kind_of
from .outcome import GROWTH_MB_PER_H, Figures

SHOWN_MAX: Final = 5
WIDTH, HEIGHT, LEFT, BOTTOM = 860, 240, 60, 30
COLOURS: Final = (
    "#0b6e99",
    "#c8553d",
    "#4f772d",
    "#7b5ea7",
    "#b08900",
    "#5c677d",
    "#9d0208",
    "#2a9d8f",
)


def write(folder: Path, figures: Figures, command: str) -> Path:
    """The page, with a picture for each kind of part beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = dict.fromkeys(kind_of(sample.part) for sample in figures.samples)
    replaced = [
        strike.began - figures.began
        for strike in figures.strikes
        if strike.fault == "restart Coordinator"
    ]
    pictures = []
    for kind in kinds:
        taken = [sample for sample in figures.samples if kind_of(sample.part) == kind]
        picture = folder / f"memory-{kind.lower()}.svg"
        picture.write_text(drawn(kind, taken, replaced, figures.took_s))
        pictures.append(f"![{kind}]({picture.name})")
    page = folder / "report.md"
    lines = ["# Soak", "", f"`{command}`", "", *_verdict(figures), "", *_shown(figures)]
    page.write_text("\n".join([*lines, "", *pictures]) + "\n")
    return page


def told(figures: Figures) -> Iterator[str]:
    """Lines for a terminal."""
    yield from _verdict(figures)
    yield from _shown(figures)


def _verdict(figures: Figures) -> Iterator[str]:
    yield f"**{'Kept' if figures.kept else 'BROKEN'}**: {figures.took_s / 60:.1f} minutes, {figures.streams} streams"
    for promise, complaints in figures.broken.items():
        yield f"- BROKEN `{promise}`: {len(complaints)}"
        yield from (f"    - {complaint}" for complaint in complaints[:SHOWN_MAX])


def _shown(figures: Figures) -> Iterator[str]:
    seen = figures.seen
    faults = Counter(strike.fault for strike in figures.strikes)
    yield f"- Answers: {_counted(seen.ended)}; {figures.positions:,} items"
    yield f"- Jobs: {_counted(figures.jobs)}; {figures.attempts:,} attempts; {figures.charged:,} micro-credits charged"
    yield f"- What went on: {_counted(faults)}"
    yield f"- Lines of readers that broke: {figures.breaks:,}; told to come later: {_counted(figures.refusals)}"
    yield f"- First item after {_spread(seen.first_s)}"
    yield f"- Longest pause of a stream: {_spread(seen.pauses_s)}"
    for fault, waits in seen.around_s.items():
        yield f"- Longest wait of a stream that was open during `{fault}`: {_spread(waits)}"
    cores = ", ".join(f"{kind} {share:.2f}" for kind, share in figures.processor.items())
    yield f"- Cores, on average: {cores or 'not looked at'}"
    yield f"- Errors in logs: {_counted(figures.troubles)}"
    yield ""
    yield "| part | first, MB | last, MB | looked at, s | growth, MB/h | bound |"
    yield "|---|---|---|---|---|---|"
    for one in figures.growth:
        grown = "too short to say" if one.mb_per_h is None else f"{one.mb_per_h:+.1f}"
        bound = GROWTH_MB_PER_H[kind_of(one.part)]
        yield (
            f"| {one.part} | {one.first_mb:.1f} | {one.last_mb:.1f} | {one.looked_s:.0f} | {grown} | {bound:.0f} |"
        )
    yield ""
    yield "| table | rows, about | MB |"
    yield "|---|---|---|"
    for name, rows, size in figures.sizes:
        yield f"| {name} | {rows:,} | {size / 1e6:.1f} |"


def _counted(counts: Counter[str] | dict[str, int]) -> str:
    shown = ", ".join(f"{count:,} {what}" for what, count in Counter(counts).most_common(12))
    return shown or "none"


def _spread(values: Sequence[float]) -> str:
    """50 %, 99 %, the most."""
    if not values:
        return "not seen"
    half, most = percentile(values, 0.5), percentile(values, 0.99)
    return f"p50 {half:.2f} s, p99 {most:.2f} s, max {max(values):.2f} s ({len(values):,})"


def drawn(title: str, taken: Sequence[Sample], marks: Sequence[float], until_s: float) -> str:
    """Memory of each part over time as SVG; `marks`: moments to be seen, in seconds."""
    top_mb = max((sample.memory_mb for sample in taken), default=1.0) * 1.1

    def place(at_s: float, mb: float) -> str:
        x = LEFT + (WIDTH - LEFT - 10) * min(1.0, at_s / max(1.0, until_s))
        y = HEIGHT - BOTTOM - (HEIGHT - BOTTOM - 30) * mb / top_mb
        return f"{x:.1f},{y:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        ' font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="18" font-size="13">{title}: MB over minutes; dashed: a Coordinator was replaced</text>',
    ]
    for mark in marks:
        bottom, top = place(mark, 0), place(mark, top_mb)
        parts.append(
            f'<polyline points="{bottom} {top}" stroke="#bbb" stroke-dasharray="3 3" fill="none"/>'
        )
    for share in (0.0, 0.5, 1.0):
        x, y = place(0, top_mb * share).split(",")
        parts.append(
            f'<text x="{float(x) - 8}" y="{y}" text-anchor="end">{top_mb * share:.0f}</text>'
        )
        x, y = place(until_s * share, 0).split(",")
        minute = until_s * share / 60
        parts.append(f'<text x="{x}" y="{float(y) + 18}" text-anchor="middle">{minute:.1f}</text>')
    lives = _lives(taken)
    names = list(dict.fromkeys(part for part, _ in lives))
    for (part, _), points in lives.items():
        colour = COLOURS[names.index(part) % len(COLOURS)]
        line = " ".join(place(sample.at_s, sample.memory_mb) for sample in points)
        parts.append(
            f'<polyline points="{line}" stroke="{colour}" fill="none" stroke-width="1.5"/>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _lives(taken: Sequence[Sample]) -> dict[tuple[str, int], list[Sample]]:
    lives: dict[tuple[str, int], list[Sample]] = {}
    for sample in taken:
        lives.setdefault((sample.part, sample.life), []).append(sample)
    return lives
