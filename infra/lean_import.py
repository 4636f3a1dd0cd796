"""Imports single modules of a Google client library without what its packages' `__init__` files
import besides.

A client library's packages import everything they have: each service with its asynchronous twin,
and helpers for other styles of use. A function that makes one client pays for all of it at every
cold start. Here the `__init__` of a package is put off until somebody asks the package for a name
that is none of its submodules; then it runs, in place, and the library is whole:

    lean_import(("lib",), "lib.services.one.client")     lib/__init__.py does not run
    from lib import One                                  now it does; its One is the one imported before

Used by `infra/bus/pubsub.py` and `infra/store/firestore.py`. A library that is imported already is
used as it is. Unlike `infra/compute/loader.py`, which takes a file of messages apart, this changes
no code and keeps no second copy."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from threading import RLock
from types import ModuleType
from typing import Any

_lock = RLock()
_OF_THE_WHOLE = ("__all__", "__version__")


def lean_import(deferred: Sequence[str], *names: str) -> tuple[Any, ...]:
    """The modules `names`; the `__init__` files of the packages `deferred`, outer ones first, are
    not run for them."""
    with _lock:
        for package in deferred:
            if package not in sys.modules:
                _defer(package)
        return tuple(importlib.import_module(name) for name in names)


class _Deferred(ModuleType):
    """A package whose `__init__` has not run yet."""

    def __getattr__(self, name: str) -> Any:
        """Asked for what is not there: a submodule is imported, for anything else the package
        becomes whole."""
        if name.startswith("__") and name not in _OF_THE_WHOLE:
            raise AttributeError(name)
        with _lock:
            if importlib.util.find_spec(f"{self.__name__}.{name}"):
                return importlib.import_module(f"{self.__name__}.{name}")
            if type(self) is _Deferred and self.__spec__ and self.__spec__.loader:
                self.__class__ = ModuleType  # type: ignore[assignment]  # what __init__ asks of the package is found as ever
                self.__spec__.loader.exec_module(self)
            return getattr(self, name)


def _defer(name: str) -> None:
    """Put the package in its place, as importing it would, without running it. One that is no
    package is left to the import."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return
    package = importlib.util.module_from_spec(spec)
    package.__class__ = _Deferred
    sys.modules[name] = package
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, package)
