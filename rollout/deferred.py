"""`dataclass`, as the standard library's, whose methods are generated when a class is first used.
Pure.

The standard decorator compiles up to ten methods for each class: a function imports some 230
classes, of which its first event uses a third, and the others were a sixth of a cold start. Here a
frozen class gets placeholders. The first use of one generates all methods, with the standard
decorator, and puts them in the place of the placeholders:

    @dataclass(frozen=True)      fields, defaults and placeholders; nothing is compiled
    class Point: ...
    Point(1, 2)                  __init__ is a placeholder: generates, then calls the real one
    Point(1, 2) == Point(1, 2)   the real __eq__

What this cannot do (a class that is not frozen, or that defines one of the methods itself) is left
to the standard decorator at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

_ALWAYS = ("__dataclass_fields__", "__dataclass_params__", "__match_args__", "__init__")
_BY_OPTION = {
    "repr": ("__repr__",),
    "eq": ("__eq__", "__hash__"),
    "order": ("__lt__", "__le__", "__gt__", "__ge__"),
}
_DEFAULTS = {"frozen": False, "repr": True, "eq": True, "order": False, "kw_only": False}


def _dataclass(cls: type | None = None, /, **options: bool) -> Any:
    if cls is None:
        return lambda cls: _dataclass(cls, **options)
    chosen = _DEFAULTS | options
    names = (
        *_ALWAYS,
        *(name for option in _BY_OPTION if chosen[option] for name in _BY_OPTION[option]),
    )
    own = vars(cls)
    if not chosen["frozen"] or len(chosen) > len(_DEFAULTS) or not own.keys().isdisjoint(names):
        return dataclasses.dataclass(**options)(cls)
    placeholder = _Placeholders(cls, options, dict(own))
    for name in own.get("__annotations__", ()):
        _set_default(cls, name, own.get(name))
    for name in names:
        setattr(cls, name, _Placeholder(name, placeholder))
    cls.__setattr__, cls.__delattr__ = _refuse_set, _refuse_delete  # type: ignore[assignment]
    return cls


def _set_default(cls: type, name: str, value: object) -> None:
    """As the standard decorator leaves a field in the class: its default, if it has one."""
    if not isinstance(value, dataclasses.Field):
        return
    if value.default is dataclasses.MISSING:
        delattr(cls, name)
    else:
        setattr(cls, name, value.default)


def _refuse_set(self: object, name: str, value: object) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_delete(self: object, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


class _Placeholders:
    """Those of one class. `namespace` is the class's own, as it was written."""

    def __init__(
        self, cls: type, options: Mapping[str, bool], namespace: Mapping[str, Any]
    ) -> None:
        self._cls, self._options, self._namespace = cls, options, namespace

    def replace(self) -> None:
        """Generate the methods in a class of their own, and move them over one by one: another
        thread finds a placeholder or what replaces it, and may generate the same again.
        """
        namespace = {
            name: value
            for name, value in self._namespace.items()
            if name not in ("__dict__", "__weakref__")
        }
        generated = type(self._cls)(self._cls.__name__, self._cls.__bases__, namespace)
        dataclasses.dataclass(**self._options)(generated)
        for name, value in tuple(vars(self._cls).items()):
            if isinstance(value, _Placeholder):
                setattr(self._cls, name, vars(generated)[name])


class _Placeholder:
    """A method, or a fact, that is generated when it is looked up."""

    def __init__(self, name: str, placeholders: _Placeholders) -> None:
        self._name, self._placeholders = name, placeholders

    def __get__(self, instance: object, owner: type) -> Any:
        self._placeholders.replace()
        return getattr(owner if instance is None else instance, self._name)


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    dataclass: Callable[..., Any] = _dataclass
