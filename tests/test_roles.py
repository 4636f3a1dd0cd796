"""The reconciler's role grants exactly the permissions that its calls require.

The calls are those that the stories below make of the Compute Engine emulator. The stories include
every repair of a manual change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from handlers import release
from infra.bus.embedded import EmbeddedBus
from infra.fleet.naming import PREFIX
from infra.identity.compute import PERMISSIONS
from infra.registry.emulated import EmulatedRegistry
from infra.store.databases import TwoDatabases
from infra.wiring import World
from tests.scenario import Scenario
from tests.test_deploy import dry_run, flag, starting_with

ROLE = Path(__file__).parents[1] / "deploy/roles/reconciler.yaml"
# One entry for each kind of call that the simulation makes.
MATRIX = Path(__file__).parent / "assurance/simulation/matrix.json"


def life_of_a_model(story: Scenario) -> None:
    story.given_serving("1")
    story.given_serving("2")
    story.when_minutes_pass(6)  # long enough for a drift scan
    story.when_commanded("retire")
    story.when_settled()


def a_release_that_fails(story: Scenario) -> None:
    story.given_serving("1")
    story.given_stock_out("us-central1")
    story.when_released("2")
    story.when_settled()


def a_rollout_that_loses_an_instance(story: Scenario) -> None:
    story.given_serving("1")
    story.when_released("2")
    story.when_phase_reached("baking")
    story.emulator.affect_instances("stop", most=1)
    story.when_settled()


def a_model_behind_https(story: Scenario) -> None:
    story.given_certificate("models-example-com")
    story.given_serving(
        "1",
        traffic={
            "certificate": "models-example-com",
            "host": "models.example.com",
            "draining_seconds": 0,
        },
    )
    story.given_certificate("others-example-com")
    story.given_serving(
        "2",
        traffic={
            "certificate": "others-example-com",
            "host": "models.example.com",
            "draining_seconds": 0,
        },
    )


def releases_that_name_all_they_use(story: Scenario) -> None:
    story.emulator.catalogue["images"] = ["global/images/mine", "global/images/family/mine"]
    story.emulator.catalogue["subnetworks"] = ["regions/us-central1/subnetworks/mine"]
    machine = {
        "type": "n1-standard-1",
        "accelerator": {"type": "nvidia-tesla-t4"},
        "disk": {"type": "pd-ssd"},
        "subnetwork": "regions/us-central1/subnetworks/mine",
    }
    for model, image in (("tiny", "global/images/mine"), ("small", "global/images/family/mine")):
        story.when_released("1", model, machine=machine | {"image": image})


def everything_changed_by_hand(story: Scenario) -> None:
    story.given_serving("1")
    story.autoscaler()["maxNumReplicas"] = 50
    story.group()["updatePolicy"]["maxSurge"] = {"fixed": 9}
    change(story, "instanceGroups", "slipway-tiny-blue", namedPorts=[])
    change(story, "backendServices", "slipway-tiny-blue", timeoutSec=7)
    change(story, "healthChecks", "slipway-tiny-blue-lb", checkIntervalSec=99)
    theirs = copy(story, "urlMaps", "slipway-gateway", "theirs")
    change(story, "targetHttpProxies", "slipway-gateway-http", urlMap=theirs)
    change(
        story,
        "forwardingRules",
        "slipway-gateway-http",
        target=copy(story, "targetHttpProxies", "slipway-gateway-http", "theirs"),
    )
    story.url_map()["hostRules"], story.url_map()["pathMatchers"] = [], []
    story.given_serving("2")


def a_canary_whose_weights_are_changed(story: Scenario) -> None:
    story.given_serving("1")
    story.when_released("2", rollout={"strategy": "canary", "steps": [{"weight": 100}]})
    story.when_phase_reached("step_1")
    story.when_minutes_pass(2)
    story.url_map()["hostRules"], story.url_map()["pathMatchers"] = [], []
    story.when_minutes_pass(1)


def change(story: Scenario, collection: str, name: str, **fields: Any) -> None:
    resource(story, collection, name).update(fields)


def copy(story: Scenario, collection: str, name: str, to: str) -> str:
    """Copies a resource under a name that Slipway does not own; returns the copy's link."""
    found = resource(story, collection, name)
    link: str = found["selfLink"].rpartition("/")[0] + f"/{to}"
    copied = json.loads(json.dumps(found)) | {"name": to, "selfLink": link}
    story.emulator.put(collection, copied)
    return link


def resource(story: Scenario, collection: str, name: str) -> dict[str, Any]:
    found = story.emulator.find(collection, name)
    assert found is not None, f"no {collection}/{name}"
    return found


