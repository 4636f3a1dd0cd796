"""Clouds and clients for the emulator's tests. Every response is checked against the discovery
document."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from compute_emulator import Cloud, ScaledClock, VirtualClock, serve
from emulator.tests.clients import Clients


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def cloud(clock: VirtualClock) -> Cloud:
    """A cloud with virtual time: operations take two seconds, and waiting for one advances the
    clock."""
    return Cloud(clock=clock, operation_seconds=2, waits_pass_time=True, check_responses=True)


@pytest.fixture
def clients(cloud: Cloud) -> Clients:
    return Clients(cloud)


@pytest.fixture(params=["in process", "http"])
def either(request: pytest.FixtureRequest, cloud: Cloud) -> Iterator[Clients]:
    """Run the test in process and over HTTP."""
    if request.param == "in process":
        yield Clients(cloud)
        return
    served = Cloud(clock=ScaledClock(60), operation_seconds=2, check_responses=True)
    with serve(served) as server:
        yield Clients(served, server.url)
