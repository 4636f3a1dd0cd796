"""A value that takes long to read, kept for those who ask next, and read anew in the background."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from infra.errors import Unavailable

FIRST_SECONDS = 15.0
T = TypeVar("T")


@dataclass(frozen=True)
class Reading(Generic[T]):
    """`at`: when it was begun, by the timer; `problem`: why there is no newer one."""

    value: T
    at: float
    problem: str = ""


@dataclass(frozen=True)
class Times:
    """How old a value may be: up to `fresh` seconds it is not read anew, and after `stale` seconds
    it is not displayed. Whoever asks while it is read waits for `patience` seconds at most, and
    then gets the last one; the first one has to wait.
    """

    fresh: float
    patience: float
    stale: float


class Snapshot(Generic[T]):
    """One thread reads at a time. `cost`: how many seconds longer a value counts as fresh, since it
    was dear to read.
    """

    def __init__(
        self,
        read: Callable[[], T],
        timer: Callable[[], float],
        times: Times,
        cost: Callable[[T], float] = lambda _: 0.0,
    ) -> None:
        self._read, self._timer, self._times, self._cost = read, timer, times, cost
        self._lock = threading.Lock()
        self._last: Reading[T] | None = None
        self._present: Future[Reading[T]] | None = None

    def get(self) -> Reading[T]:
        """Raises what `read` raised if there is no value to display."""
        last = self._last
        age = self._timer() - last.at if last else 0.0
        if last and age < max(self._times.fresh, self._cost(last.value)):
            return last
        if last is None or age >= self._times.stale:
            return self._first()
        try:
            return self.begin().result(self._times.patience)
        except TimeoutError:
            return last
        except Exception as error:
            return Reading(last.value, last.at, str(error) or type(error).__name__)

    def begin(self) -> Future[Reading[T]]:
        """Begins to read in the background, unless a thread reads already."""
        with self._lock:
            if self._present is None:
                self._present = Future()
                threading.Thread(target=self._run, args=(self._present,), daemon=True).start()
            return self._present

    def _first(self) -> Reading[T]:
        try:
            return self.begin().result(FIRST_SECONDS)
        except TimeoutError as error:
            raise Unavailable(f"no answer for {FIRST_SECONDS:.0f} s") from error

    def _run(self, future: Future[Reading[T]]) -> None:
        at = self._timer()
        try:
            found = Reading(self._read(), at)
        except BaseException as error:
            self._end()
            future.set_exception(error)
        else:
            self._last = found
            self._end()
            future.set_result(found)

    def _end(self) -> None:
        with self._lock:
            self._present = None
