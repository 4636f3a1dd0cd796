"""Verdicts are right in an untidy world: healthy releases pass, crash-looping ones never do."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.assurance.verdicts.judge import confusion


@pytest.mark.parametrize("first", [0, *(pytest.param(n, marks=pytest.mark.wide) for n in (20, 40))])
def test_the_environment_condemns_no_release_and_no_crash_loop_passes(first: int) -> None:
    """`make bench` judges a thousand of each kind. One that gets no instance at all may fail."""
    found = confusion(20, first)
    assert found["crash-looping"] == Counter(rolling_back=20)
    assert found["healthy"]["succeeded"] >= 19
