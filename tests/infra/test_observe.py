"""A snapshot becomes groups and instances; missing data is never healthy."""

from __future__ import annotations

from typing import Any

import pytest

from infra.fleet import naming
from infra.fleet.model import Body, Snapshot
from infra.fleet.observe import observe, outputs
from infra.fleet.plan import plan
from infra.fleet.reads import Scope, full_reads
from rollout.model import Health
from tests.infra.build import REGION, SERVER, World, release, target

GROUP = naming.group("tiny", "blue", REGION)
SERVICE = naming.backend_service("tiny", "blue")


def manager(**fields: Any) -> Body:
    return {
        "name": "slipway-tiny-blue",
        "description": "slipway model=tiny group",
        "targetSize": 4,
    } | fields


def managed(number: int, **fields: Any) -> Body:
    zone = f"{REGION}-{'abc'[number % 3]}"
    return {
        "instance": f"{SERVER}zones/{zone}/instances/slipway-tiny-blue-{number}",
        "currentAction": "NONE",
        "instanceStatus": "RUNNING",
        "version": {
            "instanceTemplate": f"{SERVER}global/instanceTemplates/slipway-tiny-0123456789"
        },
    } | fields


def snapshot_of(
    body: Body | None,
    *instances: Body,
    health: list[Body] | None = None,
) -> Snapshot:
    answers = {} if health is None else {SERVICE: tuple(health)}
    return Snapshot({GROUP: body}, {GROUP: instances}, answers)


def healths(snapshot: Snapshot) -> list[Health]:
    return [
        instance.health
        for group in observe(snapshot, "tiny").groups
        for instance in group.instances
    ]


def test_a_missing_group_is_not_observed() -> None:
    assert observe(snapshot_of(None), "tiny").groups == ()


def test_a_group_that_slipway_does_not_own_is_not_observed() -> None:
    assert observe(snapshot_of(manager(description="by hand")), "tiny").groups == ()
    assert (
        observe(snapshot_of(manager(description="slipway model=tiny-2 group")), "tiny").groups == ()
    )


def test_a_group_without_a_status_is_not_stable() -> None:
    assert not observe(snapshot_of(manager()), "tiny").groups[0].is_stable


def test_a_group_is_observed_as_its_manager_reports_it() -> None:
    body = manager(
        status={"isStable": True},
        distributionPolicy={
            "zones": [
                {"zone": f"{SERVER}zones/us-central1-a"},
                {"zone": f"{SERVER}zones/us-central1-b"},
            ]
        },
    )
    group = observe(snapshot_of(body), "tiny").groups[0]
    assert (
        group.colour,
        group.region,
        group.target_size,
        group.is_stable,
    ) == ("blue", REGION, 4, True)


def test_the_load_balancers_health_counts_and_no_answer_is_unknown() -> None:
    instances = [
        managed(number, instanceHealth=[{"detailedHealthState": "HEALTHY"}]) for number in range(4)
    ]
    status = [
        {"instance": managed(0)["instance"], "healthState": "HEALTHY"},
        {
            "instance": (
                managed(1)["instance"].replace("www.googleapis.com", "compute.googleapis.com")
            ),
            "healthState": "UNHEALTHY",
        },
        {"instance": managed(2)["instance"], "healthState": "DRAINING"},
    ]
    expected = ["healthy", "unhealthy", "unknown", "unknown"]
    assert (
        healths(
            snapshot_of(
                manager(),
                *instances,
                health=[{"kind": "compute#backendServiceGroupHealth", "healthStatus": status}],
            )
        )
        == expected
    )
    assert healths(snapshot_of(manager(), *instances, health=status)) == expected
    assert (
        healths(
            snapshot_of(
                manager(), *instances, health=[{"kind": "compute#backendServiceGroupHealth"}]
            )
        )
        == ["unknown"] * 4
    )
    assert healths(snapshot_of(manager(), *instances, health=[])) == ["unknown"] * 4


