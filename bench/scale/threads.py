"""Greenlets in place of threads, so that all functions of a deployment run in one virtual time.

`Clock.sleep` lets the others run. `Pool` and `wait` have the part of `concurrent.futures` that
Slipway uses; `in_virtual_time` puts them in its place.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from greenlet import getcurrent, greenlet

from bench.scale.setting import INSTANCES
from compute_emulator import VirtualClock as CloudClock
from infra.fleet.resources import url_map
from tests.scenario import VirtualClock


class Clock(VirtualClock):
    """The time of all greenlets. `run_until` passes it; `sleep` within a greenlet lets others run.
    `advance` is the emulator's part: what happens there as time passes, within `apart`.
    """

    def __init__(
        self,
        cloud_clock: CloudClock,
        apart: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        super().__init__(cloud_clock)
        self._apart = apart
        self._numbers = itertools.count()
        self._agenda: list[tuple[datetime, int, Callable[[], Any]]] = []

    def at(self, time: datetime, do: Callable[[], Any]) -> None:
        """`do` happens at that time, after what is due by then already."""
        heapq.heappush(self._agenda, (time, next(self._numbers), do))

    def spawn(self, do: Callable[[], None]) -> None:
        self.at(self.now(), greenlet(do, _main).switch)

    def sleep(self, seconds: float) -> None:
        self.at(self.now() + timedelta(seconds=max(0.0, seconds)), getcurrent().switch)
        _main.switch()

    def resumption(self) -> Callable[[], None]:
        """A call that lets the present greenlet go on, for one that lets the others run."""
        present = getcurrent()
        return lambda: self.at(self.now(), present.switch)

    def advance(self, seconds: float) -> None:
        with self._apart():
            super().sleep(seconds)

    def run_until(self, end: datetime, is_done: Callable[[], bool] = lambda: False) -> None:
        """Everything that is due until then, unless it is done before."""
        while self._agenda and self._agenda[0][0] <= end and not is_done():
            time, _, do = heapq.heappop(self._agenda)
            seconds = (time - self.now()).total_seconds()
            if seconds > 0:
                self.advance(seconds)
            do()


_main = getcurrent()


class Task:
    """A `Future` that greenlets await."""

    def __init__(self, clock: Clock, job: Callable[[], Any]) -> None:
        self._clock, self._job = clock, job
        self.is_done = False
        self._failure: BaseException | None = None
        self._result: Any = None
        self.followers: list[Callable[[], None]] = []

    def run(self) -> None:
        try:
            self._result = self._job()
        except Exception as failure:
            self._failure = failure
        self.is_done = True
        for resume in self.followers:
            resume()

    def exception(self) -> BaseException | None:
        wait([self], clock=self._clock)
        return self._failure

    def result(self) -> Any:
        if failure := self.exception():
            raise failure
        return self._result


class Pool:
    """A `ThreadPoolExecutor` of greenlets."""

    def __init__(self, clock: Clock, workers: int) -> None:
        self._clock, self._idle = clock, workers
        self._queue: deque[Task] = deque()

    def submit(self, job: Callable[..., Any], *arguments: Any) -> Task:
        task = Task(self._clock, lambda: job(*arguments))
        self._queue.append(task)
        if self._idle:
            self._idle -= 1
            self._clock.spawn(self._work)
        return task

    def _work(self) -> None:
        while self._queue:
            self._queue.popleft().run()
        self._idle += 1

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        """Slipway leaves a pool only when all its tasks have finished."""


def wait(tasks: Iterable[Task], return_when: str = "", *, clock: Clock) -> SimpleNamespace:
    """Returns when one of the tasks has finished."""
    among = list(tasks)
    if not any(task.is_done for task in among):
        resume = clock.resumption()
        is_resumed = False

        def once() -> None:
            nonlocal is_resumed
            if not is_resumed:
                is_resumed = True
                resume()

        for task in among:
            task.followers.append(once)
        _main.switch()
    return SimpleNamespace(done={task for task in among if task.is_done})


@contextmanager
def in_virtual_time(clock: Clock) -> Iterator[None]:
    """Slipway's threads are greenlets within this block, and what a process remembers of URL maps
    is enough for all instances of two functions.
    """

    def pool(workers: int, thread_name_prefix: str = "") -> Pool:
        return Pool(clock, workers)

    with (
        patch.object(url_map, "MAX_VIEWS", 2 * INSTANCES * url_map.MAX_VIEWS),
        patch("infra.compute.client.ThreadPoolExecutor", pool),
        patch("infra.compute.apply.ThreadPoolExecutor", pool),
        patch(
            "infra.compute.apply.wait",
            lambda tasks, return_when: wait(tasks, return_when, clock=clock),
        ),
    ):
        yield
