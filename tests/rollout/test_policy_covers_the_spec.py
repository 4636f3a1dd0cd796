"""docs/policy.md says of each field of a release what limits it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from rollout.policy.policy import Policy
from rollout.spec.model import Sections
from rollout.spec.section import Section

PAGE = Path(__file__).parents[2] / "docs/policy.md"
LIMITS_NO_FIELD = {"freezes", "stop", "prices", "is_signed", "project"}
"""`freezes` and `stop` delay every rollout; the others are not of the document."""


def test_each_field_of_a_release_is_in_one_row_and_each_field_of_the_policy_in_some() -> None:
    rows = [
        [re.findall(r"`([a-z_.]+)`", cell) for cell in line.split("|")[1:3]]
        for line in PAGE.read_text().splitlines()
        if re.match(r"\| (`|–)", line)
    ]
    named = [name for _, of_release in rows for name in of_release]
    assert sorted(named) == sorted(set(_paths(Sections)))
    limits = {name for of_policy, _ in rows for name in of_policy}
    assert limits == {each.name for each in fields(Policy)} - LIMITS_NO_FIELD


def _paths(section: type[Section], prefix: str = "") -> Iterator[str]:
    """The paths of all fields, without the names in maps and lists."""
    for name, field in section.model_fields.items():
        inner = [*_sections(field.annotation)]
        if not inner:
            yield prefix + name
        for each in inner:
            yield from _paths(each, f"{prefix}{name}.")


def _sections(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for each in get_args(annotation):
        yield from _sections(each)
