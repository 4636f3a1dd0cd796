"""gcloud, unmodified, over HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.cloud import compute_v1

from compute_emulator import Server
from emulator.tests.clients import PROJECT, REGION, Clients, health_check, template
from emulator.tests.commandline import GROUPS, MARKS, Commandline
from emulator.tests.fleet import version

pytestmark = [pytest.mark.wide, *MARKS]


def test_a_load_balancer_is_created_changed_and_deleted(
    gcloud: Commandline, tmp_path: Path
) -> None:
    gcloud("health-checks create http hc --port=8000 --request-path=/healthz")
    for name in ("bs1", "bs2"):
        gcloud(
            f"backend-services create {name} --global --protocol=HTTP --health-checks=hc"
            " --load-balancing-scheme=EXTERNAL_MANAGED"
        )
    gcloud("backend-services update bs1 --global --timeout=900s")
    gcloud("url-maps create um --default-service=bs1 --global")
    gcloud(
        "url-maps add-path-matcher um --path-matcher-name=pm --default-service=bs1"
        " --path-rules=/v1/*=bs2 --new-hosts=h.example --global"
    )
    split = tmp_path / "split.yaml"
    split.write_text(
        "name: um\ndefaultRouteAction:\n  weightedBackendServices:\n"
        "  - {backendService: projects/demo/global/backendServices/bs1, weight: 90}\n"
        "  - {backendService: projects/demo/global/backendServices/bs2, weight: 10}\n"
    )
    gcloud(f"url-maps import um --source={split} --global --quiet")
    kept = json.loads(gcloud("url-maps describe um --global"))
    assert [each["weight"] for each in kept["defaultRouteAction"]["weightedBackendServices"]] == [
        90,
        10,
    ]
    assert "pathMatchers" not in kept

    gcloud("target-http-proxies create tp --url-map=um --global")
    gcloud(
        "forwarding-rules create fr --global --target-http-proxy=tp --ports=80"
        " --load-balancing-scheme=EXTERNAL_MANAGED"
    )
    refused = gcloud("health-checks delete hc --global --quiet", fails=True)
    assert "already being used by" in refused
    assert "BACKEND_SERVICE:bs1'" in refused
    for command in (
        "forwarding-rules delete fr",
        "target-http-proxies delete tp",
        "url-maps delete um",
        "backend-services delete bs1 bs2",
        "health-checks delete hc",
    ):
        gcloud(f"{command} --global --quiet")
    assert json.loads(gcloud("health-checks list --global")) == []


def test_templates_are_created_listed_and_two_deleted_in_one_command(gcloud: Commandline) -> None:
    gcloud(
        "instance-templates create gpu --machine-type=g2-standard-4"
        " --accelerator=type=nvidia-l4,count=1 --maintenance-policy=TERMINATE"
        " --image-family=cos-121-lts --image-project=cos-cloud --labels=app=llm --metadata=k=v"
        " --provisioning-model=SPOT --instance-termination-action=DELETE"
    )
    gcloud("instance-templates create plain")
    listed = json.loads(gcloud("instance-templates list"))
    assert sorted(each["name"] for each in listed) == ["gpu", "plain"]
    gcloud("instance-templates delete gpu plain --quiet")
    finished = json.loads(gcloud("operations list"))
    assert {each["operationType"] for each in finished} == {
        "compute.instanceTemplates.insert",
        "delete",
    }


def test_a_group_is_created_rolled_to_a_new_template_and_deleted(gcloud: Commandline) -> None:
    here = "--region=us-central1"
    for name in ("it-v1", "it-v2"):
        gcloud(f"instance-templates create {name}")
    gcloud(
        f"instance-groups managed create fleet {here} --size=3 --template=it-v1"
        " --update-policy-type=proactive"
    )
    gcloud(f"instance-groups managed set-named-ports fleet {here} --named-ports=http:8000")
    gcloud(
        f"instance-groups managed set-autoscaling fleet {here} --min-num-replicas=3"
        " --max-num-replicas=5"
    )
    gcloud(
        f"instance-groups managed rolling-action start-update fleet {here} --version=template=it-v2"
    )
    for goal in ("--version-target-reached", "--stable"):
        gcloud(f"instance-groups managed wait-until fleet {here} {goal} --timeout=120")
    instances = json.loads(gcloud(f"instance-groups managed list-instances fleet {here}"))
    assert [each["version"]["instanceTemplate"].rpartition("/")[2] for each in instances] == [
        "it-v2"
    ] * 3
    assert {each["instanceStatus"] for each in instances} == {"RUNNING"}
    assert len(json.loads(gcloud("instances list"))) == 3
    gcloud(f"instance-groups managed delete fleet {here} --quiet")
    assert json.loads(gcloud("instances list")) == []


HERE = "--region=us-central1"


@pytest.fixture
def group(server: Server) -> str:
    """A group of three, `g`, with a check and two templates, created without gcloud, which takes a
    second per command.
    """
    clients = Clients(server.cloud, server.url)
    for name in ("it-v1", "it-v2"):
        made = clients.of(compute_v1.InstanceTemplatesClient).insert_unary(
            project=PROJECT, instance_template_resource=template(name)
        )
        clients.done(made)
    checks = clients.of(compute_v1.HealthChecksClient)
    clients.done(
        checks.insert_unary(project=PROJECT, health_check_resource=health_check("alive", "/alive"))
    )
    resource = compute_v1.InstanceGroupManager(
        name="g",
        target_size=3,
        versions=[version("it-v1")],
        auto_healing_policies=[
            compute_v1.InstanceGroupManagerAutoHealingPolicy(
                health_check="global/healthChecks/alive", initial_delay_sec=300
            )
        ],
    )
    managers = clients.of(compute_v1.RegionInstanceGroupManagersClient)
    clients.done(
        managers.insert_unary(
            project=PROJECT, region=REGION, instance_group_manager_resource=resource
        )
    )
    return "g"


def instances(gcloud: Commandline) -> dict[str, str]:
    """Names of the group's instances with their templates."""
    listed = json.loads(gcloud(f"{GROUPS} list-instances g {HERE}"))
    return {each["name"]: each["version"]["instanceTemplate"].rpartition("/")[2] for each in listed}


