"""More of gcloud: every supported command, output for people, regional load balancing, schedules,
and error messages.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from google.cloud import compute_v1

from compute_emulator import Server
from emulator.tests.clients import PROJECT, REGION, Clients, health_check, template
from emulator.tests.commandline import GROUPS, MARKS, SUPPORTED, Commandline
from emulator.tests.fleet import version
from emulator.tests.readme import block

HERE = f"--region={REGION}"
pytestmark = [pytest.mark.wide, *MARKS]


def texts(file: Path) -> Iterator[str]:
    """Every string in a file, with `_` for inserted values and the names of command groups for
    their constants.
    """
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(_text(part) for part in node.values)


def _text(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    is_groups = (
        isinstance(part, ast.FormattedValue)
        and isinstance(part.value, ast.Name)
        and part.value.id == "GROUPS"
    )
    return GROUPS if is_groups else "_"


@pytest.mark.parametrize(
    "command", [f"{group} {verb}" for group, verbs in SUPPORTED.items() for verb in verbs.split()]
)
def test_every_supported_command_is_run_by_a_test(command: str) -> None:
    """A loop inserts the conditions of `wait-until`; every other command starts a string."""
    group, _, verb = command.rpartition(" ")
    found = {
        text
        for name in ("test_gcloud.py", "test_gcloud_forms.py")
        for text in texts(Path(__file__).with_name(name))
    }
    if verb.startswith("--"):
        assert any(
            text.startswith(f"{group} ")
            and (f" {verb} " in text or text.endswith(" _ --timeout=120"))
            for text in found
        )
        assert any(verb in text for text in found)
    else:
        assert any(f"{text} ".startswith(f"{command} ") for text in found)


def test_regional_load_balancing_is_created_listed_for_people_and_deleted(
    gcloud: Commandline, server: Server
) -> None:
    scheme = "--load-balancing-scheme=INTERNAL_MANAGED"
    gcloud(f"health-checks create http hc {HERE} --port=80")
    gcloud(
        f"backend-services create bs {HERE} --protocol=HTTP --health-checks=hc"
        f" --health-checks-region={REGION} {scheme}"
    )
    gcloud(f"url-maps create um {HERE} --default-service=bs")
    gcloud(f"target-http-proxies create tp {HERE} --url-map=um --url-map-region={REGION}")
    gcloud(f"addresses create front {HERE} --subnet=default")
    gcloud(
        f"forwarding-rules create fr {HERE} --target-http-proxy=tp"
        f" --target-http-proxy-region={REGION} --ports=80 {scheme} --network=default"
        f" --subnet=default --subnet-region={REGION} --address=front"
    )
    lines = gcloud("forwarding-rules list", output_format="").splitlines()
    assert [line.split() for line in lines] == [
        ["NAME", "REGION", "IP_ADDRESS", "IP_PROTOCOL", "TARGET"],
        [
            "fr",
            REGION,
            server.cloud.list_in(f"regions/{REGION}", "addresses")[0]["address"],
            "TCP",
            f"{REGION}/targetHttpProxies/tp",
        ],
    ]
    assert gcloud("url-maps list", output_format="value(name)").split() == ["um"]
    assert gcloud("target-http-proxies list", output_format="").splitlines()[1].split() == [
        "tp",
        "um",
    ]
    addresses = gcloud("addresses list", output_format="").splitlines()[1].split()
    assert (addresses[0], addresses[-1]) == ("front", "IN_USE")
    gcloud(f"forwarding-rules delete fr {HERE} --quiet")
    gcloud(f"addresses delete front {HERE} --quiet")
    assert gcloud("addresses list", output_format="") == ""
    wait_calls = server.cloud.calls.counts["compute.regionOperations.wait"]
    assert wait_calls >= server.cloud.calls.mutations


def test_the_url_map_of_a_proxy_can_be_changed(gcloud: Commandline, server: Server) -> None:
    clients = Clients(server.cloud, server.url)
    checks, services = (
        clients.of(compute_v1.HealthChecksClient),
        clients.of(compute_v1.BackendServicesClient),
    )
    clients.done(checks.insert_unary(project=PROJECT, health_check_resource=health_check("hc")))
    link = "global/healthChecks/hc"
    service = compute_v1.BackendService(
        name="bs", load_balancing_scheme="EXTERNAL_MANAGED", health_checks=[link]
    )
    clients.done(services.insert_unary(project=PROJECT, backend_service_resource=service))
    for name in ("um1", "um2"):
        url_map = compute_v1.UrlMap(name=name, default_service="global/backendServices/bs")
        clients.done(
            clients.of(compute_v1.UrlMapsClient).insert_unary(
                project=PROJECT, url_map_resource=url_map
            )
        )
    gcloud("target-http-proxies create tp --url-map=um1 --global")
    gcloud("target-http-proxies update tp --url-map=um2 --global")
    assert json.loads(gcloud("target-http-proxies describe tp --global"))["urlMap"].endswith("/um2")


def made_group(server: Server) -> None:
    """A group of three, `g`."""
    clients = Clients(server.cloud, server.url)
    templates, managers = (
        clients.of(compute_v1.InstanceTemplatesClient),
        clients.of(compute_v1.RegionInstanceGroupManagersClient),
    )
    clients.done(
        templates.insert_unary(project=PROJECT, instance_template_resource=template("it-v1"))
    )
    group = compute_v1.InstanceGroupManager(name="g", target_size=3, versions=[version("it-v1")])
    clients.done(
        managers.insert_unary(project=PROJECT, region=REGION, instance_group_manager_resource=group)
    )


def test_a_schedule_scales_a_group_until_it_is_removed(gcloud: Commandline, server: Server) -> None:
    made_group(server)
    schedule = (
        "--schedule-cron='0 8 * * *' --schedule-duration-sec=3600"
        " --schedule-min-required-replicas=4"
    )
    gcloud(
        f"{GROUPS} set-autoscaling g {HERE} --min-num-replicas=1 --max-num-replicas=6"
        f" --set-schedule=s1 {schedule}"
    )
    (scaler,) = server.cloud.list_in(f"regions/{REGION}", "autoscalers")
    assert scaler["autoscalingPolicy"]["scalingSchedules"]["s1"]["minRequiredReplicas"] == 4
    gcloud(f"{GROUPS} update-autoscaling g {HERE} --remove-schedule=s1")
    described = json.loads(gcloud(f"{GROUPS} describe g {HERE}"))["autoscaler"]
    assert "scalingSchedules" not in described["autoscalingPolicy"]


def test_the_output_for_people_shows_why_a_group_cannot_be_created(
    gcloud: Commandline, server: Server
) -> None:
    server.cloud.stock_outs["*"] = {}
    made_group(server)
    assert [line.split() for line in gcloud(f"{GROUPS} list", output_format="").splitlines()] == [
        [
            "NAME",
            "LOCATION",
            "SCOPE",
            "BASE_INSTANCE_NAME",
            "SIZE",
            "TARGET_SIZE",
            "INSTANCE_TEMPLATE",
            "AUTOSCALED",
        ],
        ["g", REGION, "region", "g", "0", "3", "it-v1", "no"],
    ]
    header, *rows = gcloud(f"{GROUPS} list-instances g {HERE}", output_format="").splitlines()
    assert header.split()[:5] == ["NAME", "ZONE", "STATUS", "HEALTH_STATE", "ACTION"]
    assert len(rows) == 3
    assert all("CREATING" in row and "ZONE_RESOURCE_POOL_EXHAUSTED" in row for row in rows)
    errors = json.loads(gcloud(f"{GROUPS} list-errors g {HERE} --limit=1"))
    assert errors[0]["error"]["code"].startswith("ZONE_RESOURCE_POOL_EXHAUSTED")
    output = gcloud(
        f"{GROUPS} wait-until g {HERE} --stable --timeout=1", fails=True, output_format=""
    )
    assert "Waiting for group to become stable, current operations: creating: 3" in output
    assert "Timeout while waiting for group to become stable." in output


@pytest.mark.parametrize(
    ("fault", "output"),
    [
        ({"kind": "error", "error_class": "rate_limited"}, " - Rate Limit Exceeded"),
        (
            {"kind": "operation_error", "error_class": "stock_out"},
            "code: ZONE_RESOURCE_POOL_EXHAUSTED\nmessage: The zone does",
        ),
    ],
)
def test_a_command_that_hits_a_fault_ends_with_its_reason(
    gcloud: Commandline, server: Server, fault: dict[str, str], output: str
) -> None:
    assert (
        requests.post(
            f"{server.url}/control/faults", json=fault | {"method": "*.insert"}, timeout=10
        ).status_code
        == 200
    )
    assert output in gcloud("health-checks create http hc --port=80", fails=True)


def test_a_command_for_an_unimplemented_method_names_it(gcloud: Commandline) -> None:
    output = gcloud(f"instances reset vm --zone={REGION}-a", fails=True)
    assert (
        "compute.instances.reset is part of Compute v1, but the emulator does not implement it"
        in output
    )


def test_regional_templates_and_zones_are_listed(gcloud: Commandline) -> None:
    gcloud(f"instance-templates create it {HERE.replace('--region', '--instance-template-region')}")
    (listed,) = json.loads(gcloud("instance-templates list --filter=name=it"))
    assert listed["selfLink"].endswith(f"regions/{REGION}/instanceTemplates/it")
    output = gcloud(
        "instance-templates delete it none --quiet", fails=True
    )  # one batch, for the whole project
    assert output.count("was not found") == 2
    zones = gcloud(
        f"zones list --filter=region:{REGION} --sort-by=~name", output_format="value(name)"
    )
    assert zones.split() == [f"{REGION}-{letter}" for letter in "fcba"]


def test_the_command_line_as_the_readme_shows_it(server: Server, tmp_path: Path) -> None:
    typed = block("sh", "gcloud").replace("http://127.0.0.1:9100", server.url)
    done = subprocess.run(
        ["bash", "-ec", typed],
        env=os.environ | {"CLOUDSDK_CONFIG": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    groups = server.cloud.list_in(f"regions/{REGION}", "instanceGroupManagers")
    assert [(each["name"], each["targetSize"]) for each in groups] == [("web", 3)]
