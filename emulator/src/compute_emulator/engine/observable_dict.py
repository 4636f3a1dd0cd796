"""A dict of settings that notifies its listeners of changes, so that nobody has to poll it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Value = TypeVar("Value")


class ObservableDict(dict[str, Value]):
    """Calls every listener when an entry changes. Changes within a value are not noticed."""

    def __init__(self) -> None:
        super().__init__()
        self.listeners: list[Callable[[], None]] = []

    def __setitem__(self, name: str, value: Value) -> None:
        super().__setitem__(name, value)
        self.notify()

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        self.notify()

    def pop(self, *arguments: Any) -> Any:
        removed = super().pop(*arguments)
        self.notify()
        return removed

    def update(self, *arguments: Any, **members: Any) -> None:
        super().update(*arguments, **members)
        self.notify()

    def clear(self) -> None:
        super().clear()
        self.notify()

    def notify(self) -> None:
        """Call every listener, as after a change."""
        for listener in list(self.listeners):
            listener()
