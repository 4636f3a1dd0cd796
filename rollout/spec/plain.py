"""What stands for pydantic in the declarations of a spec's sections, until one is validated. Pure.

Used by `rollout/spec/section.py` alone. The names are pydantic's, and so is what they do for those
who read and copy sections. Nothing is validated: `rollout/spec/validators.py` makes pydantic's own
models from what is kept here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, NoReturn, Self, get_args, get_origin


class Written:
    """A call of the function of pydantic that has the same name, which is made later."""

    def __init__(self, *values: Any, **options: Any) -> None:
        self.values, self.options = values, options


class Field(Written): ...


class AfterValidator(Written): ...


class BeforeValidator(Written): ...


class Discriminator(Written): ...


class Tag(Written): ...


def model_validator(**options: Any) -> Callable[[Any], Any]:
    """Marks a method by which a whole section is validated."""

    def mark(rule: Any) -> Any:
        rule.validates = options
        return rule

    return mark


class FieldInfo:
    """A field of a section. Its type is `text`, as it stands in the module of `kind`."""

    def __init__(self, kind: type, text: str, written: Written) -> None:
        self._kind, self._text, self.written = kind, text, written

    @property
    def default(self) -> Any:
        return self.written.options.get("default")

    @property
    def description(self) -> Any:
        return self.written.options.get("description")

    @property
    def whole_annotation(self) -> Any:
        return eval(self._text, vars(sys.modules[self._kind.__module__]))

    @property
    def annotation(self) -> Any:
        """The type, without what is written beside it."""
        found = self.whole_annotation
        return get_args(found)[0] if get_origin(found) is Annotated else found


class BaseModel:
    """A frozen section. `model_fields_set` names the fields that it was given."""

    __slots__ = ("__dict__", "model_fields_set")
    model_fields_set: set[str]
    model_fields: ClassVar[Mapping[str, FieldInfo]] = {}

    def __init_subclass__(cls) -> None:
        fields = dict(cls.model_fields)
        for name, text in vars(cls).get("__annotations__", {}).items():
            if text.startswith("ClassVar"):
                continue
            given = vars(cls).get(name, Field())
            written = given if isinstance(given, Field) else Field(default=given)
            fields[name] = FieldInfo(cls, text, written)
            if name in vars(cls):
                delattr(cls, name)
        cls.model_fields = fields

    def __init__(self, **values: Any) -> None:
        fields = type(self).model_fields
        if values.keys() == fields.keys():  # as from a document
            self.__dict__.update({name: values[name] for name in fields})
            object.__setattr__(self, "model_fields_set", set(values))
            return
        if wrong := values.keys() - fields.keys():
            raise TypeError(f"{type(self).__name__} has no field {min(wrong)}")
        for name, field in fields.items():
            if name not in values and "default" not in field.written.options:
                raise TypeError(f"{type(self).__name__} needs {name}")
            default = {} if field.default == {} else field.default
            self.__dict__[name] = values.get(name, default)
        object.__setattr__(self, "model_fields_set", set(values))

    @classmethod
    def model_construct(cls, **values: Any) -> Self:
        return cls(**values)

    @classmethod
    def of(cls, values: Mapping[str, Any], given: set[str]) -> Self:
        """The section with all these values, of which some were given."""
        made = object.__new__(cls)
        made.__dict__.update(values)
        object.__setattr__(made, "model_fields_set", given)
        return made

    def model_copy(self, update: Mapping[str, Any]) -> Self:
        return self.of(vars(self) | dict(update), {*self.model_fields_set, *update})

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        yield from vars(self).items()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        fields = type(self).model_fields
        parts = (
            f"{name}={value!r}"
            for name, value in vars(self).items()
            if fields[name].written.options.get("repr", True)
        )
        return f"{type(self).__name__}({', '.join(parts)})"
