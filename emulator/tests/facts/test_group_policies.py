"""Facts about the policies of a group: updates, budgets, target shape, auto-healing."""

from __future__ import annotations

import re

import pytest
from google.api_core import exceptions
from google.cloud import compute_v1

from emulator.tests.clients import PROJECT, REGION, health_check, rejection, send
from emulator.tests.facts.helpers import GROUPS, TINY
from emulator.tests.facts.source import fact
from emulator.tests.fleet import FIXED, SCOPE, TEMPLATES, Fleet, policy, version

SHAPE = compute_v1.DistributionPolicy
UPDATE = compute_v1.InstanceGroupManagerUpdatePolicy
HEALING = compute_v1.InstanceGroupManagerAutoHealingPolicy
V1 = TEMPLATES + "v1"


@fact(
    "Observed by hashicorp/terraform-provider-google#1506",
    assumed="the update type is OPPORTUNISTIC if the policy names none",
)
def test_an_omitted_update_type_is_opportunistic(fleet: Fleet) -> None:
    fleet.create(update_policy=UPDATE(max_surge=FIXED(fixed=3)))
    assert fleet.get().update_policy.type_ == "OPPORTUNISTIC"


@fact(
    "API reference, updatePolicy: minimalAction REPLACE, SUBSTITUTE, PROACTIVE redistribution;"
    " k8s-config-connector@1e63b160c8, zonalcomputeinstancegroupmanager: the most disruptive"
    " allowed action is shown only if it was sent"
)
def test_an_update_policy_has_its_defaults(fleet: Fleet) -> None:
    fleet.create(update_policy=None)
    kept = fleet.get().update_policy
    assert (kept.minimal_action, kept.most_disruptive_allowed_action) == ("REPLACE", "")
    assert (kept.replacement_method, kept.instance_redistribution_type) == (
        "SUBSTITUTE",
        "PROACTIVE",
    )


@fact(
    "API reference, updatePolicy.maxSurge, maxUnavailable: by default a fixed number, the"
    " number of zones"
)
def test_both_budgets_default_to_the_number_of_zones(fleet: Fleet) -> None:
    zones = [
        compute_v1.DistributionPolicyZoneConfiguration(zone=f"zones/us-central1-{letter}")
        for letter in "ab"
    ]
    fleet.create(update_policy=None, distribution_policy=SHAPE(zones=zones))
    kept = fleet.get().update_policy
    assert (kept.max_surge.fixed, kept.max_unavailable.fixed) == (2, 2)


@fact(
    "API reference, updatePolicy.maxSurge: at least one of the two is greater than 0",
    assumed="the wording",
)
def test_the_budgets_cannot_both_be_zero(fleet: Fleet) -> None:
    with pytest.raises(exceptions.BadRequest, match="Either maxSurge or maxUnavailable"):
        fleet.create(update_policy=policy(0, 0))


@fact("Observed by terraform-google-modules/terraform-example-foundation#427, with its wording")
@pytest.mark.parametrize(("name", "budgets"), [("maxSurge", (2, 0)), ("maxUnavailable", (0, 2))])
def test_a_fixed_budget_is_zero_or_at_least_the_number_of_zones(
    fleet: Fleet, name: str, budgets: tuple[int, int]
) -> None:
    message = (
        f"Invalid value for field 'resource.updatePolicy.{name}.fixed': '2'. Fixed"
        f" updatePolicy.{name} for regional managed instance group has to be either 0 or at least"
        " equal to the number of zones."
    )
    with pytest.raises(exceptions.BadRequest, match=re.escape(message)):
        fleet.create(update_policy=policy(*budgets))


@fact(
    "API reference, updatePolicy.maxSurge: a percentage only with 10 or more instances",
    assumed="the wording",
)
@pytest.mark.parametrize("name", ["max_surge", "max_unavailable"])
def test_a_budget_in_percent_needs_ten_instances(fleet: Fleet, name: str) -> None:
    given = policy(3, 3, **{name: FIXED(percent=20)})
    with pytest.raises(exceptions.BadRequest, match="at least 10"):
        fleet.create(size=9, update_policy=given)
    fleet.create(size=10, update_policy=given)


@fact(
    "API reference, updatePolicy.maxSurge.percent",
    assumed="it may stay when the group shrinks, and rounds up as before",
)
def test_a_budget_in_percent_stays_when_the_group_shrinks(fleet: Fleet) -> None:
    fleet.create(size=10, update_policy=policy(3, 3, max_surge=FIXED(percent=20)))
    fleet.settle()
    fleet.resize(6)
    fleet.versions(version("v2"))
    fleet.settle()
    surge = fleet.get().update_policy.max_surge
    assert (surge.percent, surge.calculated) == (20, 2)


@fact(
    "API reference, maxSurge: 'rounded if necessary'; older text: up",
    assumed="percentages of both budgets round up",
)
@pytest.mark.parametrize(
    ("size", "percent", "calculated"), [(10, 25, 3), (10, 20, 2), (11, 1, 1), (100, 33, 33)]
)
def test_a_budget_in_percent_rounds_up(
    fleet: Fleet, size: int, percent: int, calculated: int
) -> None:
    fleet.create(
        size=size,
        update_policy=policy(
            3, 0, max_surge=FIXED(percent=percent), max_unavailable=FIXED(percent=percent)
        ),
    )
    kept = fleet.get().update_policy
    assert (kept.max_surge.calculated, kept.max_unavailable.calculated) == (calculated, calculated)