def test_a_group_is_described_listed_changed_and_autoscaled(
    gcloud: Commandline, group: str
) -> None:
    assert json.loads(gcloud("instance-templates describe it-v1"))["properties"]["machineType"]
    gcloud(f"{GROUPS} update g {HERE} --initial-delay=600 --update-policy-max-surge=4")
    gcloud(
        f"{GROUPS} set-autoscaling g {HERE} --min-num-replicas=3 --max-num-replicas=5"
        " --cool-down-period=90 --mode=on"
    )
    assert "not allowed" in gcloud(f"{GROUPS} resize g {HERE} --size=4", fails=True)
    gcloud(f"{GROUPS} update-autoscaling g {HERE} --mode=off")
    described = json.loads(gcloud(f"{GROUPS} describe g {HERE}"))
    assert described["autoHealingPolicies"][0]["initialDelaySec"] == 600
    assert described["updatePolicy"]["maxSurge"]["fixed"] == 4
    assert described["autoscaler"]["autoscalingPolicy"]["mode"] == "OFF"
    gcloud(f"{GROUPS} stop-autoscaling g {HERE}")
    for where in ("", "--regions=us-central1"):
        listed = json.loads(gcloud(f"{GROUPS} list {where}"))
        assert [(each["name"], each["autoscaled"], each["targetSize"]) for each in listed] == [
            ("g", "no", 3)
        ]


def test_instances_are_rolled_by_canary_replaced_and_restarted(
    gcloud: Commandline, group: str
) -> None:
    gcloud(
        f"{GROUPS} rolling-action start-update g {HERE} --version=template=it-v1 "
        "--canary-version=template=it-v2,target-size=1 --max-surge=3 --max-unavailable=0"
    )
    gcloud(f"{GROUPS} wait-until g {HERE} --version-target-reached --timeout=120")
    gcloud(f"{GROUPS} wait-until g {HERE} --stable --timeout=120")
    mixed = instances(gcloud)
    assert sorted(mixed.values()) == ["it-v1", "it-v1", "it-v2"]
    gcloud(f"{GROUPS} rolling-action replace g {HERE} --max-surge=3 --max-unavailable=0")
    gcloud(f"{GROUPS} wait-until g {HERE} --stable --timeout=120")
    replaced = instances(gcloud)
    assert not set(replaced) & set(mixed)
    gcloud(f"{GROUPS} rolling-action restart g {HERE} --max-unavailable=3")
    gcloud(f"{GROUPS} wait-until g {HERE} --stable --timeout=120")
    assert set(instances(gcloud)) == set(replaced)
    gcloud(f"{GROUPS} rolling-action stop-proactive-update g {HERE}")
    assert (
        json.loads(gcloud(f"{GROUPS} describe g {HERE}"))["updatePolicy"]["type"] == "OPPORTUNISTIC"
    )


def test_single_instances_are_recreated_updated_removed_and_resized(
    gcloud: Commandline, group: str
) -> None:
    first, second, third = sorted(instances(gcloud))
    gcloud(f"{GROUPS} recreate-instances g {HERE} --instances={first}")
    gcloud(f"{GROUPS} update-instances g {HERE} --instances={second} --minimal-action=restart")
    assert (
        json.loads(gcloud(f"{GROUPS} describe-instance g {HERE} --instance={third}"))["name"]
        == third
    )
    gcloud(f"{GROUPS} resize g {HERE} --size=4")
    gcloud(f"{GROUPS} wait-until g {HERE} --stable --timeout=120")
    assert {first, second, third} < set(instances(gcloud))
    gcloud(f"{GROUPS} delete-instances g {HERE} --instances={first}")
    gcloud(f"{GROUPS} abandon-instances g {HERE} --instances={second}")
    gcloud(f"{GROUPS} wait-until g {HERE} --stable --timeout=120")
    assert json.loads(gcloud(f"{GROUPS} list-errors g {HERE}")) == []
    left = json.loads(gcloud(f"instance-groups list-instances g {HERE}"))
    assert len(left) == len(instances(gcloud)) == 2
    assert second in [each["name"] for each in json.loads(gcloud("instances list"))]


