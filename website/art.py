"""The archipelago of the landing page, drawn as the Coordinator's own front page draws it."""

from __future__ import annotations

from typing import Final

from archipelag_coordinator.apps.web import chart
from archipelag_coordinator.apps.web.landing import HERO

LINES: Final = ((0, 1), (1, 2), (0, 3), (2, 3), (0, 4), (4, 2))
DEPTHS: Final = (2.05, 1.62, 1.28)


def archipelago() -> str:
    """One line, so that Markdown leaves it alone."""
    head = 'class="hero-art" viewBox="0 0 520 420" role="img" aria-label="Islands joined by fine lines"'
    parts = [f"<svg {head}>"]
    for number, far in enumerate(DEPTHS):
        for seed, x, y, radius in HERO:
            path = chart.shore(f"{seed} {number}", radius * far, 0.12)
            depth = f"depth-{len(DEPTHS) - number}"
            parts.append(f'<path class="{depth}" transform="translate({x} {y})" d="{path}"/>')
    for a, b in LINES:
        (_, ax, ay, _), (_, bx, by, _) = HERO[a], HERO[b]
        parts.append(f'<path class="route" d="{chart.route((ax, ay), (bx, by))}"/>')
    for seed, x, y, radius in HERO:
        shore = f'<path class="land" d="{chart.shore(seed, radius)}"/>'
        hill = f'<path class="hill" d="{chart.hills(seed, radius)}"/>'
        parts.append(f'<g transform="translate({x} {y})">{shore}{hill}</g>')
    return "".join([*parts, "</svg>"])
