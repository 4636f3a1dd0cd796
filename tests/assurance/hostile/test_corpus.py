"""Replays every file that fuzzing kept: inputs that reached new code or once broke something."""

from __future__ import annotations

import json
from random import Random

import pytest

from tests.assurance.hostile.fuzz import CORPUS, EXAMPLES
from tests.assurance.hostile.intake import Intake, scaled
from tests.assurance.hostile.mutator import Mutator
from tests.assurance.hostile.parsing import check

FILES = sorted(CORPUS.iterdir())


def test_the_corpus_has_accepted_and_refused_messages() -> None:
    found = [check(file.read_bytes()) for file in FILES]
    assert found.count(True) >= 10
    assert found.count(False) >= 20


@pytest.mark.parametrize("part", range(4))
def test_the_function_accepts_or_refuses_every_file_of_the_corpus(part: int) -> None:
    for file in FILES[part::4]:
        data = file.read_bytes()
        found = Intake().deliver(data)
        assert check(data) or found.why, file.name


def test_a_mutated_message_is_accepted_or_refused() -> None:
    """The fuzzer's mutations without its guidance. Some must be accepted, otherwise the fuzzer
    could not reach the code behind the checks.
    """
    seeds = [file.read_bytes() for file in sorted(EXAMPLES.iterdir())]
    mutator = Mutator([*seeds, *(file.read_bytes() for file in FILES)], lambda text: text[::-1])
    made = [
        mutator.mutate(seeds[number % len(seeds)], Random(number))
        for number in range(scaled(200, 20_000))
    ]
    assert all(isinstance(json.loads(message), dict) for message in made if message)
    found = [check(message) for message in made if message]
    assert 0.05 < found.count(True) / len(found) < 0.8
