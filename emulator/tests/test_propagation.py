"""Versions that are not served yet, and the settings of all delays."""

from __future__ import annotations

from compute_emulator import Cloud
from compute_emulator.engine.propagation import Propagation
from compute_emulator.keys import Key
from emulator.tests.clients import control

MAP = Key("global", "urlMaps", "um")


def test_nothing_is_kept_without_a_propagation_time() -> None:
    propagation, now = Propagation(), {"name": "um"}
    propagation.record(MAP, None, now, 100.0)
    assert propagation.served(MAP, now, 100.0) is now
    assert propagation._versions == {}


def test_a_shorter_propagation_time_does_not_reorder_changes() -> None:
    propagation = Propagation(60.0)
    one, two = {"description": "1"}, {"description": "2"}
    propagation.record(MAP, None, one, 0.0)
    propagation.seconds = 0.0
    propagation.record(MAP, one, two, 10.0)
    assert propagation.served(MAP, two, 30.0) is None
    assert propagation.served(MAP, two, 60.0) is two
    assert propagation._versions == {}


def test_all_delays_can_be_set_while_running(cloud: Cloud) -> None:
    assert control(cloud, "GET", "/delays") == {
        "propagation_seconds": 0.0,
        "certificate_seconds": 60.0,
    }
    assert control(cloud, "PUT", "/delays", {"propagation_seconds": 30}) == {
        "propagation_seconds": 30.0,
        "certificate_seconds": 60.0,
    }
