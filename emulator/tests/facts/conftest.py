"""Groups for the fact tests."""

from __future__ import annotations

import pytest

from compute_emulator import VirtualClock
from emulator.tests.clients import Clients
from emulator.tests.fleet import Fleet


@pytest.fixture
def fleet(clients: Clients, clock: VirtualClock) -> Fleet:
    """Templates and health checks, but no group yet."""
    return Fleet(clients, clock)


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
