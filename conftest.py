"""What every package's tests may use: a real PostgreSQL and real NATS servers; and how they share the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["archipelag_embedded.fixtures"]
ROOT = Path(__file__).parent
SANDBOXES = ("island/tests/integration", "kit/tests/integration", "tests/escape", "tests/supply")
"""They count processes and bytes in sandboxes and start container engines: never side by side."""
LONG = (
    "tests/acceptance",
    "tests/simulation",
    "tests/trouble",
    "tests/sdk",
    "coordinator/tests/integration",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With workers (`-n 4`): a file to a worker, what takes long first; the order within stays as it was drawn."""

    def named(item: pytest.Item, folders: tuple[str, ...]) -> bool:
        return (
            item.path.relative_to(ROOT).as_posix().startswith(tuple(f"{one}/" for one in folders))
        )

    for item in items:
        group = "sandboxes" if named(item, SANDBOXES) else str(item.path.relative_to(ROOT))
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: 0 if named(item, SANDBOXES) else 1 if named(item, LONG) else 2)
