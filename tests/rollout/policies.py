"""Specs and prices for the tests of policies."""

from __future__ import annotations

from typing import Any

from rollout.policy.prices import Prices
from rollout.spec.model import Spec
from tests.rollout.build import release

PRICES = Prices(
    {"g2-standard-12": 1.0}, {"n1-standard": 0.05}, {"nvidia-tesla-t4": 0.35}, {"pd-balanced": 0.0}
)


def spec(most: int = 6, kind: str = "n1-standard-2", least: int = 1, **sections: Any) -> Spec:
    return release(
        "1", machine={"type": kind}, scaling={"min": least, "max": most}, **sections
    ).spec
