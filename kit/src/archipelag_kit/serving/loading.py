"""Brings a Cargo up beside its server: imports the author's module, calls its load function, says how far it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from archipelag_contracts.manifest import Manifest

from archipelag_kit.checking import InputSchema
from archipelag_kit.errors import NotACargo
from archipelag_kit.marking import Marked, RunFunction
from archipelag_kit.performance import print_traceback
from archipelag_kit.run import Setup

log = logging.getLogger(__name__)

ERROR_CHARACTERS_MAX: Final = 500


@dataclass(frozen=True)
class Ready:
    """What every run needs once the Cargo is loaded."""

    function: RunFunction
    schema: InputSchema
    state: Any


class Loader:
    """Look at `ready` and `error`: neither stands while it loads."""

    def __init__(
        self,
        manifest: Manifest,
        marked: Callable[[], Marked],
        *,
        model: Path | None,
        threads: int,
        slots: int,
    ) -> None:
        self.setup: Final = Setup(manifest, model, threads, slots)
        self.ready: Ready | None = None
        self.error = ""
        self._marked = marked

    @property
    def settled(self) -> bool:
        return self.ready is not None or bool(self.error)

    async def load(self) -> None:
        """Never raises: what goes wrong in the author's code is told to the Island, with the traceback on stderr."""
        try:
            # The import may take long; the Island is answered meanwhile.
            marked = await asyncio.to_thread(self._marked)
            schema = InputSchema(self.setup.manifest.input)
            if marked.run is None:
                raise NotACargo("no function is marked @cargo")
            state = None if marked.load is None else await marked.load(self.setup)
            self.ready = Ready(marked.run, schema, state)
            log.info("cargo_ready cargo=%s", self.setup.manifest.slug)
        except NotACargo as error:
            self.error = str(error)[:ERROR_CHARACTERS_MAX]
        except (Exception, SystemExit) as error:
            print_traceback(error)
            said = f"{type(error).__name__}: {error}".encode(errors="replace").decode()
            self.error = f"the Cargo could not be loaded: {said}"[:ERROR_CHARACTERS_MAX]
