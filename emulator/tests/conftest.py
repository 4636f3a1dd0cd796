"""Clouds and clients for the emulator's tests. Every response is checked against the discovery
document.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from compute_emulator import Cloud, ScaledClock, Server, VirtualClock, serve
from emulator.tests.clients import Clients
from emulator.tests.commandline import Commandline, Host
from emulator.tests.fleet import Fleet
from emulator.tests.load_balancer import LoadBalancer, load_balancer


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def cloud(clock: VirtualClock) -> Cloud:
    """A cloud with virtual time: operations take two seconds, and waiting for one advances the
    clock.
    """
    return Cloud(clock=clock, operation_seconds=2, wait_advances_clock=True, check_responses=True)


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


@pytest.fixture
def fleet(clients: Clients, clock: VirtualClock) -> Fleet:
    """Templates and health checks, but no group yet."""
    return Fleet(clients, clock)


@pytest.fixture
def balancer(fleet: Fleet) -> Iterator[LoadBalancer]:
    """Three VMs behind a load balancer, with the data plane on."""
    with load_balancer(fleet) as made:
        yield made


@pytest.fixture
def server() -> Iterator[Server]:
    """A cloud over HTTP at 600 times real time, for command-line clients."""
    cloud = Cloud(clock=ScaledClock(600), operation_seconds=10, check_responses=True)
    with serve(cloud) as running:
        yield running


@pytest.fixture(scope="session")
def gcloud_host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


@pytest.fixture
def gcloud(gcloud_host: Host, server: Server, tmp_path: Path) -> Commandline:
    return Commandline(gcloud_host, server.url, tmp_path)
