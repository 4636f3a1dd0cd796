"""Converts sections of a spec to and from the documents that Slipway itself wrote. Pure.

Used by `rollout/spec/model.py`. A document of Slipway's own was validated when its release was
accepted, and its digest shows that it is still the same. So it is only taken apart here, by the
types of the sections' fields: to build what validates messages takes longer than a whole pass.
`decode` raises `Unlike` for what it does not expect, and the caller validates that as a message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from rollout.spec.section import Section

Part = TypeVar("Part", bound=Section)
Read = Callable[[Any], Any]


class Unlike(Exception):
    """The document is not what this Slipway writes."""


def encode(value: Any) -> Any:
    """A section, or a value in one, as JSON values."""
    if isinstance(value, Section):
        return {name: encode(member) for name, member in vars(value).items()}
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {name: encode(member) for name, member in value.items()}
    return value


def decode(kind: type[Part], document: object) -> Part:
    """The section in a document."""
    if not isinstance(document, dict):
        raise Unlike(f"{kind.__name__} is no object")
    if unknown := document.keys() - kind.model_fields.keys():
        raise Unlike(f"{kind.__name__} has no field {min(unknown)}")
    values = {
        name: _reader(kind, name)(value) if isinstance(value, (dict, list)) else value
        for name, value in document.items()
    }
    return kind.model_construct(**values)


@cache
def _reader(kind: type[Section], name: str) -> Read:
    """What reads the maps and lists of a field: the sections in it, tuples for lists, maps in the
    order of their names.
    """
    annotation = kind.model_fields[name].annotation
    sections = _sections(annotation)

    def read(value: Any) -> Any:
        if isinstance(value, list):
            return tuple(read(item) if isinstance(item, (dict, list)) else item for item in value)
        if not isinstance(value, dict):
            return value
        if not sections:
            return dict(sorted(value.items()))
        return decode(_kind_of(sections, value), value)

    return _map_of(read) if _is_map(annotation) and sections else read


def _map_of(read: Read) -> Read:
    def read_map(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Unlike(f"{value!r} is no object")
        return {name: read(value[name]) for name in sorted(value)}

    return read_map


def _kind_of(sections: tuple[type[Section], ...], value: Mapping[str, Any]) -> type[Section]:
    """The kind that has all these fields: no two kinds of step do."""
    if len(sections) == 1:
        return sections[0]
    found = [each for each in sections if value.keys() <= each.model_fields.keys()]
    if len(found) != 1:
        raise Unlike(f"{sorted(value)} are the fields of {len(found)} kinds")
    return found[0]


def _is_map(annotation: Any) -> bool:
    return get_origin(annotation) is dict


def _sections(annotation: Any) -> tuple[type[Section], ...]:
    """The sections that values of the type, or its items, may be."""
    if get_origin(annotation) is Annotated:
        return _sections(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType, tuple, dict):
        return tuple(kind for part in get_args(annotation) for kind in _sections(part))
    is_section = isinstance(annotation, type) and issubclass(annotation, Section)
    return (annotation,) if is_section else ()
