"""The filter for a range of models finds the resources of each, and few others."""

from __future__ import annotations

import random
import re

import pytest

from infra.fleet import naming
from infra.fleet.name_range import ENDING, name_filter


def pattern(models: list[str]) -> re.Pattern[str]:
    found = re.fullmatch('name eq "(.*)"', name_filter(models))
    assert found
    return re.compile(found[1])


@pytest.mark.parametrize(
    ("models", "expression"),
    [
        (["tiny"], f"tiny{ENDING}"),
        (["gpt-2", "gpt-5"], f"gpt-2.*|gpt-[34].*|gpt-5{ENDING}"),
        (["a", "a-b"], f"a-[-0-9a].*|a{ENDING}|a-b{ENDING}"),
        (["ab", "ba"], f"ab.*|a[c-z].*|b[-0-9].*|ba{ENDING}"),
    ],
)
def test_a_filter_is_short(models: list[str], expression: str) -> None:
    assert name_filter(models) == f'name eq "slipway-(?:{expression})"'


def test_every_resource_of_the_models_is_found() -> None:
    chosen = random.Random(18)
    for _ in range(300):
        models = sorted({_name(chosen) for _ in range(chosen.randint(1, 20))})
        matches = pattern(models).fullmatch
        for model in models:
            for colour in naming.COLOURS:
                live = naming.live_check(model, colour)
                template = naming.template_name(model, f"{chosen.getrandbits(40):010x}")
                names = (naming.group_name(model, colour), live.name, template)
                assert all(map(matches, names)), (models, model)
        assert len(name_filter(models)) < 2000


def test_pages_of_models_share_little() -> None:
    models = ["model", *(f"model-{number:04d}" for number in range(999))]
    for start in range(0, 1000, 100):
        page = models[start : start + 100]
        matches = pattern(page).fullmatch
        assert [each for each in models if matches(naming.group_name(each, "blue"))] == page


def _name(chosen: random.Random) -> str:
    start = chosen.choice(("m", "llm-", "llm-a", "gpt-4-", "a"))
    rest = "".join(chosen.choice("ab09z-") for _ in range(chosen.randint(0, 20)))
    return (start + rest).strip("-")
