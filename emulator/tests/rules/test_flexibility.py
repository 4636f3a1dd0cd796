from __future__ import annotations

from compute_emulator.rules.flexibility import Selection, choose, preferred


def test_types_are_tried_by_rank_and_each_once() -> None:
    given = [
        Selection(("c", "a"), rank=2),
        Selection(("a", "b"), rank=1),
        Selection(("d",), rank=2),
    ]
    assert preferred(given) == ("a", "b", "c", "d")


def test_the_first_type_that_can_be_had_is_taken() -> None:
    assert choose("abc", lambda name: "sold out" if name == "a" else None) == ("b", None)


def test_when_none_can_be_had_the_one_that_was_wanted_most_says_why() -> None:
    assert choose("abc", lambda name: f"no {name}") == ("a", "no a")