STORIES: tuple[Callable[[Scenario], None], ...] = (
    life_of_a_model,
    a_release_that_fails,
    a_rollout_that_loses_an_instance,
    a_model_behind_https,
    releases_that_name_all_they_use,
    everything_changed_by_hand,
    a_canary_whose_weights_are_changed,
)
BY_THE_STORIES = {
    "compute.sslCertificates.insert"
}  # methods that a story itself calls on the emulator


@cache
def used() -> frozenset[str]:
    """The methods that were called."""
    methods: set[str] = set()
    for tell in STORIES:
        story = Scenario()
        tell(story)
        methods |= story.emulator.calls.counts.keys()
    return frozenset(methods - BY_THE_STORIES)


@cache
def granted() -> frozenset[str]:
    role: Mapping[str, Any] = yaml.safe_load(ROLE.read_text())
    return frozenset(role["includedPermissions"])


def test_the_permissions_of_each_called_method_are_listed() -> None:
    assert sorted(used() - PERMISSIONS.keys()) == []


def test_each_listed_method_is_called() -> None:
    assert sorted(PERMISSIONS.keys() - used()) == []


def test_the_role_grants_the_permissions_of_each_call() -> None:
    required = {
        permission: method for method in used() for permission in PERMISSIONS.get(method, ())
    }
    assert {
        permission: method for permission, method in required.items() if permission not in granted()
    } == {}


def test_each_granted_permission_is_required_by_a_call() -> None:
    required = {permission for method in used() for permission in PERMISSIONS.get(method, ())}
    assert sorted(granted() - required) == []


def test_the_role_grants_the_permissions_of_each_call_in_the_simulation() -> None:
    required = {
        method: set(PERMISSIONS.get(method, ())) for method in json.loads(MATRIX.read_text())
    }
    assert len(required) > 20
    assert {
        method: permissions
        for method, permissions in required.items()
        if not permissions or permissions - granted()
    } == {}


@pytest.mark.parametrize(
    "word",
    ["setIamPolicy", "actAs", "osLogin", "firewalls", "projects", "serviceAccounts.", "ssh", "*"],
)
def test_the_role_grants_no_permission_to_escalate(word: str) -> None:
    assert [permission for permission in granted() if word in permission] == []


# The collection of each type whose names the reconciler's role is limited to.
NAMED = {
    "BackendService": "backendServices",
    "GlobalForwardingRule": "forwardingRules",
    "Instance": "instances",
    "InstanceTemplate": "instanceTemplates",
    "TargetHttpProxy": "targetHttpProxies",
    "TargetHttpsProxy": "targetHttpsProxies",
}
CLAUSE = re.compile(
    r'\(resource\.type != "compute\.googleapis\.com/(\w+)" \|\|'
    r' resource\.name\.extract\("/(\w+)/\{name\}"\)\.startsWith\("(\S+)"\)\)'
)


def test_the_role_is_limited_to_slipways_names_where_iam_knows_names() -> None:
    (binding,) = (
        command
        for command in starting_with("projects add-iam-policy-binding", dry_run("bootstrap.sh"))
        if flag(command, "role").endswith("/slipwayReconciler")
    )
    expression = flag(binding, "condition").removeprefix("expression=").partition(",title=")[0]
    clauses = expression.split(" && ")
    matches = [CLAUSE.fullmatch(clause) for clause in clauses]
    assert {match[1]: match[2] for match in matches if match} == NAMED
    assert all(match and match[3] == PREFIX for match in matches)
    operators = sum(expression.count(each) for each in ("&&", "||"))
    assert operators <= 12, "IAM allows at most 12 logical operators in a condition"


def test_all_that_slipway_creates_has_a_name_that_the_condition_allows() -> None:
    story = Scenario()
    a_model_behind_https(story)
    names = {
        key.name for collection in NAMED.values() for key, _ in story.emulator.resources(collection)
    }
    assert len(names) > 5
    assert [name for name in names if not name.startswith(PREFIX)] == []


def test_the_intake_works_without_compute_engine() -> None:
    story = Scenario()
    bus = EmbeddedBus(story.clock)
    world = World(
        story.clock,
        lambda: TwoDatabases(story.store, story.settings),
        lambda: bus,
        lambda: pytest.fail("the intake used Compute Engine"),
        registry=EmulatedRegistry,
    )
    bus.subscribe("model-releases", lambda event: release.handle(world, event))
    for body in (
        {"version": "1", "artifact": {"image": "i:1"}},
        {"command": "retire"},
        {"version": "bad version"},
    ):
        bus.publish("model-releases", json.dumps({"model": "tiny", **body}).encode())
        bus.pump()
    desired = story.state().desired
    assert [intent.verb for intent in desired.line] == ["release", "retire"]
    assert len(story.quarantine()) == 1
