"""Pydantic's models of the sections of a spec, each made when it is first needed. Pure.

Used by `rollout/spec/validation.py`. A model has the name, the description, the fields and the
validators that its section is written with; what it has validated becomes the section.
"""

from __future__ import annotations

from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pydantic
from pydantic import BaseModel, ConfigDict, create_model

from rollout.spec.section import Section

_sections: dict[type[BaseModel], type[Section]] = {}


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        defer_build=True,
    )


@cache
def model_of(kind: Any) -> type[BaseModel]:
    """The model of a section. A model is its own."""
    if not issubclass(kind, Section):
        model: type[BaseModel] = kind
        return model
    above = kind.__mro__[1]
    own = [name for name in vars(kind).get("__annotations__", {}) if name in kind.model_fields]
    fields: Any = {name: _field(kind.model_fields[name]) for name in own}
    mark: Any = pydantic.model_validator
    rules: Any = {
        name: mark(**rule.validates)(rule)
        for name, rule in vars(kind).items()
        if hasattr(rule, "validates")
    }
    made = create_model(
        kind.__name__,
        __base__=_Model if above is Section else model_of(above),
        __doc__=kind.__doc__,
        __module__=kind.__module__,
        __validators__=rules,
        **fields,
    )
    _sections[made] = kind
    return made


def to_section(value: Any) -> Any:
    """What was validated, with sections for models."""
    if isinstance(value, BaseModel):
        kind: Any = _sections.get(type(value))
        if kind is None:
            return value
        members = {name: to_section(member) for name, member in vars(value).items()}
        return kind.of(members, set(value.model_fields_set))
    if isinstance(value, tuple):
        return tuple(to_section(item) for item in value)
    if isinstance(value, dict):
        return {name: to_section(member) for name, member in value.items()}
    return value


def _field(field: Any) -> tuple[Any, Any]:
    options = dict(field.written.options)
    if "default" in options:
        options["default"] = _of_section(options["default"])
    return _annotation(field.whole_annotation), pydantic.Field(**options)


def _of_section(value: Any) -> Any:
    """A default as the model has it."""
    if not isinstance(value, Section):
        return value
    members = {name: _of_section(member) for name, member in value}
    return model_of(type(value)).model_construct(value.model_fields_set, **members)


def _annotation(found: Any) -> Any:
    """The same type with models for sections, and with pydantic's own validators."""
    origin, arguments = get_origin(found), get_args(found)
    if origin is Annotated:
        beside = (made(each) for each in found.__metadata__)
        return Annotated[(_annotation(arguments[0]), *beside)]
    if origin is Literal or not arguments:
        is_section = isinstance(found, type) and issubclass(found, Section)
        return model_of(found) if is_section else found
    inner = [each if each is ... else _annotation(each) for each in arguments]
    if origin in (Union, UnionType):
        return reduce(or_, inner)
    return origin[tuple(inner)]


def made(written: Any) -> Any:
    """What is written as a call of pydantic's, made; anything else as it is."""
    values, options = getattr(written, "values", None), getattr(written, "options", None)
    if values is None or options is None:
        return written
    return getattr(pydantic, type(written).__name__)(*values, **options)
