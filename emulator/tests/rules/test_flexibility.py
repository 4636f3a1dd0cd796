from __future__ import annotations

from compute_emulator.rules.flexibility import Selection, choose, preferred


def test_types_are_tried_once_each_by_rank() -> None:
    given = [
        Selection(("c", "a"), rank=2),
        Selection(("a", "b"), rank=1),
        Selection(("d",), rank=2),
    ]
    assert preferred(given) == ("a", "b", "c", "d")


def test_the_first_available_type_is_used() -> None:
    assert choose("abc", lambda name: "sold out" if name == "a" else None) == ("b", None)


def test_if_none_is_available_the_reason_is_that_of_the_first_choice() -> None:
    assert choose("abc", lambda name: f"no {name}") == ("a", "no a")
