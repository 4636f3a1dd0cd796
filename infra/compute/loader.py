"""Imports the Compute client's service modules without paying for the services and messages that
nobody here uses.

`google.cloud.compute_v1/__init__` imports some 130 services and `types/compute.py` builds 2,087
message classes: more than half of a cold start. A `Library` imports the modules of its services
alone, and lets `types/compute.py` build only the messages that those services speak of:

    stub packages with the real `__path__` ─> `types/compute.py`, run as it is, but its class statements pass through us
                                             ─> `services/<name>`, as they are

What runs is the installed library's own code. Nothing of it stays in `sys.modules`, and its
messages are registered under a package name of their own, so a plain `import
google.cloud.compute_v1` in the same process works as ever, beside it. When the installed version is
not laid out as expected, everything comes from the plain import: slower, never broken."""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import itertools
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import RLock
from types import CodeType, ModuleType
from typing import Any

PACKAGE = "google.cloud.compute_v1"
MESSAGES = f"{PACKAGE}.types.compute"
SERVICE_FILES = ("client.py", "transports/rest.py")

log = logging.getLogger("slipway")
_lock = RLock()
_numbers = itertools.count(1)


class Library:
    """The named services of the client library; each is imported when it is first asked for. May be
    used by any number of threads."""

    def __init__(self, services: Iterable[str]) -> None:
        self._names = tuple(services)
        self._modules: dict[str, ModuleType] | None = None
        self._is_plain = False

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def service(self, name: str) -> ModuleType:
        """The module `google.cloud.compute_v1.services.<name>`."""
        if name not in self._names:
            raise LookupError(
                f"service {name} is not among this library's: {', '.join(self._names)}"
            )
        with _lock:
            if not self._is_plain and PACKAGE not in sys.modules:
                try:
                    return self._lean(name)
                except Exception as unexpected:  # whatever is laid out differently: the plain import knows how to cope
                    log.warning(
                        "Compute client imported as a whole",
                        extra={"why": f"{type(unexpected).__name__}: {unexpected}"},
                    )
            self._is_plain = True
            return importlib.import_module(f"{PACKAGE}.services.{name}")

    def _lean(self, name: str) -> ModuleType:
        if self._modules is None:
            self._modules = _stubs()
            with _installed(self._modules):
                self._modules[MESSAGES] = _messages(
                    str(self._modules[PACKAGE].__path__[0]), self._names
                )
        with _installed(self._modules):
            return importlib.import_module(f"{PACKAGE}.services.{name}")


def _stubs() -> dict[str, ModuleType]:
    """Packages that find their submodules where the real ones are, without running the real ones'
    `__init__`."""
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
    """Let `modules` stand in `sys.modules` for a while; what is imported of the package meanwhile
    is added to them."""
    parent = sys.modules["google.cloud"]
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in [
            name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")
        ]:
            modules[name] = sys.modules.pop(name)
        parent.__dict__.pop(PACKAGE.rpartition(".")[2], None)


# ---- Messages


def _messages(root: str, services: Iterable[str]) -> ModuleType:
    """`types/compute.py`, run with a `class` statement that skips the messages not needed.

    proto-plus registers all messages of a module at once, when the last one of its manifest is
    there: so the manifest is cut as well."""
    code = _code(MESSAGES, f"{root}/types/compute.py")
    needed = _closure(code, _spoken_of(root, services))
    module = ModuleType(f"{__name__}.messages_{next(_numbers)}")
    module.__dict__["__builtins__"] = vars(builtins) | {
        "__build_class__": _selective(module, needed)
    }
    sys.modules[module.__name__] = module  # proto-plus looks its manifest up here
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
        if name in needed or "." in body.__qualname__:  # a dot: something within a message
            return builtins.__build_class__(body, name, *bases, **options)
        return None

    return build


def _closure(code: CodeType, roots: Iterable[str]) -> frozenset[str]:
    """The messages among `roots`, and those that their fields are made of: a field names its
    message by a string."""
    classes = {each.co_name: each for each in code.co_consts if isinstance(each, CodeType)}
    found: set[str] = set()
    open_ends = [name for name in roots if name in classes]
    while open_ends:
        name = open_ends.pop()
        if name not in found:
            found.add(name)
            open_ends += [text for text in _texts(classes[name]) if text in classes]
    return frozenset(found)


def _spoken_of(root: str, services: Iterable[str]) -> set[str]:
    """Every name that the services' code uses."""
    names: set[str] = set()
    for service in services:
        for file in SERVICE_FILES:
            for code in _nested(_code(service, f"{root}/services/{service}/{file}")):
                names.update(code.co_names)
    return names


def _texts(code: CodeType) -> Iterator[str]:
    return (text for each in _nested(code) for text in each.co_consts if isinstance(text, str))


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _nested(each)


def _code(name: str, path: str) -> CodeType:
    """A file's compiled code, from the bytecode cache where there is one."""
    spec = importlib.util.spec_from_file_location(name, path)
    loader: Any = spec and spec.loader
    code = loader.get_code(name)
    if not isinstance(code, CodeType):
        raise ImportError(f"no code in {path}")
    return code
