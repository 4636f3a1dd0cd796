"""The plan makes the target true, in the right order, and then is empty."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.fleet import naming
from infra.fleet.model import Action, Key, Snapshot
from infra.fleet.plan import plan
from infra.fleet.reads import Scope, full_reads
from rollout.model import Release, Share, Target, TrafficWeight
from tests.infra import discovery
from tests.infra.build import REGION, World, release, target

GROUP = naming.group("tiny", "blue", REGION)
SERVICE = naming.backend_service("tiny", "blue")
AUTOSCALER = naming.autoscaler("tiny", "blue", REGION)
CERTIFICATE = "global/sslCertificates/main"

KINDS = {
    "the smallest": release(),
    "a script": release(artifact={"image": None, "startup_script": "#!/bin/sh\nexit 0\n"}),
    "a GPU with secrets": release(
        artifact={
            "args": ["--model", ""],
            "secrets": {"TOKEN": "hf-token@3"},
            "weights": "gs://bucket/w",
        },
        machine={
            "type": "g2-standard-12",
            "accelerator": {"type": "nvidia-l4", "count": 1},
            "disk": {"size_gb": 200},
        },
        serving={"port": 8000, "liveness_path": "/live", "startup_seconds": 900},
    ),
    "spot on a subnetwork": release(
        machine={
            "spot": True,
            "subnetwork": f"regions/{REGION}/subnetworks/s",
            "external_ip": False,
            "tags": ["llm"],
            "labels": {"team": "x"},
            "service_account": "m@p.iam.gserviceaccount.com",
        },
        placement={"zones": [f"{REGION}-a", f"{REGION}-b"], "target_shape": "balanced"},
    ),
    "every signal": release(
        scaling={
            "min": 0,
            "max": 9,
            "cpu": {"target": 0.7, "predictive": True},
            "load_balancing": {"target": 0.5},
            "metrics": [
                {
                    "name": "custom.googleapis.com/queue",
                    "per_instance": 5,
                    "filter": 'metric.labels.q = "x"',
                },
                {"name": "custom.googleapis.com/busy", "target": 3, "type": "delta_per_second"},
            ],
            "schedules": {"day": {"cron": "0 8 * * *", "duration_seconds": 3600, "min": 2}},
            "scale_in": {"max_percent": 10},
            "cool_down_seconds": 0,
        }
    ),
    "by rate over HTTPS": release(
        traffic={
            "host": "api.example.com",
            "path": "/",
            "balancing_mode": "rate",
            "max_rate_per_instance": 10,
            "certificate": CERTIFICATE,
        }
    ),
    "not exposed": release(traffic={"exposure": "none"}),
}


def read(world: World, *releases: Release, sweep: bool = False, model: str = "tiny") -> Snapshot:
    return world.snapshot(full_reads(Scope(model, releases, ("blue",)), sweep=sweep))


def settled(*shares: Share | Release, world: World | None = None) -> World:
    """A world in which the target is already true."""
    made, desired = world or World(), target(*shares)
    releases = [share.release if isinstance(share, Share) else share for share in shares]
    for _ in range(2):  # the route is written into a URL map that the first plan inserted
        made.do(plan(desired, read(made, *releases)))
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_one_plan_inserts_everything_a_second_writes_the_route_and_a_third_is_empty(
    kind: str,
) -> None:
    of, world = KINDS[kind], World()
    world.do(plan(target(of), read(world, of)))
    route = plan(target(of), read(world, of))
    is_exposed = of.spec.traffic.exposure == "external"
    assert [action.key for action in route.actions] == [naming.GATEWAY] * is_exposed
    world.do(route)
    assert plan(target(of), read(world, of, sweep=True)) == plan(target(of), read(world, of))
    assert plan(target(of), read(world, of)).is_empty


@pytest.mark.parametrize("kind", KINDS)
def test_every_action_is_one_that_the_api_describes(kind: str) -> None:
    first = plan(target(KINDS[kind]), read(World(), KINDS[kind]))
    assert [fault for action in first.actions for fault in discovery.faults(action)] == []


@pytest.mark.parametrize("before", KINDS)
@pytest.mark.parametrize("after", KINDS)
def test_any_release_becomes_any_other(before: str, after: str) -> None:
    old, new = KINDS[before], KINDS[after]
    if old.spec.placement.zones != new.spec.placement.zones:
        new = replace(new, spec=new.spec.model_copy(update={"placement": old.spec.placement}))
    world, desired_target = settled(old), target(new, kept=frozenset({old.template}))
    swap = plan(desired_target, read(world, old, new))
    assert [fault for action in swap.actions for fault in discovery.faults(action)] == []
    assert swap.problems == ()
    world.do(swap)
    world.do(plan(desired_target, read(world, old, new)))  # the route, into a URL map just inserted
    assert plan(desired_target, read(world, old, new)).is_empty


def test_independent_resources_are_inserted_at_the_same_time() -> None:
    first = plan(target(KINDS["by rate over HTTPS"]), read(World(), KINDS["by rate over HTTPS"]))
    assert {action.key.collection for action in first.actions if not action.after} == {
        "instanceTemplates",
        "healthChecks",
        "globalAddresses",
        "backendServices",
    }
    assert longest_path(first.actions) == 4
    assert prerequisites(first.actions, GROUP) == {
        KINDS["by rate over HTTPS"].template,
        "slipway-tiny-blue-live",
    }
    assert prerequisites(first.actions, AUTOSCALER) == {"slipway-tiny-blue"}
    assert prerequisites(first.actions, SERVICE) == {"slipway-tiny-blue", "slipway-tiny-blue-lb"}
    assert prerequisites(first.actions, naming.GATEWAY_HTTPS_RULE) == {
        "slipway-gateway-https",
        "slipway-gateway",
    }
    assert {action.verb for action in first.actions} == {"insert"}


def test_the_route_waits_for_a_backend_service_that_the_same_plan_inserts() -> None:
    world = settled(KINDS["the smallest"])
    del world.bodies[SERVICE]
    for field in ("hostRules", "pathMatchers"):
        del world.bodies[naming.GATEWAY][field]
    route = next(
        action
        for action in plan(target(release()), read(world, release())).actions
        if action.key == naming.GATEWAY
    )
    assert route.after == (SERVICE,)


def prerequisites(actions: tuple[Action, ...], key: Key) -> set[str]:
    return {each.name for action in actions if action.key == key for each in action.after}


def longest_path(actions: tuple[Action, ...]) -> int:
    """The number of actions on the longest path of `after`."""
    depth: dict[Key, int] = {}
    for action in actions:
        depth[action.key] = 1 + max((depth[key] for key in action.after), default=0)
    return max(depth.values())


def test_a_further_step_of_a_swap_changes_only_the_group() -> None:
    old, new = release("1"), release("2")
    world = settled(old)
    begin = plan(target(old, Share(new, 1), may_scale_in=False), read(world, old, new))
    assert [(action.key.collection, action.verb) for action in begin.actions] == [
        ("instanceTemplates", "insert"),
        ("regionInstanceGroupManagers", "patch"),
        ("regionAutoscalers", "update"),
    ]
    world.do(begin)
    step = plan(target(old, Share(new, 2), may_scale_in=False), read(world, old, new))
    assert [action.key.collection for action in step.actions] == ["regionInstanceGroupManagers"]
    assert "2 of the instances on release 2 and the rest on release 1" in step.actions[0].why


def test_a_swap_waits_for_its_template() -> None:
    old, new = release("1"), release("2")
    world = settled(old)
    begin = plan(target(new), read(world, old, new))
    assert prerequisites(begin.actions, GROUP) == {new.template}


def test_the_size_is_never_written_after_the_group_is_inserted() -> None:
    world = settled(release())
    world.bodies[GROUP]["targetSize"] = 4
    assert plan(target(release()), read(world, release())).is_empty
    changed = release("2", serving={"port": 9000})
    patches = plan(target(changed), read(world, release(), changed)).actions
    assert all("targetSize" not in action.body for action in patches)


def test_a_smaller_group_moves_no_instance_back_to_the_old_release() -> None:
    old, new = release("1"), release("2")
    world = settled(old, Share(new, 3))
    assert plan(target(old, Share(new, 2)), read(world, old, new)).is_empty
    forward = plan(target(old, Share(new, 4)), read(world, old, new))
    assert forward.actions[0].body["versions"][1]["targetSize"] == {"fixed": 4}


def test_a_rollback_removes_the_candidates_version() -> None:
    old, new = release("1"), release("2")
    world = settled(old, Share(new, 3))
    world.do(plan(target(old), read(world, old, new)))
    assert [
        naming.last(version["instanceTemplate"]) for version in world.bodies[GROUP]["versions"]
    ] == [old.template]


def test_a_version_name_that_someone_else_set_is_kept() -> None:
    old, new = release("1"), release("2")
    world = settled(old)
    world.bodies[GROUP]["versions"][0]["name"] = "0/replaced by hand"
    assert plan(target(old), read(world, old)).is_empty
    step = plan(target(old, Share(new, 1)), read(world, old, new))
    patch = next(action for action in step.actions if action.key == GROUP)
    assert [version["name"] for version in patch.body["versions"]] == [
        "0/replaced by hand",
        new.template,
    ]


def test_drift_is_repaired_with_the_reason() -> None:
    larger = release(scaling={"max": 5})
    world = settled(larger)
    world.bodies[AUTOSCALER]["autoscalingPolicy"]["maxNumReplicas"] = 3
    repair = plan(target(larger), read(world, larger))
    assert [action.why for action in repair.actions] == [
        "the autoscaler's max is 3 and the release asks for 5"
    ]
    world.do(repair)
    assert plan(target(larger), read(world, larger)).is_empty


def test_a_signal_that_is_no_longer_desired_is_removed() -> None:
    every, one = KINDS["every signal"], release("2")
    world = settled(every)
    world.do(plan(target(one), read(world, every, one)))
    assert set(world.bodies[AUTOSCALER]["autoscalingPolicy"]) == {
        "mode",
        "minNumReplicas",
        "maxNumReplicas",
        "coolDownPeriodSec",
        "cpuUtilization",
    }


def test_settings_that_slipway_does_not_manage_survive() -> None:
    world = settled(release())
    world.bodies[SERVICE] |= {"securityPolicy": "global/securityPolicies/armour", "timeoutSec": 1}
    world.bodies[GROUP]["namedPorts"] = [{"name": "admin", "port": 9}, {"name": "http", "port": 1}]
    world.do(plan(target(release()), read(world, release())))
    assert world.bodies[SERVICE]["securityPolicy"] == "global/securityPolicies/armour"
    assert world.bodies[SERVICE]["timeoutSec"] == 300
    assert world.bodies[GROUP]["namedPorts"] == [
        {"name": "admin", "port": 9},
        {"name": "http", "port": 8080},
    ]


@pytest.mark.parametrize("after", ["spot on a subnetwork", "by rate over HTTPS", "not exposed"])
def test_a_change_carries_the_fingerprint_that_it_is_based_on(after: str) -> None:
    """So a concurrent change by someone else is a conflict and is not lost."""
    old, new = (
        release(),
        replace(
            KINDS[after],
            spec=KINDS[after].spec.model_copy(update={"placement": release().spec.placement}),
        ),
    )
    world = settled(old)
    swap = plan(target(new, surge=5, kept=frozenset({old.template})), read(world, old, new))
    changed = {
        action.key: action.body.get("fingerprint")
        for action in swap.actions
        if action.verb in ("patch", "update")
    }
    sent = {key: given for key, given in changed.items() if discovery.has_fingerprint(key)}
    assert GROUP in sent
    assert sent == {key: world.fingerprint(key) for key in sent}


@pytest.mark.parametrize("key", [GROUP, SERVICE, AUTOSCALER, naming.live_check("tiny", "blue")])
def test_a_resource_that_slipway_does_not_own_is_left_alone_with_its_dependents(
    key: Key,
) -> None:
    world = World({key: {"name": key.name, "description": "by hand"}})
    first = plan(target(release()), read(world, release()))
    assert [problem.reason for problem in first.problems] == ["config"]
    assert naming.reference(key) in first.problems[0].message
    touched = {action.key for action in first.actions}
    assert key not in touched
    assert all(key not in action.after for action in first.actions)
    if key == GROUP:
        assert touched.isdisjoint({AUTOSCALER, SERVICE})
        assert naming.GATEWAY not in {each.key for each in first.actions if each.verb == "update"}


def test_a_change_of_zones_is_reported_and_not_attempted() -> None:
    world = settled(KINDS["spot on a subnetwork"])
    world.bodies[GROUP]["distributionPolicy"]["zones"] = [{"zone": f"zones/{REGION}-c"}]
    answer = plan(target(KINDS["spot on a subnetwork"]), read(world, KINDS["spot on a subnetwork"]))
    assert answer.is_empty
    assert [problem.code for problem in answer.problems] == ["GROUP_CANNOT_CHANGE"]


def test_a_retired_model_is_deleted_in_reverse_order_and_nothing_else_is() -> None:
    old, new, other = release("1"), release("2"), release("1", model="tiny-2")
    world = settled(old)
    world.do(plan(target(other, model="tiny-2"), read(world, other, model="tiny-2")))
    stays = dict(world.bodies)
    world.do(plan(target(new), read(world, old, new)))
    end = plan(target(), read(world, new, sweep=True))
    kinds = [(action.key.collection, action.verb) for action in end.actions]
    assert kinds[0] == ("urlMaps", "update")
    assert prerequisites(end.actions, SERVICE) == {"slipway-gateway"}
    assert prerequisites(end.actions, GROUP) == {"slipway-tiny-blue"}
    assert prerequisites(end.actions, naming.ready_check("tiny", "blue")) == {"slipway-tiny-blue"}
    assert prerequisites(end.actions, naming.template(new.template)) == {"slipway-tiny-blue"}
    world.do(end)
    gone = {
        key
        for key in stays
        if key.name.startswith("slipway-tiny-") and not key.name.startswith("slipway-tiny-2-")
    }
    assert set(world.bodies) == set(stays) - gone
    assert (
        world.bodies[naming.backend_service("tiny-2", "blue")]
        == stays[naming.backend_service("tiny-2", "blue")]
    )
    assert [
        rule["paths"][0] for rule in world.bodies[naming.GATEWAY]["pathMatchers"][0]["pathRules"]
    ] == ["/tiny-2"]
    assert plan(target(), read(world, new, sweep=True)).is_empty


def test_retiring_keeps_and_reports_a_resource_that_slipway_does_not_own() -> None:
    world = settled(release())
    world.bodies[naming.ready_check("tiny", "blue")]["description"] = "by hand"
    end = plan(target(), read(world, release(), sweep=True))
    assert [problem.code for problem in end.problems] == ["NOT_OURS"]
    world.do(end)
    assert naming.ready_check("tiny", "blue") in world.bodies


def test_a_model_that_is_no_longer_exposed_loses_its_route_and_keeps_its_group() -> None:
    world, hidden = settled(release()), release("2", traffic={"exposure": "none"})
    world.do(plan(target(hidden), read(world, release(), hidden)))
    assert GROUP in world.bodies
    assert SERVICE not in world.bodies
    assert naming.ready_check("tiny", "blue") not in world.bodies
    assert "pathMatchers" not in world.bodies[naming.GATEWAY]


def test_unused_templates_are_deleted_and_used_or_kept_ones_are_not() -> None:
    releases = [release(str(number)) for number in range(1, 5)]
    world = World()
    for each in releases:
        world.do(plan(target(each), read(world, each)))
    last, kept, straggler = releases[3], releases[2], releases[1]
    snapshot = read(world, last, sweep=True)
    instance = {"version": {"instanceTemplate": f"global/instanceTemplates/{straggler.template}"}}
    snapshot = replace(snapshot, instances={GROUP: (instance,)})
    tidy = plan(target(last, kept=frozenset({kept.template})), snapshot)
    assert [(action.key.name, action.verb) for action in tidy.actions] == [
        (releases[0].template, "delete")
    ]


def test_the_shared_parts_of_the_gateway_need_not_be_read() -> None:
    world = settled(release())
    partial = world.snapshot(full_reads(Scope("tiny", (release(),), ("blue",)), with_gateway=False))
    assert naming.GATEWAY_ADDRESS not in partial.bodies
    assert plan(target(release()), partial).is_empty


def test_a_second_certificate_is_added_to_the_first() -> None:
    one = release(traffic={"certificate": "global/sslCertificates/one"})
    two = release("2", traffic={"certificate": "global/sslCertificates/two"})
    world = settled(one)
    world.do(plan(target(two), read(world, two)))
    both = world.bodies[naming.GATEWAY_HTTPS_PROXY]["sslCertificates"]
    assert [naming.last(certificate) for certificate in both] == ["one", "two"]
    assert all(
        action.key.collection != "targetHttpsProxies"
        for action in plan(target(one), read(world, one, two)).actions
    )


def test_an_empty_snapshot_is_not_an_empty_project() -> None:
    with pytest.raises(KeyError):
        plan(target(release()), Snapshot({}))


@pytest.mark.parametrize(
    "key",
    [
        GROUP,
        AUTOSCALER,
        SERVICE,
        naming.GATEWAY,
    ],
)
def test_a_resource_that_was_not_read_is_not_taken_for_absent(key: Key) -> None:
    world = settled(release())
    others = {each: body for each, body in read(world, release()).bodies.items() if each != key}
    with pytest.raises(KeyError):
        plan(target(release()), Snapshot(others))


@pytest.mark.parametrize(
    ("key", "user"),
    [
        (naming.live_check("tiny", "blue"), GROUP),
        (naming.ready_check("tiny", "blue"), SERVICE),
        (naming.template(release().template), GROUP),
    ],
)
def test_a_part_that_was_not_read_is_taken_for_present_only_while_it_is_in_use(
    key: Key, user: Key
) -> None:
    world = settled(release())
    others = {each: body for each, body in read(world, release()).bodies.items() if each != key}
    assert plan(target(release()), Snapshot(others)).is_empty
    with pytest.raises(KeyError):
        plan(target(release()), Snapshot({**others, user: None}))


@given(st.integers(1, 9), st.integers(0, 9), st.booleans(), st.integers(0, 6), st.integers(0, 6))
def test_an_applied_plan_leaves_nothing_to_do(
    count: int, least: int, free: bool, surge: int, unavailable: int
) -> None:
    old, new = release("1"), release("2")
    world = settled(old)
    desired_target: Target = target(
        old,
        Share(new, count),
        min=least,
        max=least + 1,
        may_scale_in=free,
        surge=surge,
        unavailable=unavailable,
    )
    world.do(plan(desired_target, read(world, old, new)))
    assert plan(desired_target, read(world, old, new)).is_empty


def test_an_unknown_model_has_nothing_to_delete() -> None:
    assert plan(target(), Snapshot({})).is_empty


def test_a_gateway_that_was_not_read_is_not_taken_for_absent() -> None:
    with pytest.raises(KeyError):
        plan(
            target(release()),
            World().snapshot(
                full_reads(Scope("tiny", (release(),), ("blue",)), with_gateway=False)
            ),
        )


@pytest.mark.parametrize(
    "sections",
    [
        {"placement": {"region": "europe-west4"}},
        {"placement": {"zones": [f"{REGION}-a", f"{REGION}-b", f"{REGION}-f"]}},
        {"machine": {"network": "global/networks/other"}},
        {"serving": {"port": 9000}},
    ],
)
def test_a_release_that_the_group_cannot_run_is_reported_at_the_first_step(
    sections: dict[str, Any],
) -> None:
    old, new = release("1"), release("2", **sections)
    world = settled(old)
    step = plan(target(old, Share(new, 1)), read(world, old, new))
    assert [problem.code for problem in step.problems] == ["GROUP_CANNOT_CHANGE"]
    assert "of release 2" in step.problems[0].message


def test_a_group_in_another_region_is_not_replaced_by_a_new_one() -> None:
    old, new = release("1"), release("2", placement={"region": "europe-west4"})
    world = settled(old)
    answer = plan(target(new), read(world, old, new, sweep=True))
    assert [problem.code for problem in answer.problems] == ["GROUP_CANNOT_CHANGE"]
    world.do(answer)
    assert {GROUP, AUTOSCALER, SERVICE} <= set(world.bodies)
    assert naming.group("tiny", "blue", "europe-west4") not in world.bodies
    assert world.bodies[SERVICE]["backends"][0]["group"].startswith(f"regions/{REGION}/")


@pytest.mark.parametrize(("weight", "is_refused"), [(0, False), (10, True), (1000, False)])
def test_requests_are_not_split_beside_session_affinity(weight: int, is_refused: bool) -> None:
    """With all requests to one group, as on the way back, affinity does no harm."""
    blue = target(release())
    assert blue.traffic
    weights = (TrafficWeight("blue", 1000 - weight), TrafficWeight("green", weight))
    split = replace(
        blue,
        groups=(*blue.groups, replace(blue.groups[0], colour="green")),
        traffic=replace(blue.traffic, weights=weights),
    )
    world = settled(release())
    world.bodies[SERVICE]["sessionAffinity"] = "GENERATED_COOKIE"
    scope = Scope("tiny", (release(),), ("blue", "green"))
    made = plan(split, world.snapshot(full_reads(scope)))
    assert [problem.code for problem in made.problems] == ["SESSION_AFFINITY"] * is_refused
    assert (naming.GATEWAY in [action.key for action in made.actions]) != is_refused
