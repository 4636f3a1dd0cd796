"""The type of a control, and the table in which a module collects its controls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from compute_emulator.engine.cloud import Cloud

Query = dict[str, str]
Control = Callable[[Cloud, Query, Any], Any]
"""Takes the cloud, the query and the body's JSON; returns JSON."""
Decorated = TypeVar("Decorated", bound=Control)


@dataclass(frozen=True, slots=True)
class ControlEntry:
    run: Control
    about: str


class Controls(dict[tuple[str, str], ControlEntry]):
    """Controls by HTTP method and by path below `/control`."""

    def add(self, http: str, path: str, about: str) -> Callable[[Decorated], Decorated]:
        """Add the decorated function as a control."""

        def decorate(run: Decorated) -> Decorated:
            self[(http, path)] = ControlEntry(run, about)
            return run

        return decorate
