"""Counts the calls to Compute Engine of one piece of work, although several at once share a client.

A handler starts a count, and `infra/compute/client.py` adds each call to that of its context. A job
for another thread takes the context along (`in_context`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from functools import partial
from threading import Lock
from typing import TypeVar

T = TypeVar("T")


class CallCount:
    def __init__(self) -> None:
        self._lock, self.total = Lock(), 0

    def add(self) -> None:
        with self._lock:
            self.total += 1


_current: ContextVar[CallCount] = ContextVar("calls to Compute Engine")


def start() -> CallCount:
    """A new count of all calls that this context makes from now on."""
    count = CallCount()
    _current.set(count)
    return count


def add() -> None:
    count = _current.get(None)
    if count:
        count.add()


def in_context(job: Callable[[], T]) -> Callable[[], T]:
    """The job as another thread has to run it, so that its calls count for this work."""
    return partial(copy_context().run, job)