@fact(
    "gcloud 528 sends only a percentage and does not clear the number",
    assumed="of fixed and percent, the one that is sent wins",
)
def test_a_percentage_replaces_a_fixed_number_and_vice_versa(fleet: Fleet) -> None:
    fleet.create(size=10)
    fleet.patch(update_policy=UPDATE(max_surge=FIXED(percent=30)))
    assert (
        fleet.get().update_policy.max_surge.percent,
        fleet.get().update_policy.max_surge.fixed,
    ) == (30, 0)
    fleet.patch(update_policy=UPDATE(max_surge=FIXED(fixed=4)))
    assert (
        fleet.get().update_policy.max_surge.percent,
        fleet.get().update_policy.max_surge.fixed,
    ) == (0, 4)


@fact("Observed by GoogleCloudPlatform/magic-modules#8210, with its wording")
def test_recreate_allows_no_surge(fleet: Fleet) -> None:
    message = "maxSurge must be equal to 0 when replacement method is set to RECREATE"
    with pytest.raises(exceptions.BadRequest, match=message):
        fleet.create(update_policy=policy(3, 3, replacement_method="RECREATE"))
    fleet.create(update_policy=policy(0, 3, replacement_method="RECREATE"))


@fact("API reference, compute.v1: updatePolicy has no minReadySec; compute.beta has it")
def test_min_ready_seconds_is_not_part_of_v1(six: Fleet) -> None:
    status, _, message = rejection(six.cloud, "PATCH", TINY, {"updatePolicy": {"minReadySec": 30}})
    assert (status, 'Unknown name "minReadySec"' in message) == (400, True)


@fact("API reference, distributionPolicy.targetShape: EVEN by default")
def test_the_target_shape_is_even_by_default(fleet: Fleet) -> None:
    fleet.create()
    assert fleet.get().distribution_policy.target_shape == "EVEN"


@fact(
    "Documentation, target distribution shape: BALANCED and ANY_SINGLE_ZONE need redistribution"
    " to be off",
    assumed="the wording",
)
@pytest.mark.parametrize("shape", ["BALANCED", "ANY_SINGLE_ZONE"])
def test_some_shapes_need_redistribution_to_be_off(fleet: Fleet, shape: str) -> None:
    with pytest.raises(
        exceptions.BadRequest, match=f"Must be NONE when the target shape is {shape}"
    ):
        fleet.create(distribution_policy=SHAPE(target_shape=shape))
    fleet.create(
        distribution_policy=SHAPE(target_shape=shape),
        update_policy=policy(instance_redistribution_type="NONE"),
    )


@fact("API reference, autoHealingPolicies: at most one", assumed="the wording")
def test_a_group_has_at_most_one_auto_healing_policy(fleet: Fleet) -> None:
    with pytest.raises(exceptions.BadRequest, match="At most one policy"):
        fleet.create(
            auto_healing_policies=[
                HEALING(health_check=f"global/healthChecks/{name}") for name in ("alive", "ready")
            ]
        )


@fact("Observed with gcloud 528, `update --clear-autohealing`: one empty policy means none")
def test_an_empty_auto_healing_policy_clears_it(six: Fleet) -> None:
    assert send(six.cloud, "PATCH", TINY, {"autoHealingPolicies": [{}]})[0] == 200
    assert not six.get().auto_healing_policies


@fact("API reference, autoHealingPolicies[].initialDelaySec: 0 to 3600, default 0")
def test_the_initial_delay_is_at_most_an_hour(fleet: Fleet) -> None:
    def insert(name: str, **delay: int) -> int:
        policies = [{"healthCheck": "global/healthChecks/alive"} | delay]
        body = {
            "name": name,
            "targetSize": 0,
            "instanceTemplate": V1,
            "autoHealingPolicies": policies,
        }
        return send(fleet.cloud, "POST", GROUPS, body)[0]

    assert [insert("a"), insert("b", initialDelaySec=3600), insert("c", initialDelaySec=3601)] == [
        200,
        200,
        400,
    ]
    assert (
        send(fleet.cloud, "GET", f"{GROUPS}/a")[1]["autoHealingPolicies"][0]["initialDelaySec"] == 0
    )


@fact("Documentation, autohealing: the check may be global or regional")
def test_the_health_check_can_be_regional(fleet: Fleet) -> None:
    checks = fleet.clients.of(compute_v1.RegionHealthChecksClient)
    fleet.done(
        checks.insert_unary(
            project=PROJECT, region=REGION, health_check_resource=health_check("near", "/alive")
        )
    )
    fleet.create(auto_healing_policies=[HEALING(health_check=f"{SCOPE}/healthChecks/near")])
    fleet.settle()
    assert (
        fleet.instances()[0].instance_health[0].health_check.endswith(f"{SCOPE}/healthChecks/near")
    )


@fact("Documentation, autohealing: one check for at most 50 groups", assumed="the wording")
def test_a_health_check_serves_at_most_fifty_groups(fleet: Fleet) -> None:
    healing = [{"healthCheck": "global/healthChecks/alive"}]
    bodies = [
        {"name": f"g-{n}", "targetSize": 0, "instanceTemplate": V1, "autoHealingPolicies": healing}
        for n in range(51)
    ]
    assert [send(fleet.cloud, "POST", GROUPS, body)[0] for body in bodies] == [200] * 50 + [400]
    fleet.clock.advance(10)
    assert (
        send(fleet.cloud, "PATCH", f"{GROUPS}/g-0", {"description": "one of the fifty"})[0] == 200
    )


@fact("API reference, instanceLifecyclePolicy: REPAIR, DEFAULT_ACTION and NO by default")
def test_a_lifecycle_policy_has_its_defaults(six: Fleet) -> None:
    kept = six.get().instance_lifecycle_policy
    found = (
        kept.default_action_on_failure,
        kept.on_failed_health_check,
        kept.force_update_on_repair,
    )
    assert found == ("REPAIR", "DEFAULT_ACTION", "NO")
