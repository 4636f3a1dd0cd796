from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from emulator.tests.commandline import Host
from tests.deploy.faults import Scripts
from tests.deploy.world import World
from tests.tools import require_program


@pytest.fixture
def scripts_on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[World], Scripts]]:
    """Makes scripts that run on a world."""
    with ExitStack() as parts:

        def make(world: World) -> Scripts:
            scripts = Scripts(world, tmp_path_factory.mktemp("programs"))
            parts.callback(scripts.close)
            return scripts

        yield make


@pytest.fixture(scope="session")
def _live(tmp_path_factory: pytest.TempPathFactory) -> World:
    scripts = Scripts(World(), tmp_path_factory.mktemp("programs"))
    for script in ("bootstrap.sh", "functions.sh"):
        scripts.run(script).check()
    scripts.close()
    return scripts.world


@pytest.fixture
def live(_live: World) -> World:
    """A project in which all functions are deployed, for this test alone."""
    return copy.deepcopy(_live)


@pytest.fixture(scope="session")
def _monitored(_live: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    scripts = Scripts(copy.deepcopy(_live), tmp_path_factory.mktemp("programs"))
    scripts.run("monitoring.sh").check()
    scripts.close()
    return scripts.world


@pytest.fixture
def monitored(_monitored: World) -> World:
    """The same with metrics, alerts and the dashboard."""
    return copy.deepcopy(_monitored)


@pytest.fixture(scope="session")
def gcloud_host() -> Iterator[Host]:
    require_program("gcloud")
    host = Host()
    yield host
    host.close()
