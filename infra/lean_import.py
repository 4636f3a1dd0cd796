"""Imports single modules of a Google client library without running the `__init__` files of its
packages.

The packages of a client library import everything in them: each service with its asynchronous
variant, and helpers for other styles of use. A function that needs one client pays for all of it at
every cold start. Here, the `__init__` of a package is deferred until a name is requested that is
not one of its submodules. Then it runs, in place, and the library is complete:

    lean_import(("lib",), "lib.services.one.client")     lib/__init__.py does not run
    from lib import One                                  now it runs; One is the same class

Used by `infra/bus/pubsub.py` and `infra/store/firestore.py`, and by `infra/cold_start.py` for
modules that few functions need at all. A library that is already imported is used as it is. Unlike
`infra/compute/loader.py`, which builds only some messages of a file, this changes no code and keeps
no second copy.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from threading import RLock
from types import ModuleType
from typing import Any

_lock = RLock()
_PACKAGE_NAMES = ("__all__", "__version__")


def lean_import(deferred: Sequence[str], *names: str) -> tuple[Any, ...]:
    """Import the modules `names` without running those in `deferred`, packages or modules, which
    are listed outermost first.
    """
    with _lock:
        for package in deferred:
            if package not in sys.modules:
                _defer(package)
        return tuple(importlib.import_module(name) for name in names)


class _Deferred(ModuleType):
    """A package, or a module, whose code has not run yet."""

    def __getattr__(self, name: str) -> Any:
        """Import a submodule; for any other name, run `__init__` first."""
        if name.startswith("__") and name not in _PACKAGE_NAMES:
            raise AttributeError(name)
        with _lock:
            is_package = "__path__" in vars(self)
            if is_package and importlib.util.find_spec(f"{self.__name__}.{name}"):
                return importlib.import_module(f"{self.__name__}.{name}")
            if type(self) is _Deferred and self.__spec__ and self.__spec__.loader:
                self.__class__ = ModuleType  # type: ignore[assignment]  # lookups are ordinary again
                self.__spec__.loader.exec_module(self)
            return getattr(self, name)


def _defer(name: str) -> None:
    """Add the module to `sys.modules` without running it. If there is none, leave it to the
    import.
    """
    spec = importlib.util.find_spec(name)
    if spec is None:
        return
    package = importlib.util.module_from_spec(spec)
    package.__class__ = _Deferred
    sys.modules[name] = package
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, package)
