"""The Pulumi program declares what `deploy/bootstrap.sh` and `deploy/monitoring.sh` make: the two
cannot drift apart.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from deploy.pulumi.resources import Resource, Settings, read_sources, stages
from tests.deploy.faults import Scripts
from tests.deploy.world import NUMBER, PROJECT, REGION, SUBNETWORK, World
from tests.tools import leave_out

ROOT = Path(__file__).parents[2]
SOURCES = read_sources(ROOT)
DOCS = "https://example.com/slipway/docs"
CHANNEL = f"projects/{PROJECT}/notificationChannels/1"
DEFAULT = f"{NUMBER}-compute@developer.gserviceaccount.com"
MONITORING = f"service-{NUMBER}@gcp-sa-monitoring-notification.iam.gserviceaccount.com"

Json = dict[str, Any]

# What the project has and the program does not declare, with the reason.
NOT_DECLARED = {
    f"monitoring/{CHANNEL}": "people and their addresses",
    f"iam/projects/{PROJECT}/serviceAccounts/{DEFAULT}": "Google makes it",
    SUBNETWORK: "Pulumi cannot change what it did not create: with `create_network` it declares"
    " a subnetwork with Private Google Access; for others docs/deploy.md#network says how",
}
# Fields of an answer that are defaults or repeat the name.
NOT_CHOSEN = {
    *("cmekConfig", "creationRecord", "databaseEdition", "email", "mode", "name", "selfLink"),
    "uniqueId",
}
# The same for one API: gcloud writes Cloud Scheduler's defaults out.
NOT_CHOSEN_OF = {"cloudscheduler": {"retryConfig"}}
# APIs of a new project.
ENABLED_ANYWAY = {"serviceusage", "cloudresourcemanager", "storage", "iap", "logging"}


def declared(settings: Settings) -> list[Resource]:
    return [each for stage in stages(settings, SOURCES) for each in stage]


@pytest.mark.parametrize(
    ("commands", "settings", "agents"),
    [
        (("bootstrap.sh", "monitoring.sh"), Settings(PROJECT, NUMBER), set()),
        (
            (
                "bootstrap.sh --database=other --default-account",
                f"monitoring.sh --notify={CHANNEL} --docs={DOCS}",
            ),
            Settings(
                *(PROJECT, NUMBER),
                database="other",
                default_account=True,
                alerts=True,
                notify=CHANNEL,
                docs=DOCS,
            ),
            {MONITORING},
        ),
    ],
    ids=("defaults", "options"),
)
def test_the_program_declares_what_the_scripts_make(
    scripts_on: Callable[[World], Scripts],
    commands: tuple[str, ...],
    settings: Settings,
    agents: set[str],
) -> None:
    world = World()
    world.agents |= agents
    world.resources[f"monitoring/{CHANNEL}"] = {"name": CHANNEL}
    for command in commands:
        scripts_on(world).run(command).check()
    resources = declared(settings)
    plain = [each for each in resources if each.kind in KEYS]
    grants = [each for each in resources if each.kind in GRANTED_ON]
    others = {each.kind for each in resources} - set(KEYS) - set(GRANTED_ON)
    assert {KEYS[each.kind](each.properties): as_google_says(each) for each in plain} == made(world)
    assert Counter(binding(each) for each in grants) == Counter(bindings(world))
    assert others == {"projects.Service", "projects.ServiceIdentity"}
    enabled = {each.name for each in resources if each.kind == "projects.Service"}
    assert enabled | ENABLED_ANYWAY == world.enabled
    assert f"service-{NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com" in world.agents


def test_its_own_network_is_the_one_that_the_policy_allows() -> None:
    own = {
        (each.kind, each.name): each.properties
        for each in declared(Settings(PROJECT, NUMBER, create_network=True))
    }
    assert own["compute.Subnetwork", "slipway"]["private_ip_google_access"] is True
    assert own["compute.Firewall", "slipway-health-checks"]["network"] == "slipway"
    allowed = json.loads(own["firestore.Document", "policy"]["fields"])["networks"]
    assert allowed == {"arrayValue": {"values": [{"stringValue": "global/networks/slipway"}]}}


def test_monitoring_is_optional() -> None:
    kinds = {each.kind for each in declared(Settings(PROJECT, NUMBER))}
    without = {each.kind for each in declared(Settings(PROJECT, NUMBER, monitoring=False))}
    assert kinds - without == {"logging.Metric", "monitoring.AlertPolicy", "monitoring.Dashboard"}


def test_nothing_is_protected_once_the_stack_says_so() -> None:
    for is_protected in (True, False):
        found = declared(Settings(PROJECT, NUMBER, deletion_protection=is_protected))
        services = [each for each in found if each.kind == "cloudrunv2.Service"]
        assert {each.properties["deletion_protection"] for each in services} == {is_protected}
        protected = {each.kind for each in found if each.is_protected}
        assert bool(protected) is is_protected


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"database": "slipway-settings"}, "slipway-settings is the database of the settings"),
        ({"project": NUMBER}, "project: 1234567890 is not the ID of a project"),
        ({"region": "us-central1-a"}, "region: us-central1-a is not a region"),
        ({"number": PROJECT}, "number: slipway-project is not a project's number"),
        ({"notify": "ann@example.com"}, "ann@example.com is not projects/"),
        ({"docs": "http://example.com/docs"}, "http://example.com/docs is not the address"),
    ],
    ids=lambda each: str(each)[:16],
)
def test_a_setting_that_does_not_suit_is_refused(chosen: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Settings(**{"project": PROJECT, "number": NUMBER} | chosen)


@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.parametrize("create_network", [False, True], ids=("a network", "its own network"))
def test_the_program_registers_what_it_declares(create_network: bool) -> None:
    """Under Pulumi's mocks, in the environment of `make pulumi`."""
    python = ROOT / ".venv-pulumi/bin/python"
    if not python.exists():
        leave_out("`make pulumi` creates its environment")
    config = {"project": PROJECT, "number": NUMBER, "create_network": json.dumps(create_network)}
    done = subprocess.run(
        [python, ROOT / "tests/deploy/registered.py", json.dumps(config)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stderr
    registered = {(each["type"], each["name"]): each for each in json.loads(done.stdout)}
    stack = registered.pop(("pulumi:pulumi:Stack", "slipway-test"))
    assert stack["inputs"] == {}
    previous: list[str] = []
    for stage in stages(Settings(PROJECT, NUMBER, create_network=create_network), SOURCES):
        for each in stage:
            found = registered.pop((token(each.kind), each.name))
            assert found["inputs"] == in_camels(dict(each.properties))
            assert found["protect"] == each.is_protected
            assert found["ignored"] == [_camel(name) for name in each.later]
            assert Counter(found["needs"]) == Counter(previous)
        previous = [each.name for each in stage]
    assert registered == {}


# -- what bootstrap made


def made(world: World) -> dict[str, Json]:
    resources = {
        _own_name(key, each): {
            name: value
            for name, value in each.items()
            if name not in NOT_CHOSEN | NOT_CHOSEN_OF.get(key.partition("/")[0], set())
        }
        for key, each in world.resources.items()
        if not key.startswith("run/") and key not in NOT_DECLARED
    }
    services = {
        f"run/{name}": {
            "image": each["spec"]["template"]["spec"]["containers"][0]["image"],
            "account": chosen["account"],
            "ingress": chosen["ingress"],
            "most instances": int(chosen["most instances"]),
        }
        for name, each in world.services().items()
        for chosen in [world.state()["services"][name]]
    }
    return resources | services


def _own_name(key: str, resource: Json) -> str:
    """Google names alert policies and dashboards."""
    folder, _, kind = key.rpartition("/")[0].rpartition("/")
    match kind:
        case "alertPolicies":
            return f"{folder}/{kind}/{resource['userLabels']['slipway']}"
        case "dashboards":
            return f"{folder}/{kind}/{resource['displayName']}"
    return key


def bindings(world: World) -> Iterator[tuple[str, ...]]:
    for name, policy in world.policies.items():
        for each in policy.get("bindings", ()):
            condition = each.get("condition") or {}
            words = condition.get("title", ""), condition.get("expression", "")
            for member in each["members"]:
                yield name, each["role"], member, *words


# -- what the program declares, in Google's words

_HERE = f"projects/{PROJECT}"
_THERE = f"{_HERE}/locations/{REGION}"

KEYS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "artifactregistry.Repository": lambda given: (
        f"artifactregistry/{_THERE}/repositories/{given['repository_id']}"
    ),
    "cloudrunv2.Service": lambda given: f"run/{given['name']}",
    "cloudscheduler.Job": lambda given: f"cloudscheduler/{_THERE}/jobs/{given['name']}",
    "cloudtasks.Queue": lambda given: f"cloudtasks/{_THERE}/queues/{given['name']}",
    "compute.Firewall": lambda given: f"compute/{_HERE}/global/firewalls/{given['name']}",
    "firestore.Database": lambda given: f"firestore/{_HERE}/databases/{given['name']}",
    "firestore.Document": lambda given: (
        f"firestore/{_HERE}/databases/{given['database']}/documents/"
        f"{given['collection']}/{given['document_id']}"
    ),
    "firestore.Field": lambda given: (
        f"firestore/{_HERE}/databases/{given['database']}/collectionGroups/"
        f"{given['collection']}/fields/{given['field']}"
    ),
    "logging.Metric": lambda given: f"logging/{_HERE}/metrics/{given['name']}",
    "monitoring.AlertPolicy": lambda given: (
        f"monitoring/{_HERE}/alertPolicies/{given['user_labels']['slipway']}"
    ),
    "monitoring.Dashboard": lambda given: (
        f"monitoring/{_HERE}/dashboards/{json.loads(given['dashboard_json'])['displayName']}"
    ),
    "projects.IAMCustomRole": lambda given: f"iam/{_HERE}/roles/{given['role_id']}",
    "pubsub.Subscription": lambda given: f"pubsub/{_HERE}/subscriptions/{given['name']}",
    "pubsub.Topic": lambda given: f"pubsub/{_HERE}/topics/{given['name']}",
    "serviceaccount.Account": lambda given: (
        f"iam/{_HERE}/serviceAccounts/{given['account_id']}@{PROJECT}.iam.gserviceaccount.com"
    ),
}

GRANTED_ON: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "cloudrunv2.ServiceIamMember": lambda given: (
        f"run/namespaces/{PROJECT}/services/{given['name']}"
    ),
    "cloudtasks.QueueIamMember": lambda given: f"cloudtasks/{_THERE}/queues/{given['name']}",
    "projects.IAMMember": lambda given: f"cloudresourcemanager/projects/{given['project']}",
    "pubsub.SubscriptionIAMMember": lambda given: (
        f"pubsub/{_HERE}/subscriptions/{given['subscription']}"
    ),
    "pubsub.TopicIAMMember": lambda given: f"pubsub/{_HERE}/topics/{given['topic']}",
    "serviceaccount.IAMMember": lambda given: f"iam/{given['service_account_id']}",
}

