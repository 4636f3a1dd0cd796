"""What all sections of a spec have in common: they are frozen, and know all their fields. Pure."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Section(BaseModel):
    """What validates a section is built when the first value is validated: a pass, which validates
    none, does without. So a module must not create one by its constructor when it is imported, but
    by `model_construct`.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        defer_build=True,
    )


def at_most(most: int) -> BeforeValidator:
    """A limit that is checked before the items, unlike pydantic's own: a list of ten thousand
    invalid items is one problem.
    """

    def count(value: Any) -> Any:
        if isinstance(value, (dict, tuple, list)) and len(value) > most:
            raise ValueError("too many")
        return tuple(value) if isinstance(value, list) else value

    return BeforeValidator(count)
