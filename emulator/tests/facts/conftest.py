"""Groups for the fact tests."""

from __future__ import annotations

import pytest

from emulator.tests.fleet import Fleet


@pytest.fixture
def six(fleet: Fleet) -> Fleet:
    """Six verified VMs of v1 in three zones; maxSurge 3, maxUnavailable 0."""
    fleet.create()
    fleet.settle()
    return fleet


@pytest.fixture
def three(fleet: Fleet) -> Fleet:
    """Three VMs past their initialization, without an autoscaler."""
    fleet.create(size=3)
    fleet.settle()
    fleet.run(120)
    return fleet
