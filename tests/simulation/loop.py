"""An event loop whose time is virtual: when nothing is ready it jumps to the next timer. No sockets, no threads."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import os
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final, TypeVar

from simulation.party import PARTY

T = TypeVar("T")
TURNS_AT_ONE_INSTANT_MAX: Final = 200_000
DISK_S: Final = 0.001
TASKS_MAX: Final = 50_000
REST_ROUNDS: Final = 20
REST_TURNS: Final = 200


class Livelock(AssertionError):
    """Callbacks follow each other without end and time stands still."""


class Stuck(AssertionError):
    """Nothing is ready and no timer is set: what is awaited will never come."""


class VirtualTask(asyncio.Task[Any]):
    """Hashed by its number: asyncio keeps tasks in sets, and the order of those must not depend on addresses."""

    _numbers = itertools.count(1)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.number = next(VirtualTask._numbers)
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self.number


class VirtualFuture(asyncio.Future[Any]):
    """Hashed by its number, as tasks are."""

    _numbers = itertools.count(1)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.number = next(VirtualFuture._numbers)
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self.number


class VirtualLoop(asyncio.AbstractEventLoop):
    """What belongs to a party that is dead is dropped, and to one that is frozen is kept until it thaws.

    Anything that would touch the machine raises NotImplementedError, as AbstractEventLoop does.
    """

    def __init__(self) -> None:
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count()
        self._now = 0.0
        self._closed = False
        self._afterlife = False
        self._dropped: list[asyncio.Handle] = []
        """What dead parties would have done: without it their tasks could not be ended."""
        self._turns_here = 0
        self.turns = 0
        """Callbacks run."""
        self.connect: Callable[..., Any] | None = None
        """What stands behind `create_connection`."""
        self.complaints: list[str] = []
        """What asyncio would have logged: errors that nobody took."""
        # Kept to the end: a generator or a task that the collector ends runs its `finally` at a time of its own.
        self.tasks: list[asyncio.Task[Any]] = []
        self.keep_tasks = True
        self._tasks_max = TASKS_MAX

    def time(self) -> float:
        return self._now

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Runs until `main` is done. Raises Stuck or Livelock."""
        hooks = sys.get_asyncgen_hooks()
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        sys.set_asyncgen_hooks(firstiter=None, finalizer=self._end_generator)
        try:
            task = self.create_task(main)
            while not task.done():
                self._turn()
            return task.result()
        finally:
            self._lay_to_rest()
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(before)

    def _turn(self) -> None:
        ready, timers = self._ready, self._timers
        if not ready:
            while timers and timers[0][2].cancelled():
                heapq.heappop(timers)
            if not timers:
                raise Stuck("nothing is ready and no timer is set")
            if timers[0][0] > self._now:
                self._now = timers[0][0]
                self._turns_here = 0
        while timers and timers[0][0] <= self._now:
            handle = heapq.heappop(timers)[2]
            if not handle.cancelled():
                ready.append(handle)
        count = len(ready)
        self._turns_here += count
        if self._turns_here > TURNS_AT_ONE_INSTANT_MAX:
            raise Livelock(f"{self._turns_here} callbacks at {self._now:.3f} s; next: {ready[0]!r}")
        for _ in range(count):
            handle = ready.popleft()
            if handle.cancelled():
                continue
            party = handle._context.get(PARTY)  # type: ignore[attr-defined]
            if party is not None and not self._afterlife:
                if party.dead:
                    self._dropped.append(handle)
                    continue
                if party.frozen:
                    party.kept.append(handle)
                    continue
            self.turns += 1
            handle._run()

    def _lay_to_rest(self) -> None:
        """Ends every task, the dead parties' too, so that none is left to the collector. Counts for nothing."""
        self._afterlife = True
        self._ready.extend(self._dropped)
        for _ in range(REST_ROUNDS):
            left = [task for task in self.tasks if not task.done()]
            if not left:
                break
            for task in left:
                task.cancel()
            with contextlib.suppress(Stuck, Livelock):
                for _ in range(REST_TURNS):
                    self._turn()
                    if all(task.done() for task in left):
                        break
        for task in self.tasks:
            if task.done():
                _ = task.cancelled() or task.exception()
            else:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
        self.tasks.clear()

    def jump(self, seconds: float) -> None:
        """Time passes without anything happening: every timer is as far away as before."""
        moved = [(when + seconds, number, handle) for when, number, handle in self._timers]
        for when, _, handle in moved:
            handle._when = when  # type: ignore[attr-defined]
        self._timers = moved  # The order is the same.
        self._now += seconds

    def resume(self, handles: list[asyncio.Handle]) -> None:
        """What was kept while a party was frozen happens now, in its order."""
        self._ready.extend(handles)

    # --- What asyncio asks of a loop -------------------------------------------------------------------------------

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Left in the heap until its time."""

    def create_future(self) -> asyncio.Future[Any]:
        return VirtualFuture(loop=self)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        task = VirtualTask(coro, loop=self, **options)
        if self.keep_tasks:
            self.tasks.append(task)
            if len(self.tasks) > self._tasks_max:
                self.tasks = [one for one in self.tasks if not one.done()]
                self._tasks_max = max(TASKS_MAX, 2 * len(self.tasks))
        return task

    async def create_connection(
        self, factory: Any, host: Any = None, port: Any = None, **_: Any
    ) -> Any:  # type: ignore[override]
        assert self.connect is not None, "nobody listens in this world"
        return await self.connect(factory, host, port)

    async def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        """Only what waits for a disk: it takes its virtual time and does nothing."""
        inner = getattr(func, "args", ())
        if not inner or inner[0] is not os.fdatasync:
            raise NotImplementedError(f"no threads in virtual time: {func!r}")
        await asyncio.sleep(DISK_S)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.complaints.append(f"{context.get('message')}: {error!r}")

    def _end_generator(self, generator: Any) -> None:
        if not self._closed:
            self.create_task(generator.aclose())
