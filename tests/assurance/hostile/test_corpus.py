"""Every file that fuzzing kept, tried again: what once reached new code, or broke something, never
breaks anything again."""

from __future__ import annotations

import json
from random import Random

import pytest

from tests.assurance.hostile.fuzz import CORPUS, EXAMPLES
from tests.assurance.hostile.intake import Intake, scaled
from tests.assurance.hostile.mutation import Mutator
from tests.assurance.hostile.parsing import check

FILES = sorted(CORPUS.iterdir())


def test_the_corpus_holds_messages_that_are_taken_and_ones_that_are_not() -> None:
    found = [check(file.read_bytes()) for file in FILES]
    assert found.count(True) >= 10
    assert found.count(False) >= 20


@pytest.mark.parametrize("part", range(4))
def test_every_file_of_the_corpus_is_taken_or_refused_by_the_function(part: int) -> None:
    for file in FILES[part::4]:
        data = file.read_bytes()
        found = Intake().take(data)
        assert check(data) or found.why, file.name


def test_a_message_with_some_fields_changed_is_taken_or_refused() -> None:
    """What the fuzzer does to messages, without what leads it. Some must get past the checks, or it
    would learn nothing."""
    seeds = [file.read_bytes() for file in sorted(EXAMPLES.iterdir())]
    mutator = Mutator([*seeds, *(file.read_bytes() for file in FILES)], lambda text: text[::-1])
    made = [
        mutator.changed(seeds[number % len(seeds)], Random(number))
        for number in range(scaled(200, 20_000))
    ]
    assert all(isinstance(json.loads(message), dict) for message in made if message)
    found = [check(message) for message in made if message]
    assert 0.05 < found.count(True) / len(found) < 0.8