# Arguments that say where a resource is: its key has them.
_PLACE = {
    *("project", "name", "location", "region", "repository_id", "role_id", "account_id"),
    *("database", "collection", "field", "document_id"),
}


def as_google_says(resource: Resource) -> Json:
    given = resource.properties
    assert given.get("location", given.get("region", REGION)) == REGION
    match resource.kind:
        case "cloudrunv2.Service":
            template = given["template"]
            return {
                "image": template["containers"][0]["image"],
                "account": template["service_account"],
                "ingress": {"INGRESS_TRAFFIC_INTERNAL_ONLY": "internal"}[given["ingress"]],
                "most instances": template["scaling"]["max_instance_count"],
            }
        case "firestore.Document":
            return {"fields": json.loads(given["fields"])}
        case "monitoring.Dashboard":
            return dict(json.loads(given["dashboard_json"]))
    body: Json = in_camels({key: each for key, each in given.items() if key not in _PLACE})
    match resource.kind:
        case "compute.Firewall":
            body["allowed"] = [{"IPProtocol": each["protocol"]} for each in body.pop("allows")]
            body["network"] = (
                f"http://compute.google.example/compute/v1/{_HERE}/global/networks/{body['network']}"
            )
        case "projects.IAMCustomRole":
            body["includedPermissions"] = body.pop("permissions")
        case "pubsub.Subscription":
            assert body["expirationPolicy"] == {"ttl": ""}  # of Pulumi; Google has no ttl then
            body["expirationPolicy"] = {}
    return body


def binding(resource: Resource) -> tuple[str, ...]:
    given = resource.properties
    condition = given.get("condition", {})
    words = condition.get("title", ""), condition.get("expression", "")
    return GRANTED_ON[resource.kind](given), given["role"], given["member"], *words


# -- what Pulumi registers


def token(kind: str) -> str:
    """Pulumi's name of a type: gcp:pubsub/topic:Topic."""
    module, _, name = kind.partition(".")
    return f"gcp:{module}/{name[0].lower()}{name[1:]}:{name}"


def in_camels(value: Any) -> Any:
    if isinstance(value, dict):
        return {_camel(key): in_camels(each) for key, each in value.items()}
    return [in_camels(each) for each in value] if isinstance(value, list) else value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(each.capitalize() for each in rest)
