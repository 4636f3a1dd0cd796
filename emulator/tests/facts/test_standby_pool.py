"""Facts about the standby pool: a reserve of stopped or suspended VMs that the group keeps and, if
told to, draws on."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from google.cloud import compute_v1

from emulator.tests.facts.asking import TINY, on_instances, refusal, urls
from emulator.tests.facts.source import fact
from emulator.tests.facts.test_reserve import sizes
from emulator.tests.fleet import Fleet


def standby(mode: str = "SCALE_OUT_POOL", delay: int = 0) -> Any:
    return compute_v1.InstanceGroupManagerStandbyPolicy(mode=mode, initial_delay_sec=delay)


def states(fleet: Fleet) -> dict[str, int]:
    """VMs by status."""
    return dict(Counter(each.instance_status for each in fleet.instances()))


@pytest.fixture
def pooled(six: Fleet) -> Fleet:
    """Six VMs that serve, two stopped and one suspended."""
    six.patch(target_stopped_size=2, target_suspended_size=1, standby_policy=standby())
    six.settle()
    return six


@fact(
    "API reference, targetStoppedSize and targetSuspendedSize: may be changed by a patch; the group"
    " makes the VMs"
)
def test_the_reserve_is_filled_with_new_vms(six: Fleet) -> None:
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
def test_a_new_vm_of_the_reserve_is_given_its_initial_delay(six: Fleet) -> None:
    six.patch(target_stopped_size=1, standby_policy=standby(delay=600))
    six.run(590)
    assert states(six) == {"RUNNING": 7}
    six.run(60)
    assert states(six) == {"RUNNING": 6, "TERMINATED": 1}


@fact(
    "API reference, targetStoppedSize",
    assumed="a smaller one deletes VMs of the reserve, the youngest first",
)
def test_a_reserve_made_smaller_loses_vms(pooled: Fleet) -> None:
    pooled.patch(target_stopped_size=0)
    pooled.settle()
    assert states(pooled) == {"RUNNING": 6, "SUSPENDED": 1}


@fact(
    "API reference, standbyPolicy.mode SCALE_OUT_POOL: VMs are resumed or started when the group"
    " grows, then the pool is filled"
)
def test_a_group_that_grows_draws_on_its_pool_and_fills_it_again(pooled: Fleet) -> None:
    waiting = {each.instance for each in pooled.instances() if each.instance_status != "RUNNING"}
    pooled.resize(8)
    pooled.run(1)
    doing = pooled.doing()
    assert (doing["starting"], doing["resuming"], doing["creating"]) == (1, 1, 2)
    pooled.settle()
    assert states(pooled) == {"RUNNING": 8, "TERMINATED": 2, "SUSPENDED": 1}
    assert (
        len(
            waiting
            & {each.instance for each in pooled.instances() if each.instance_status == "RUNNING"}
        )
        == 2
    )
    assert sizes(pooled) == (8, 2, 1)


@fact(
    "API reference, standbyPolicy.mode SCALE_OUT_POOL",
    assumed="suspended VMs come before stopped ones",
)
def test_suspended_vms_come_first(pooled: Fleet) -> None:
    pooled.resize(7)
    pooled.run(1)
    assert pooled.doing()["resuming"] == 1
    assert "starting" not in pooled.doing()


@fact("Documentation, standby pools: a scale-out larger than the pool makes new VMs for the rest")
def test_what_the_pool_lacks_is_made_anew(pooled: Fleet) -> None:
    pooled.resize(11)
    pooled.run(1)
    doing = pooled.doing()
    assert (doing["starting"], doing["resuming"], doing["creating"]) == (2, 1, 5)
    pooled.settle()
    assert states(pooled) == {"RUNNING": 11, "TERMINATED": 2, "SUSPENDED": 1}


@fact("Documentation, standby pools: with an autoscaler its scale-out draws on the pool too")
def test_an_autoscaler_draws_on_the_pool(pooled: Fleet) -> None:
    pooled.run(120)
    pooled.autoscale(min_num_replicas=7)
    pooled.run(1)
    assert pooled.doing()["resuming"] == 1


@fact(
    "API reference, standbyPolicy.mode MANUAL: the default; the pool is left alone when the group"
    " grows"
)
def test_a_manual_reserve_is_left_alone_when_the_group_grows(six: Fleet) -> None:
    six.patch(target_stopped_size=2, standby_policy=standby("MANUAL"))
    six.settle()
    six.resize(8)
    six.run(1)
    assert six.doing() == {"none": 8, "creating": 2}
    six.settle()
    assert states(six) == {"RUNNING": 8, "TERMINATED": 2}


@fact(
    "API reference, startInstances: targetStoppedSize falls",
    assumed="by hand in SCALE_OUT_POOL as well",
)
def test_a_vm_started_by_hand_leaves_the_pool_smaller(pooled: Fleet) -> None:
    stopped = [each.instance for each in pooled.instances() if each.instance_status == "TERMINATED"]
    on_instances(pooled, "start", stopped[:1])
    pooled.settle()
    assert sizes(pooled) == (7, 1, 1)
    assert states(pooled) == {"RUNNING": 7, "TERMINATED": 1, "SUSPENDED": 1}


@fact("API reference, targetStoppedSize: a number", assumed="the wording")
def test_the_size_of_the_reserve_is_not_negative(six: Fleet) -> None:
    assert refusal(six.cloud, "PATCH", TINY, {"targetStoppedSize": -1})[:2] == (400, "invalid")
