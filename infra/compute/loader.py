"""Imports single service modules of the Compute client, without the cost of unused services and
messages.

`google.cloud.compute_v1/__init__` imports some 130 services, and `types/compute.py` builds 2,087
message classes: more than half of a cold start. A `Library` imports only the modules of its
services, and lets `types/compute.py` build only the messages that these services refer to. Of these
only the requests have their fields. The others (resources, lists, operations) are empty, since
`infra/compute/calls.py` sends and receives them as plain JSON:

    stub packages with the real `__path__`
      ─> `types/compute.py`, unchanged, but its class statements go through `_selective`
      ─> `services/<name>`, unchanged

This runs the installed library's own code. None of it stays in `sys.modules`, and its messages are
registered under a package name of their own, so a plain `import google.cloud.compute_v1` in the
same process still works. If the installed version has an unexpected layout, the plain import
provides everything: slower, never broken.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import itertools
import logging
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import RLock
from types import CodeType, ModuleType
from typing import Any

from infra.cold_start import without_collection

PACKAGE = "google.cloud.compute_v1"
MESSAGES = f"{PACKAGE}.types.compute"
SERVICE_FILES = ("client.py", "transports/rest.py")

log = logging.getLogger("slipway")
_lock = RLock()
_numbers = itertools.count(1)


class Library:
    """The named services of the client library. A service is imported at its first use.
    Thread-safe.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._names = tuple(services)
        self._modules: dict[str, ModuleType] | None = None
        self._is_plain = False

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def service(self, name: str) -> ModuleType:
        """The module `google.cloud.compute_v1.services.<name>`."""
        if name not in self._names:
            raise LookupError(f"service {name} is not in this library: {', '.join(self._names)}")
        with _lock:
            if not self._is_plain and PACKAGE not in sys.modules:
                try:
                    with without_collection():
                        return self._import_lean(name)
                except Exception as error:  # an unexpected layout: the plain import copes with it
                    log.warning(
                        "Compute client imported as a whole",
                        extra={"fields": {"why": f"{type(error).__name__}: {error}"}},
                    )
            self._is_plain = True
            return importlib.import_module(f"{PACKAGE}.services.{name}")

    def _import_lean(self, name: str) -> ModuleType:
        if self._modules is None:
            self._modules = _make_stubs()
            with _installed(self._modules):
                self._modules[MESSAGES] = _load_messages(
                    str(self._modules[PACKAGE].__path__[0]), self._names
                )
        full_name = f"{PACKAGE}.services.{name}"
        if full_name in self._modules:
            return self._modules[full_name]
        with _installed(self._modules):
            return importlib.import_module(full_name)


def _make_stubs() -> dict[str, ModuleType]:
    """Packages that find the submodules of the real ones, without running the real `__init__`."""
    importlib.import_module("google.cloud")
    root = importlib.util.find_spec(PACKAGE)
    if root is None or not root.submodule_search_locations:
        raise ImportError(f"{PACKAGE} is not a package")
    modules = {}
    for name in (PACKAGE, f"{PACKAGE}.types", f"{PACKAGE}.services"):
        modules[name] = stub = ModuleType(name)
        stub.__path__ = [
            location + name.removeprefix(PACKAGE).replace(".", "/")
            for location in root.submodule_search_locations
        ]
    return modules


@contextmanager
def _installed(modules: dict[str, ModuleType]) -> Iterator[None]:
    """Put `modules` into `sys.modules` for the duration; add what is imported of the package
    meanwhile to them.
    """
    parent = sys.modules["google.cloud"]
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in sys.modules.copy():  # other threads import, too
            if name == PACKAGE or name.startswith(f"{PACKAGE}."):
                modules[name] = sys.modules.pop(name)
        parent.__dict__.pop(PACKAGE.rpartition(".")[2], None)


# ---- Messages


def _load_messages(root: str, services: Iterable[str]) -> ModuleType:
    """Run `types/compute.py` with a `class` statement that skips the messages that are not needed.

    proto-plus registers all messages of a module at once, as soon as the last one in its manifest
    exists, so the manifest is reduced as well.
    """
    code = _load_code(MESSAGES, f"{root}/types/compute.py")
    needed = _find_messages(code, _find_names(root, services))
    module = ModuleType(f"{__name__}.messages_{next(_numbers)}")
    module.__dict__["__builtins__"] = vars(builtins) | {
        "__build_class__": _selective(module, needed)
    }
    sys.modules[module.__name__] = module  # proto-plus looks up its manifest here
    try:
        exec(code, module.__dict__)
    finally:
        del sys.modules[module.__name__]
    unfinished = [name for name in needed if getattr(module, name).pb() is None]
    if not needed or unfinished:
        raise ImportError(f"messages were not registered: {unfinished}")
    sys.modules[f"{PACKAGE}.types"].compute = module  # type: ignore[attr-defined]
    return module


def _selective(module: ModuleType, needed: frozenset[str]) -> Callable[..., Any]:
    def build(body: Any, name: str, *bases: Any, **options: Any) -> Any:
        namespace = module.__dict__
        if len(namespace["__protobuf__"].manifest) != len(needed):
            proto = namespace["proto"]
            namespace["__protobuf__"] = proto.module(package=module.__name__, manifest=needed)
        if "." in body.__qualname__ or (
            name in needed and _has_fields(name)
        ):  # a dot: it is nested
            return builtins.__build_class__(body, name, *bases, **options)
        if name in needed:
            own = {"__module__": module.__name__, "__qualname__": name}
            return types.new_class(name, bases, options, lambda members: members.update(own))
        return None

    return build


def _has_fields(name: str) -> bool:
    return name.endswith("Request")


def _find_messages(code: CodeType, roots: Iterable[str]) -> frozenset[str]:
    """The messages in `roots` and, recursively, those of the fields that they have. A field names
    its message in a string.
    """
    classes = {each.co_name: each for each in code.co_consts if isinstance(each, CodeType)}
    found: set[str] = set()
    pending = [name for name in roots if name in classes]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            if not _has_fields(name):
                continue
            pending += [text for text in _strings_in(classes[name]) if text in classes]
    return frozenset(found)


def _find_names(root: str, services: Iterable[str]) -> set[str]:
    """Every name that the code of the services uses."""
    names: set[str] = set()
    for service in services:
        for file in SERVICE_FILES:
            for code in _nested_code(_load_code(service, f"{root}/services/{service}/{file}")):
                names.update(code.co_names)
    return names


def _strings_in(code: CodeType) -> Iterator[str]:
    return (text for each in _nested_code(code) for text in each.co_consts if isinstance(text, str))


def _nested_code(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _nested_code(each)


def _load_code(name: str, path: str) -> CodeType:
    """The compiled code of a file, from the bytecode cache if possible."""
    spec = importlib.util.spec_from_file_location(name, path)
    loader: Any = spec and spec.loader
    code = loader.get_code(name)
    if not isinstance(code, CodeType):
        raise ImportError(f"no code in {path}")
    return code
