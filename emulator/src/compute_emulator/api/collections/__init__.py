"""The collections of the API, one file each. Importing a file registers its handlers; `load`
imports them all."""

from __future__ import annotations

import importlib
import pkgutil


def load() -> None:
    """Import every collection, so that all handlers are registered. Repeating it costs nothing."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
