"""Every file that fuzzing kept, tried again: what once reached new code, or broke something, never breaks anything again."""

from __future__ import annotations

import pytest

from tests.hostile.fuzz import CORPUS
from tests.hostile.intake import Intake
from tests.hostile.parsing import check

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
