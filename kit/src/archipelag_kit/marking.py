"""`@cargo` and `@cargo.load`: how an author's module says which of its functions the Cargo is."""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from archipelag_kit.errors import NotACargo
from archipelag_kit.run import Run, Setup

RunFunction = Callable[[Run], Awaitable[Any] | AsyncIterator[str]]
LoadFunction = Callable[[Setup], Awaitable[Any]]
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Marked:
    """The functions of one Cargo."""

    run: RunFunction | None = None
    load: LoadFunction | None = None


class CargoMark:
    """Kept by module, so that two Cargos in one test session do not mix."""

    def __init__(self) -> None:
        self._marked: dict[str, Marked] = {}

    def __call__(self, function: F) -> F:
        """Marks the one function that answers: `async def` with `return`, or with `yield` for a stream of texts."""
        if not inspect.iscoroutinefunction(function) and not inspect.isasyncgenfunction(function):
            raise NotACargo(f"@cargo: {function.__name__} must be `async def`")
        before = self._marked.get(function.__module__, Marked())
        if before.run is not None and before.run.__name__ != function.__name__:
            raise NotACargo(
                f"@cargo: {function.__module__} has two functions so marked, "
                f"{before.run.__name__} and {function.__name__}: a Cargo is one"
            )
        self._marked[function.__module__] = replace(before, run=function)
        return function

    def load(self, function: F) -> F:
        """Marks the function that runs once before the first run; what it returns is `run.state`."""
        if not inspect.iscoroutinefunction(function):
            raise NotACargo(f"@cargo.load: {function.__name__} must be `async def` with `return`")
        before = self._marked.get(function.__module__, Marked())
        self._marked[function.__module__] = replace(before, load=function)
        return function

    def of(self, module: str) -> Marked:
        """What the module has marked. Raises NotACargo when it has no function that answers."""
        found = self._marked.get(module, Marked())
        if found.run is None:
            raise NotACargo(f"{module} has no function marked @cargo")
        return found

    def main(self) -> None:
        """Serves the Cargo of the module that was started, or the only one that it imported; ends the process."""
        from archipelag_kit.serving.main import main

        names = [name for name, marked in self._marked.items() if marked.run is not None]
        name = "__main__" if "__main__" in names else names[0] if len(names) == 1 else ""
        if not name:
            raise NotACargo(
                f"which of {', '.join(names)}? say `python -m archipelag_kit MODULE`"
                if names
                else "no function is marked @cargo"
            )
        sys.exit(main(lambda: self.of(name)))


cargo = CargoMark()
