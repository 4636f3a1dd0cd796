"""What all sections of a spec have in common: they are frozen, and know all their fields. Pure.

A section is declared as a model of pydantic is, and for the type checker it is one. But it is a
plain class (`rollout/spec/plain.py`): what is written with `Field`, `AfterValidator` and the like
is kept as it was written, until `rollout/spec/validators.py` makes pydantic's model of it, to
validate the first message. A pass, which validates none, does without pydantic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import (
        AfterValidator,
        BaseModel,
        BeforeValidator,
        Discriminator,
        Field,
        Tag,
        model_validator,
    )
else:
    from rollout.spec.plain import (
        AfterValidator,
        BaseModel,
        BeforeValidator,
        Discriminator,
        Field,
        Tag,
        model_validator,
    )

__all__ = [
    "AfterValidator",
    "BeforeValidator",
    "Discriminator",
    "Field",
    "Section",
    "Tag",
    "at_most",
    "model_validator",
    "option_tag",
]


class Section(BaseModel):
    """Its constructor validates nothing."""


def option_tag(option: type[Section]) -> str:
    """The tag of one option of a union. Pydantic puts it into the location of an error, and no
    field has such a name.
    """
    return f"[{option.__name__}]"


def at_most(most: int) -> BeforeValidator:
    """A limit that is checked before the items, unlike pydantic's own: a list of ten thousand
    invalid items is one problem.
    """

    def count(value: Any) -> Any:
        if isinstance(value, (dict, tuple, list)) and len(value) > most:
            raise ValueError("too many")
        return tuple(value) if isinstance(value, list) else value

    return BeforeValidator(count)
