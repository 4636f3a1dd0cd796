"""No model starves, whatever the others do: every pass comes within its bound while a hot model is
flooded, all are due at once after an outage, and the quota refuses reads.

The deployed functions run with four slots and a tenth of the usual quota; see
`bench/scale/deployment.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from bench.scale import deployment as deployments
from bench.scale.deployment import Deployment
from bench.scale.mixed import QUICK, bring, copy_model
from bench.scale.setting import CONCURRENCY
from bench.scale.threads import in_virtual_time
from bench.setting import release_message
from tests.assurance.simulation.fairness import Fairness

BAKING, PAUSED, READS_PER_MINUTE, SLOTS = 30, 30, 120, 4
BOUND = timedelta(seconds=150)
"""A tick, a minute in which the quota is used up by others, and half of one to catch up."""


@pytest.fixture
def many_models(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Deployment, Fairness]]:
    """Models that bake or are paused, so many that they need the reads of their project."""
    monkeypatch.setattr(deployments, "INSTANCES", SLOTS // CONCURRENCY)
    deployment, fairness = Deployment(READS_PER_MINUTE, QUICK), Fairness()
    deployment.on_commit = fairness.on_commit
    with in_virtual_time(deployment.clock):
        for model, count, command in (("p00000", PAUSED, "pause"), ("b00000", BAKING, "")):
            bring(deployment, model, command)
            copy_model(deployment, model, count)
        deployment.run(4)
        fairness.begin(deployment.clock.now())
        yield deployment, fairness


def release(deployment: Deployment, model: str, count: int = 1) -> None:
    for number in range(count):
        message = release_message(f"{number}", model)
        deployment.publish(message | {"scaling": {"min": 1, "max": 2}})


def test_no_model_starves_beside_others(many_models: tuple[Deployment, Fairness]) -> None:
    deployment, fairness = many_models
    deployment.clock.advance(600)  # an outage of the functions
    fairness.begin(deployment.clock.now())
    release(deployment, "hot", 50)
    for number in range(3):
        release(deployment, f"fresh{number}")
    deployment.run(6)
    late = fairness.latest(deployment.clock.now())
    assert len(late) >= BAKING
    assert max(late.values()) < BOUND, max(late.items(), key=lambda item: item[1])
    assert "rolled_back" not in deployment.outcomes.values()