def test_backends_are_added_described_and_removed(gcloud: Commandline, group: str) -> None:
    backend = "--global --instance-group=g --instance-group-region=us-central1"
    gcloud(
        "backend-services create bs --global --protocol=HTTP --port-name=http --health-checks=alive"
        " --timeout=600s --load-balancing-scheme=EXTERNAL_MANAGED --connection-draining-timeout=300"
    )
    gcloud(f"{GROUPS} set-named-ports g {HERE} --named-ports=http:8000")
    gcloud(
        f"backend-services add-backend bs {backend} --balancing-mode=UTILIZATION"
        " --max-utilization=0.8"
    )
    gcloud(
        f"backend-services update-backend bs {backend} --balancing-mode=RATE"
        " --max-rate-per-instance=10"
    )
    described = json.loads(gcloud("backend-services describe bs --global"))
    assert [
        (each["balancingMode"], each["maxRatePerInstance"]) for each in described["backends"]
    ] == [("RATE", 10)]
    health = json.loads(gcloud("backend-services get-health bs --global"))
    assert [each["healthState"] for each in health[0]["status"]["healthStatus"]] == ["HEALTHY"] * 3
    assert "already being used" in gcloud(f"{GROUPS} delete g {HERE} --quiet", fails=True)
    gcloud(f"backend-services remove-backend bs {backend}")
    gcloud("backend-services delete bs --global --quiet")
    assert json.loads(gcloud("backend-services list")) == []


def test_url_maps_and_the_resources_that_refer_to_them_are_edited(
    gcloud: Commandline, tmp_path: Path
) -> None:
    gcloud("health-checks create http hc --port=80")
    gcloud("health-checks update http hc --check-interval=9s")
    assert json.loads(gcloud("health-checks describe hc --global"))["checkIntervalSec"] == 9
    gcloud(
        "backend-services create bs --global --protocol=HTTP --health-checks=hc"
        " --load-balancing-scheme=EXTERNAL_MANAGED"
    )
    gcloud("url-maps create um --default-service=bs --global")
    saved = tmp_path / "um.yaml"
    gcloud(f"url-maps export um --global --destination={saved}")
    assert (
        json.loads(gcloud(f"url-maps validate --source={saved} --global"))["result"][
            "loadSucceeded"
        ]
        is True
    )
    gcloud(f"url-maps import um --source={saved} --global --quiet")
    gcloud("url-maps invalidate-cdn-cache um --path=/x --global")
    gcloud("target-http-proxies create tp --url-map=um --global")
    gcloud("addresses create front --global")
    address = json.loads(gcloud("addresses describe front --global"))["address"]
    gcloud(
        "forwarding-rules create fr --global --target-http-proxy=tp --ports=80 --address=front "
        "--load-balancing-scheme=EXTERNAL_MANAGED"
    )
    gcloud("forwarding-rules set-target fr --global --target-http-proxy=tp")
    gcloud("forwarding-rules update fr --global --update-labels=a=b")
    rule = json.loads(gcloud("forwarding-rules describe fr --global"))
    assert (rule["IPAddress"], rule["portRange"], rule["labels"]) == (address, "80-80", {"a": "b"})
    assert "already being used" in gcloud("addresses delete front --global --quiet", fails=True)


def test_locations_and_operations_are_listed_and_described(gcloud: Commandline) -> None:
    assert "us-central1" in [each["name"] for each in json.loads(gcloud("regions list"))]
    assert json.loads(gcloud("zones describe us-central1-a"))["status"] == "UP"
    types = json.loads(gcloud("machine-types list --zones=us-central1-a --filter=name=e2-small"))
    assert [each["guestCpus"] for each in types] == [2]
    gcloud("addresses create a1 --region=us-central1")
    listed = json.loads(gcloud("operations list --filter=region:us-central1"))
    assert [each["operationType"] for each in listed] == ["insert"]
    described = json.loads(gcloud(f"operations describe {listed[0]['name']} --region=us-central1"))
    assert described["targetLink"].endswith("/regions/us-central1/addresses/a1")


def test_a_template_with_a_container_gets_the_newest_cos_image(gcloud: Commandline) -> None:
    gcloud("instance-templates create-with-container c1 --container-image=gcr.io/p/tiny:1")
    (boot,) = json.loads(gcloud("instance-templates describe c1"))["properties"]["disks"]
    assert "/cos-cloud/global/images/cos-stable-" in boot["initializeParams"]["sourceImage"]


def test_a_region_is_described_with_its_quotas(gcloud: Commandline, server: Server) -> None:
    server.cloud.quotas["CPUS"] = 24
    described = json.loads(gcloud("regions describe us-central1"))
    assert described["quotas"] == [{"metric": "CPUS", "limit": 24.0, "usage": 0.0}]
    assert "24.0" in gcloud("regions describe us-central1", output_format="")
