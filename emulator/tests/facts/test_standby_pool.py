"""Facts about the standby pool: stopped or suspended VMs that the group keeps and, in
SCALE_OUT_POOL, uses to grow.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from google.cloud import compute_v1

from emulator.tests.clients import rejection
from emulator.tests.facts.helpers import TINY, on_instances, urls
from emulator.tests.facts.source import fact
from emulator.tests.facts.test_standby_vms import sizes
from emulator.tests.fleet import Fleet


def standby(mode: str = "SCALE_OUT_POOL", delay: int = 0) -> Any:
    return compute_v1.InstanceGroupManagerStandbyPolicy(mode=mode, initial_delay_sec=delay)


def states(fleet: Fleet) -> dict[str, int]:
    """The number of VMs in each status."""
    return dict(Counter(each.instance_status for each in fleet.instances()))


@pytest.fixture
def with_pool(six: Fleet) -> Fleet:
    """Six VMs that serve, two stopped ones and one suspended one."""
    six.patch(target_stopped_size=2, target_suspended_size=1, standby_policy=standby())
    six.settle()
    return six


@fact(
    "API reference, targetStoppedSize and targetSuspendedSize: can be changed by a patch; the"
    " group creates the VMs"
)
def test_the_pool_is_filled_with_new_vms(six: Fleet) -> None:
    serving = set(urls(six))
    six.patch(target_stopped_size=2, target_suspended_size=1)
    assert not six.get().status.is_stable
    six.settle()
    assert states(six) == {"RUNNING": 6, "TERMINATED": 2, "SUSPENDED": 1}
    assert {
        each.instance for each in six.instances() if each.instance_status == "RUNNING"
    } == serving
    assert sizes(six) == (6, 2, 1)


@fact(
    "API reference, standbyPolicy.initialDelaySec: before a VM is stopped, counted from its"
    " creation"
)
def test_a_new_standby_vm_gets_its_initial_delay(six: Fleet) -> None:
    six.patch(target_stopped_size=1, standby_policy=standby(delay=600))
    six.run(590)
    assert states(six) == {"RUNNING": 7}
    six.run(60)
    assert states(six) == {"RUNNING": 6, "TERMINATED": 1}


@fact(
    "API reference, targetStoppedSize",
    assumed="a smaller value deletes standby VMs, the youngest first",
)
def test_a_smaller_pool_loses_vms(with_pool: Fleet) -> None:
    with_pool.patch(target_stopped_size=0)
    with_pool.settle()
    assert states(with_pool) == {"RUNNING": 6, "SUSPENDED": 1}


@fact(
    "API reference, standbyPolicy.mode SCALE_OUT_POOL: when the group grows, VMs are resumed or"
    " started, then the pool is refilled"
)
def test_a_growing_group_uses_its_pool_and_refills_it(with_pool: Fleet) -> None:
    waiting = {each.instance for each in with_pool.instances() if each.instance_status != "RUNNING"}
    with_pool.resize(8)
    with_pool.run(1)
    doing = with_pool.current_actions()
    assert (doing["starting"], doing["resuming"], doing["creating"]) == (1, 1, 2)
    with_pool.settle()
    assert states(with_pool) == {"RUNNING": 8, "TERMINATED": 2, "SUSPENDED": 1}
    assert (
        len(
            waiting
            & {each.instance for each in with_pool.instances() if each.instance_status == "RUNNING"}
        )
        == 2
    )
    assert sizes(with_pool) == (8, 2, 1)


@fact(
    "API reference, standbyPolicy.mode SCALE_OUT_POOL",
    assumed="suspended VMs are used before stopped ones",
)
def test_suspended_vms_are_used_first(with_pool: Fleet) -> None:
    with_pool.resize(7)
    with_pool.run(1)
    assert with_pool.current_actions()["resuming"] == 1
    assert "starting" not in with_pool.current_actions()


@fact("Documentation, standby pools: a scale-out larger than the pool creates new VMs for the rest")
def test_vms_missing_from_the_pool_are_created(with_pool: Fleet) -> None:
    with_pool.resize(11)
    with_pool.run(1)
    doing = with_pool.current_actions()
    assert (doing["starting"], doing["resuming"], doing["creating"]) == (2, 1, 5)
    with_pool.settle()
    assert states(with_pool) == {"RUNNING": 11, "TERMINATED": 2, "SUSPENDED": 1}


@fact("Documentation, standby pools: an autoscaler's scale-out uses the pool too")
def test_an_autoscaler_uses_the_pool(with_pool: Fleet) -> None:
    with_pool.run(120)
    with_pool.autoscale(min_num_replicas=7)
    with_pool.run(1)
    assert with_pool.current_actions()["resuming"] == 1


@fact(
    "API reference, standbyPolicy.mode MANUAL: the default; the pool is not used when the group"
    " grows"
)
def test_a_manual_pool_is_not_used_when_the_group_grows(six: Fleet) -> None:
    six.patch(target_stopped_size=2, standby_policy=standby("MANUAL"))
    six.settle()
    six.resize(8)
    six.run(1)
    assert six.current_actions() == {"none": 8, "creating": 2}
    six.settle()
    assert states(six) == {"RUNNING": 8, "TERMINATED": 2}


@fact(
    "API reference, startInstances: targetStoppedSize falls",
    assumed="manual requests in SCALE_OUT_POOL too",
)
def test_starting_a_vm_manually_shrinks_the_pool(with_pool: Fleet) -> None:
    stopped = [
        each.instance for each in with_pool.instances() if each.instance_status == "TERMINATED"
    ]
    on_instances(with_pool, "start", stopped[:1])
    with_pool.settle()
    assert sizes(with_pool) == (7, 1, 1)
    assert states(with_pool) == {"RUNNING": 7, "TERMINATED": 1, "SUSPENDED": 1}


@fact("API reference, targetStoppedSize: a number", assumed="the wording")
def test_the_size_of_the_pool_cannot_be_negative(six: Fleet) -> None:
    assert rejection(six.cloud, "PATCH", TINY, {"targetStoppedSize": -1})[:2] == (400, "invalid")
