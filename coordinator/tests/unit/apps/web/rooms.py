"""Every page and every form of the application, with an example of what stands in its address."""

from __future__ import annotations

from dataclasses import dataclass

from archipelag_coordinator.apps.web.app import create_pages
from starlette.routing import Route

from .house import House

OPEN = frozenset({"/", "/sign-in", "/sign-in/{secret}", "/mailbox", "/robots.txt", "/live/stats"})
"""For those who are not signed in."""
KEEPERS = ("/admin", "/live/admin")
"""Only for operators and administrators."""
ASSETS = frozenset({"/static/{name:path}", "/favicon.ico"})
LINK = "al_" + "l" * 43


@dataclass(frozen=True)
class Door:
    """One route: `path` as it is declared, `address` as it is asked for."""

    path: str
    address: str
    posts: bool

    @property
    def open(self) -> bool:
        return self.path in OPEN

    @property
    def for_keepers(self) -> bool:
        return self.path.startswith(KEEPERS)


def doors(house: House, *, job: str = "done", island: str = "reef") -> list[Door]:
    """All of them; ada's own things stand in the addresses."""
    pages = create_pages(house.scene.world)
    found = []
    for route in pages._app.routes:  # type: ignore[attr-defined]
        assert isinstance(route, Route)
        if route.path in ASSETS:
            continue
        address = (
            route.path.replace("{number}", str(house.cargos["verified"]))
            .replace("{secret}", LINK)
            .replace("{slug}", "llm-chat")
            .replace("{id}", _id_for(route.path, house, job, island))
        )
        found.append(Door(route.path, address, "POST" in (route.methods or ())))
    return found


def _id_for(path: str, house: House, job: str, island: str) -> str:
    if "/chat/" in path:
        return house.talk
    if "/jobs/" in path:
        return house.jobs[job].id
    if "/islands/" in path:
        return house.islands[island].id
    if "/people/" in path:
        return house.stranger.id
    return "key_" + "0" * 26
