"""Strategy `canary`: sends a growing share of the requests to a second group. Pure.

Called through `rollout/strategies/__init__.py`.
"""

from __future__ import annotations

from rollout.strategies.second_group import SecondGroup


class Canary(SecondGroup):
    """The candidate's group grows with its share of the requests."""
