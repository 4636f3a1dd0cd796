"""A swap waits for instances of the stable release that start, and not for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollout.model import Observed, Rollout, Stepping
from rollout.starting import await_starting
from tests.rollout.build import NOON, at, group, instances, release, stuck

ONE, TWO = release("1"), release("2")
BEGUN = Rollout(Stepping(0, NOON), ONE, TWO, serving_group="blue")
CANARY = {"strategy": "canary", "steps": [{"weight": 100}]}
HEALTHY = instances(ONE, 2)
VERIFIED = instances(ONE, 1, "unhealthy", "VERIFYING", start=2)


def test_it_waits_until_they_have_started_or_should_have() -> None:
    since, why = await_starting(BEGUN, None, group(*HEALTHY, *VERIFIED), NOON)
    assert (since, why) == (
        NOON,
        "1 instances of release 1 start, and a swap would lose them; until 2026-01-01T12:02:30Z"
        " at the latest",
    )
    assert await_starting(BEGUN, since, group(*HEALTHY, *VERIFIED), at(150)) == (NOON, "")
    assert await_starting(BEGUN, since, group(*HEALTHY), at(10)) == (None, "")


@pytest.mark.parametrize(
    ("rollout", "observed"),
    [
        (BEGUN, group(*HEALTHY, stuck(ONE, "stock-out", "no capacity"))),
        (BEGUN, group(*HEALTHY, *instances(ONE, 1, "unhealthy", "DELETING", start=2))),
        (BEGUN, group(*HEALTHY, *instances(TWO, 1, "unhealthy", "VERIFYING"))),
        (BEGUN, group(*instances(ONE, 3, "unhealthy"))),
        (BEGUN, Observed()),
        (replace(BEGUN, stable=None), group(*VERIFIED)),
        (replace(BEGUN, candidate=replace(TWO, template=ONE.template)), group(*VERIFIED)),
        (
            replace(BEGUN, candidate=release("2", rollout=CANARY)),
            group(*VERIFIED),
        ),
    ],
    ids=["stuck", "leaves", "candidate's", "sick", "none", "first", "no swap", "own group"],
)
def test_nothing_else_is_waited_for(rollout: Rollout, observed: Observed) -> None:
    assert await_starting(rollout, None, observed, NOON) == (None, "")
