"""Strategy `blue_green`: checks a second group of full size before users reach it, then switches.
Pure.

Called through `rollout/strategies/__init__.py`.
"""

from __future__ import annotations

from rollout.model import FULL_WEIGHT, Stepping
from rollout.strategies.base import Step
from rollout.strategies.second_group import SecondGroup


class BlueGreen(SecondGroup):
    def capacity(self, steps: tuple[Step, ...], at: Stepping) -> int:
        """The candidate could take everything from its first step on."""
        return max(FULL_WEIGHT, super().capacity(steps, at))
