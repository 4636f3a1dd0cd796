"""Dataclasses whose methods are generated at their first use behave like the standard library's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest

from rollout import deferred


@pytest.fixture(params=[dataclasses.dataclass, deferred.dataclass], ids=["standard", "deferred"])
def decorator(request: pytest.FixtureRequest) -> Any:
    return request.param


def make(decorator: Any) -> tuple[type[Any], type[Any]]:
    """A class with every sort of field, and one that inherits from it."""

    @decorator(frozen=True, order=True)
    class Part:
        name: str
        size: int = 1
        tags: tuple[str, ...] = ()
        counts: dict[str, int] = dataclasses.field(default_factory=dict, compare=False)
        secret: str = dataclasses.field(default="x", repr=False)
        KIND: ClassVar[str] = "part"

        @property
        def label(self) -> str:
            return f"{self.name} {self.size}"

    @decorator(frozen=True)
    class Wheel(Part):
        spokes: int = 32

        def __post_init__(self) -> None:
            if self.spokes < 1:
                raise ValueError("a wheel has spokes")

    return Part, Wheel


USES: dict[str, Callable[[type[Any], type[Any]], object]] = {
    "equality": lambda part, wheel: (part("a") == part("a", 1), part("a") == wheel("a")),
    "hash": lambda part, wheel: hash(part("a", 2)) == hash(part("a", 2)),
    "text": lambda part, wheel: repr(wheel("a", 2)),
    "order": lambda part, wheel: part("a", 2) < part("a", 3) <= part("b"),
    "replace": lambda part, wheel: vars(dataclasses.replace(wheel("a"), size=5)),
    "fields": lambda part, wheel: [field.name for field in dataclasses.fields(wheel)],
    "match": lambda part, wheel: wheel.__match_args__,
    "as a dictionary": lambda part, wheel: dataclasses.asdict(wheel("a")),
    "defaults of the class": lambda part, wheel: (part.size, part.secret, part.KIND),
    "a property": lambda part, wheel: wheel("a").label,
    "own factories": lambda part, wheel: part("a").counts is part("a").counts,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_a_deferred_class_is_used_like_a_standard_one(
    use: Callable[[type[Any], type[Any]], object],
) -> None:
    assert use(*make(deferred.dataclass)) == use(*make(dataclasses.dataclass))


def test_an_instance_is_frozen_refuses_unknown_fields_and_is_checked(decorator: Any) -> None:
    part, wheel = make(decorator)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'size'"):
        part("a").size = 3
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'size'"):
        del wheel("a").size
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        part("a", colour="red")
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'name'"):
        part()
    with pytest.raises(ValueError, match="a wheel has spokes"):
        wheel("a", spokes=0)
    with pytest.raises(AttributeError, match="counts"):
        _ = part.counts


def test_a_class_that_is_not_frozen_or_has_its_own_methods_is_complete_at_once() -> None:
    @deferred.dataclass
    class Draft:
        size: int = 1

    @deferred.dataclass(frozen=True)
    class Name:
        text: str

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Name) and other.text.lower() == self.text.lower()

    draft = Draft()
    draft.size = 2
    assert draft == Draft(2)
    assert Name("A") == Name("a")


def test_threads_that_use_a_class_for_the_first_time_at_once_get_equal_instances() -> None:
    for _ in range(50):
        part, _ = make(deferred.dataclass)
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(part, ["a"] * 8))
        assert set(made) == {part("a")}