@pytest.mark.parametrize(
    ("state", "health"),
    [
        ("HEALTHY", "healthy"),
        ("UNHEALTHY", "unhealthy"),
        ("TIMEOUT", "unhealthy"),
        ("DRAINING", "unknown"),
        ("UNKNOWN", "unknown"),
        ("", "unknown"),
    ],
)
def test_without_a_load_balancer_the_liveness_check_counts(state: str, health: Health) -> None:
    assert healths(
        snapshot_of(manager(), managed(0, instanceHealth=[{"detailedHealthState": state}]))
    ) == [health]


def test_an_instance_without_a_health_check_is_unknown() -> None:
    assert healths(snapshot_of(manager(), managed(0))) == ["unknown"]


def test_an_instance_that_cannot_be_created_has_a_problem() -> None:
    errors = [{"code": "ZONE_RESOURCE_POOL_EXHAUSTED", "message": "no more of those"}]
    stuck = managed(
        1, currentAction="CREATING", instanceStatus="", lastAttempt={"errors": {"errors": errors}}
    )
    instance = observe(snapshot_of(manager(), stuck), "tiny").groups[0].instances[0]
    assert (instance.name, instance.zone, instance.template) == (
        "slipway-tiny-blue-1",
        "us-central1-b",
        "slipway-tiny-0123456789",
    )
    assert instance.problem is not None
    assert (instance.problem.reason, instance.problem.message) == ("stock-out", "no more of those")
    assert not instance.is_settled


def test_an_instance_being_deleted_has_no_template() -> None:
    leaving = managed(0, currentAction="DELETING", version={})
    assert observe(snapshot_of(manager(), leaving), "tiny").groups[0].instances[0].template is None


def test_leftovers_are_named_until_none_is_left() -> None:
    world, of = World(), release()
    scope = Scope("tiny", (of,), ("blue",))
    for _ in range(2):  # the resources, then the route
        world.do(plan(target(of), world.snapshot(full_reads(scope))))
    leftovers = observe(world.snapshot(full_reads(scope, sweep=True)), "tiny").leftovers
    assert set(leftovers) == {
        f"global/instanceTemplates/{of.template}",
        "global/healthChecks/slipway-tiny-blue-live",
        "global/healthChecks/slipway-tiny-blue-lb",
        f"regions/{REGION}/autoscalers/slipway-tiny-blue",
        "global/backendServices/slipway-tiny-blue",
        "route in global/urlMaps/slipway-gateway",
    }
    world.do(plan(target(), world.snapshot(full_reads(scope, sweep=True))))
    end = observe(world.snapshot(full_reads(scope, sweep=True)), "tiny")
    assert end.leftovers == ()
    assert end.groups == ()


def test_outputs_are_the_urls_and_the_address() -> None:
    world, of = World(), release()
    scope = Scope("tiny", (of,), ("blue",))
    assert outputs(world.snapshot(full_reads(scope)), "tiny", "blue") == {}
    world.do(plan(target(of), world.snapshot(full_reads(scope))))
    world.bodies[naming.GATEWAY_ADDRESS]["address"] = "203.0.113.7"
    assert outputs(world.snapshot(full_reads(scope)), "tiny", "blue") == {
        "instance_group_url": f"{SERVER}regions/{REGION}/instanceGroups/slipway-tiny-blue",
        "backend_service_url": f"{SERVER}global/backendServices/slipway-tiny-blue",
        "address": "203.0.113.7",
    }
    assert (
        outputs(world.snapshot(full_reads(Scope("other", (of,), ("blue",)))), "other", "blue") == {}
    )


def test_a_sweep_also_reads_possible_leftovers() -> None:
    usual, sweep = (
        full_reads(Scope("tiny", (release(),), ("blue",))),
        full_reads(Scope("tiny", (release(),), ("blue",)), sweep=True),
    )
    assert naming.group("tiny", "green", REGION) not in usual.keys
    assert naming.group("tiny", "green", REGION) in sweep.keys
    assert (usual.leftovers_of, sweep.leftovers_of) == (None, "tiny")
    assert set(sweep.groups) | set(sweep.healths) <= set(sweep.keys)
    assert (
        full_reads(Scope("tiny", (release(traffic={"exposure": "none"}),), ("blue",))).healths == ()
    )
